"""The processes in which Locust's users live, as the engine knows them: what each told, on our clock, and its account.

One with the name "" is Locust in one process, whose clock is ours. Every other one is a worker of a master.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.load.locust_clock import ClockOffset
from harness.load.locust_ops import EndedOp
from harness.load.record import PART_ROWS, Recorder, Row
from harness.model.ports import FaultMark, WorkerReport

__all__ = ["Crew", "Member"]

Message = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Member:
    """One such process. `counted` is what Locust itself counted there, told with its last word; `gone`: it left without one."""

    number: int
    recorder: Recorder
    clock: ClockOffset | None
    counted: int | None = None
    gone: bool = False
    strays: list[str] = field(default_factory=list)
    marks: list[FaultMark] = field(default_factory=list)
    waiting: list[Message] = field(default_factory=list)

    def ours(self, there_ns: int) -> int:
        """An instant of its clock on ours."""
        return there_ns if self.clock is None else self.clock.ours(there_ns)

    def account(self, code: int | None, said: str) -> WorkerReport:
        """Its account. `code` is its exit code where it was our child, `said` what its log ends with."""
        told = self.recorder.started_count
        strays = list(dict.fromkeys(self.strays))[:3]
        # 1 is how Locust says that some requests failed; with a last word it ended as it should
        well = self.counted is not None and code in (None, 0, 1)
        if self.counted is not None and self.counted != told:
            well = False
            strays.insert(0, f"Locust counted {self.counted} requests and told {told}")
        if self.waiting:
            well = False
            strays.insert(0, f"{len(self.waiting)} requests came without a clock to place them by")
        return WorkerReport(
            worker=self.number,
            exit_code=0 if well else (code or -1),
            started_count=told,
            ended_count=self.recorder.ended_count,
            dropped_count=0,
            late_p50_ns=None,
            late_p99_ns=None,
            late_max_ns=None,
            run_delay_ns=None,
            cpu_ratio=None,
            gc_pause_max_ns=None,
            error="; ".join(strays) or (None if well else f"{self._ended(code)}: {said}"),
            clock_error_ns=None if self.clock is None or not told else self.clock.worst_ns,
            marks=tuple(self.marks),
        )

    def _ended(self, code: int | None) -> str:
        who = "Locust" if self.clock is None else f"Locust worker {self.number}"
        if code is not None:
            return f"{who} ended with {code}"
        return f"{who} {'went missing' if self.gone else 'never said its last word'}"


class Crew:
    """All of them. `take` every message of the plug-in. `ours` is how many of the numbers from 0 on are our own children's."""

    def __init__(self, out_dir: Path, origin_ns: int, ours: int) -> None:
        self._out_dir, self._origin_ns = out_dir, origin_ns
        self._next = ours
        self._members: dict[str, Member] = {}
        self._strays: list[str] = []
        self.begun = False

    def take(self, message: Message) -> None:
        """Take one message; raises KeyError for one that is none of the plug-in's."""
        kind = message["t"]
        if kind == "start":
            self.begun = True
            return
        member = self._members.get(message["w"]) or self._join(message)
        if kind == "ops":
            member.waiting += message["ops"]
            self._place(member)
        elif kind == "clock" and member.clock is not None:
            member.clock.learn(message["asked"], message["here"], message["now"])
            self._place(member)
        elif kind == "marked":
            at_ns = member.ours(message["here"]) - self._origin_ns
            member.marks.append(FaultMark(what=message["what"], at_ns=at_ns))
        elif kind == "stray":
            member.strays.append(message["what"])
        elif kind == "end":
            member.counted = message["requests"]
        elif kind == "gone":
            member.gone = True

    def stray(self, what: str) -> None:
        """Note what is wrong with all of it."""
        self._strays.append(what)

    @property
    def members(self) -> tuple[Member, ...]:
        """Those that have joined, by number."""
        return tuple(sorted(self._members.values(), key=lambda member: member.number))

    def told_all(self, gone: Set[int]) -> bool:
        """Whether everybody who is still there has said a last word; `gone` are the numbers of those known to have ended."""
        return all(member.gone or member.counted is not None or member.number in gone for member in self.members)

    def live(self) -> Iterator[Message]:
        """What each did since the last call, as a worker's live message."""
        for member in self.members:
            ended, dropped = member.recorder.take_live()
            yield {
                "worker": member.number,
                "at": time.monotonic_ns() - self._origin_ns,
                "ended": ended,
                "open": [],
                "dropped": dropped,
                "started": member.recorder.started_count,
                "late": None,
            }

    @property
    def much_waits(self) -> bool:
        """Whether there is enough for a part."""
        return any(member.recorder.waiting_count >= PART_ROWS for member in self._members.values())

    def parts(self) -> Iterator[tuple[Path, list[Row]]]:
        """The parts to write now."""
        for member in self.members:
            part = member.recorder.take_part()
            if part is not None:
                yield part

    def accounts(self, codes: dict[int, int | None], said: str) -> tuple[WorkerReport, ...]:
        """Everybody's account; of a child of ours that never joined, too."""
        known = {member.number: member for member in self._members.values()}
        for number in codes:
            if number not in known:
                known[number] = self._member(number, remote=True)
        for member in known.values():
            member.strays[:0] = self._strays
        return tuple(known[number].account(codes.get(number), said) for number in sorted(known))

    def _join(self, message: Message) -> Member:
        name, number = message["w"], message.get("number")
        if number is None:
            number, self._next = self._next, self._next + 1
        member = self._members[name] = self._member(int(number), remote=bool(name))
        return member

    def _member(self, number: int, *, remote: bool) -> Member:
        return Member(number=number, recorder=Recorder(number, self._out_dir), clock=ClockOffset() if remote else None)

    def _place(self, member: Member) -> None:
        """Record what waits, once its clock is known."""
        if member.clock is not None and not member.clock.known:
            return
        told, member.waiting = member.waiting, []
        for seen in told:
            took_ns = seen["done"] - seen["sent"]
            done_ns = member.ours(seen["done"]) - self._origin_ns
            op = EndedOp(member.recorder.next_id(), seen, (done_ns - took_ns, done_ns))
            member.recorder.started(op)
            member.recorder.ended(op.op, op.row)
