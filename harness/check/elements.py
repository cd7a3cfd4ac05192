"""Sets and queues of distinct elements, from calls alone: what was lost, stale, doubled, or came from nowhere.

Source: Jepsen's set-full and total-queue checkers, with their own slips mended (correctness.md 0.10): a duplicate is a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.history.calls import UNKNOWN, Call

__all__ = ["Tally", "set_full", "total_queue"]


@dataclass(slots=True)
class Tally:
    """Class of finding -> (element, the id of the call that shows it). `stable` counts elements that stayed.

    Of sets, how long after an element was known: `stable_ns`, until no read missed it any more (0: none ever did), for each
    that stayed; `lost_ns`, until the last read that shows it began (0: none did), for each that is gone.
    """

    findings: dict[str, list[tuple[Any, int]]] = field(default_factory=dict)
    stable: int = 0
    never_read: int = 0
    stable_ns: list[int] = field(default_factory=list)
    lost_ns: list[int] = field(default_factory=list)
    sent: int = 0

    @property
    def stale_ns(self) -> list[int]:
        """Of those that stayed, how late the ones came that a read did miss."""
        return [late_ns for late_ns in self.stable_ns if late_ns]

    @property
    def outcome(self) -> dict[str, int]:
        """How many were stable, lost, stale and never read (of how many), and the latencies in ns: the middle one and the most.
        None of a sort that has no element."""
        counts = {kind: len(self.findings.get(kind, ())) for kind in ("lost", "stale", "duplicated", "phantom")}
        found = {"sent": self.sent, "stable": self.stable} | counts | {"never_read": self.never_read}
        for kind, each in (("stable", self.stable_ns), ("stale", self.stale_ns), ("lost", self.lost_ns)):
            if each:
                late = sorted(each)
                found |= {f"{kind}_p50_ns": late[(len(late) - 1) // 2], f"{kind}_max_ns": late[-1]}
        return found

    def add(self, kind: str, element: Any, call: int) -> None:
        self.findings.setdefault(kind, []).append((element, call))


@dataclass(slots=True)
class _Element:
    call: Call
    known_ns: int | None = None
    seen: Call | None = None


def set_full(calls: Sequence[Call]) -> Tally:
    """Every element that was added, by what reads showed of it afterwards; () findings without any.

    *lost*: known (acknowledged, or seen), and missed by a read that began after that and after every read that shows it.
    *stale*: missed by a read that began after it was known, and seen again later. *phantom*: seen, never added (or surely
    refused). *duplicated*: twice in one read. Elements that no read had a chance to show count as never read.
    """
    tally, elements = Tally(), dict[Any, _Element]()
    for call in calls:
        if call.f == "add" and not call.failed:
            elements[call.value] = _Element(call, None if call.pending else call.ret_ns)
    tally.sent = len(elements)
    reads = sorted(
        (call for call in calls if call.f == "read" and call.out is not UNKNOWN), key=lambda call: call.call_ns
    )
    for read in reads:
        for value, count in Counter(read.out).items():
            if count > 1:
                tally.add("duplicated", value, read.id)
            element = elements.get(value)
            if element is None:
                tally.add("phantom", value, read.id)
                continue
            element.known_ns = read.ret_ns if element.known_ns is None else min(element.known_ns, read.ret_ns)
            element.seen = read
    shown = [(read, frozenset(read.out)) for read in reads]
    for value, element in elements.items():
        known_ns = element.known_ns
        if known_ns is None:
            tally.never_read += 1
            continue
        missed = [read for read, values in shown if read.call_ns > known_ns and value not in values]
        if not missed and element.seen is None:
            tally.never_read += 1
        elif not missed:
            tally.stable += 1
            tally.stable_ns.append(0)
        elif element.seen is None or element.seen.call_ns < missed[-1].call_ns:
            tally.add("lost", value, missed[-1].id)
            tally.lost_ns.append(0 if element.seen is None else max(0, element.seen.call_ns - known_ns))
        else:
            tally.stable_ns.append(missed[-1].call_ns - known_ns)
            tally.add("stale", value, missed[-1].id)
    return tally


def total_queue(calls: Iterable[Call]) -> Tally:
    """Every message of a queue that was drained in the end. *lost*: acknowledged, never received. *duplicated*: received more
    often than sent. *phantom*: received, never sent. Messages of uncertain sends may be received or not."""
    tally = Tally()
    sent, maybe, received = Counter[Any](), Counter[Any](), Counter[Any]()
    by: dict[Any, int] = {}
    for call in calls:
        if call.f in ("send", "enqueue") and not call.failed:
            (maybe if call.pending else sent)[call.value] += 1
            by.setdefault(call.value, call.id)
        elif call.f in ("receive", "dequeue", "drain") and call.out is not UNKNOWN and call.out is not None:
            for value in call.out if isinstance(call.out, tuple) else (call.out,):
                received[value] += 1
                by[value] = call.id
    tally.sent = sent.total() + maybe.total()
    for value, count in received.items():
        attempted = sent[value] + maybe[value]
        if not attempted:
            tally.add("phantom", value, by[value])
        elif count > attempted:
            tally.add("duplicated", value, by[value])
    for value, count in sent.items():
        if received[value] < count:
            tally.add("lost", value, by[value])
        else:
            tally.stable += 1
    return tally
