"""Kills the conductor again and again, and looks what is left. `python -m tests.killing --count 200 --seed 1`.

Each round is a real run (journal, reaper, hosts, links, kernel rules; only its load is idle) with overlapping faults over all
hosts that this machine has, on a ground that stays up. Half of the rounds end at a boundary: before, in the middle of or
after a record of the undo journal, or after an event of the record; the others at a random instant. In most the conductor
alone is killed: nothing may stand 2 s later. In every tenth the reaper is killed with it, and `blackstart recover --all`
clears everything. In every thirtieth the conductor is only stopped: nothing may stand 10 s later. `--mode` has all rounds
end in that one way. Bystanders beside each target must stay what they were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.history.events import AbortEvent, FaultEvent, NoteEvent, read_events
from harness.model.plan import Plan
from harness.model.ports import LoadReport
from harness.plan.make import dump_plan, make_plan
from harness.registry import BUILT_IN, catalog
from harness.run.conductor import Conductor, Parts
from harness.run.guard import Guard
from harness.run.journal import Journal, JournalView
from harness.run.lock import is_finished, lock_keys, locked, register
from harness.run.process import is_alive
from harness.run.recorder import Recorder
from harness.run.session import StackSession
from harness.spec.load import load_experiment
from harness.stacks.launch import StateDir
from harness.store.rundir import RunDir
from tests.run.ground import Ground, wait_until

CLEAR_S = {"kill": 2.0, "both": 0.0, "stop": 10.0}
ENDED_S = 30.0


class IdleEngine:
    """A load that offers nothing: what is under test is what happens when its conductor dies."""

    async def start(self, job: Any, sink: Callable[[Any], None]) -> None: ...
    async def stop_arrivals(self) -> None: ...
    async def drain(self, limit_ns: int) -> None: ...
    async def final(self, regions: Any, within_ns: int) -> None: ...
    async def close(self) -> LoadReport:
        return LoadReport(engine="idle", profile="http", model=None, closed_loop=False, workers=())

    def dead(self) -> tuple[int, ...]:
        return ()


class Content:
    """A view of the run in which every rule holds."""

    def feed(self, batch: Any) -> None: ...
    def feed_probe(self, name: str, at_ns: int, value: float | None) -> None: ...
    def observed(self, predicate: Any, now_ns: int, over_ns: int) -> float | None:
        return 1.0

    def holds(self, predicate: Any, now_ns: int, over_ns: int) -> bool | None:
        return True


@dataclass(frozen=True)
class Death:
    """Where a round ends: at the n-th record of a sort ("journal", "event"), or after `after_s` from the start ("instant")
    or from the first fault on ("standing").
    """

    mode: str
    sort: str
    number: int = 0
    when: str = "after"
    after_s: float = 0.0

    def __str__(self) -> str:
        place = (
            f"{self.after_s:.3f} s {self.sort}"
            if self.sort in ("instant", "standing")
            else f"{self.when} {self.sort} {self.number}"
        )
        return f"{self.mode} at {place}"


@dataclass
class Round:
    """What one round came to. `clear_s` is None when something stood too long; `wrong` says everything that was."""

    death: str
    proxy: str
    stood: int = 0
    clear_s: float | None = None
    wrong: list[str] = field(default_factory=list)


def conduct(plan: Plan, run_dir: RunDir, death: Death, counts: Path) -> None:
    """The child: conduct the run, and die where told to."""
    seen = {"journal": 0, "event": 0}
    reaper: list[int] = []
    standing: list[bool] = []

    def die() -> None:
        if death.mode == "both" and reaper:
            os.kill(reaper[0], signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGSTOP if death.mode == "stop" else signal.SIGKILL)

    def due(sort: str, when: str) -> bool:
        return (death.sort, death.number, death.when) == (sort, seen[sort], when)

    append, emit, arm = Journal.append, Recorder.emit, Guard.arm.__func__  # type: ignore[attr-defined]

    def appended(self: Journal, record: Any) -> None:
        if due("journal", "before"):
            die()
        if due("journal", "inside"):
            os.write(self._fd, b'{"t":"intent","id":"torn@x","fau')
            die()
        append(self, record)
        if due("journal", "after"):
            die()
        seen["journal"] += 1

    def emitted(self: Recorder, event: Any) -> None:
        emit(self, event)
        if due("event", "after"):
            die()
        if death.sort == "standing" and isinstance(event, FaultEvent) and event.stage == "applying" and not standing:
            standing.append(True)
            asyncio.get_running_loop().call_later(death.after_s, die)
        seen["event"] += 1

    async def armed(cls: type[Guard], journal: Journal) -> Guard:
        guard: Guard = await arm(cls, journal)
        reaper.append(guard.pid)
        return guard

    Journal.append, Recorder.emit, Guard.arm = appended, emitted, classmethod(armed)  # type: ignore[method-assign, assignment]

    async def whole() -> None:
        if death.sort == "instant":
            asyncio.get_running_loop().call_later(death.after_s, die)
        session = StackSession(plan, run_dir, catalog(), locks.renew)
        await Conductor(plan, run_dir, catalog(), Parts(session=session, engine=IdleEngine(), live=Content())).conduct()

    keys = lock_keys(plan.experiment.stack, catalog())
    with (
        locked(keys, run_dir.run_id, run_dir.path, lambda dead: None) as locks,
        register(run_dir.run_id, run_dir.path, plan.experiment.stack.name),
    ):
        run_dir.write("plan.json", dump_plan(plan))
        begun = time.monotonic()
        asyncio.run(whole())
        counts.write_text(json.dumps({**seen, "took_s": time.monotonic() - begun}))


def fork(plan: Plan, run_dir: RunDir, death: Death, counts: Path) -> int:
    """A child that conducts. Forked, not spawned: imports are most of a run's first second."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with (run_dir.logs / "conductor.log").open("ab") as log:
            os.dup2(log.fileno(), 2)
        conduct(plan, run_dir, death, counts)
        code = 0
    finally:
        os._exit(code)


def waited(pid: int, limit_s: float = 60) -> int:
    """The child's wait status once it died or stopped. Kills one that does neither in time."""
    status: list[int] = []

    def over() -> bool:
        done, code = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if done:
            status.append(code)
        return bool(done)

    if wait_until(over, limit_s) is None:
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    return status[0]


def left_of(view: JournalView) -> list[str]:
    """Processes and folders of a run that are still there, in words."""
    found = [f"{one.what} (pid {one.pid})" for one in view.spawned if is_alive(one.pid, one.ticks)]
    if view.opened is not None and view.opened.state_dir is not None:
        state = StateDir.at(view.opened.state_dir)
        hostd = state.hostd()
        found += [f"process host (pid {hostd.pid})"] if hostd is not None else []
        found += [f"folder {state.path}"] if os.path.isdir(view.opened.state_dir) else []
        found += [f"process {pid}" for pid in marked(state.prefix)]
    return found


def marked(prefix: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if f"BLACKSTART_TREE={prefix}".encode() in file.read():
                        found.append(int(entry))
            except OSError:
                continue
    return found


def carry_out(ground: Ground, plan: Plan, proxy: str, death: Death) -> Round:
    """One round: run, die, look."""
    run_dir = RunDir.create(ground.folder / "reports", "killed", datetime.now(UTC))
    result = Round(death=str(death), proxy=proxy)
    pid = fork(plan, run_dir, death, ground.folder / "counts")
    status = waited(pid)
    died_s = time.monotonic()
    result.stood = len(ground.residue())
    if not (os.WIFSIGNALED(status) or os.WIFSTOPPED(status)):
        if os.WEXITSTATUS(status):
            result.wrong.append("the run ended with an error: " + (run_dir.logs / "conductor.log").read_text()[-500:])
        result.death += " (over before)"
    if death.mode == "both":
        recovered(result)
    view = JournalView.read(run_dir.undo)
    seen: list[list[str]] = []

    def is_clear() -> bool:
        seen.append(ground.residue())
        return not seen[-1]

    clear = wait_until(is_clear, CLEAR_S[death.mode] + (0 if death.mode == "both" else 15))
    if clear is None:
        result.wrong += ["still broken: " + what for what in ground.residue()]
    else:
        result.clear_s = time.monotonic() - died_s
        if death.mode != "both" and result.clear_s > CLEAR_S[death.mode]:
            result.wrong.append(f"stood for {result.clear_s:.2f} s, last {seen[-2] if len(seen) > 1 else '?'}")
    guarded = any(one.what == "reaper" for one in view.spawned)
    if not guarded and death.mode == "kill":
        recovered(result)  # it died before anything was started, and left at most an empty folder
    if wait_until(lambda: not left_of(JournalView.read(run_dir.undo)), ENDED_S) is None:
        result.wrong += ["not ended: " + what for what in left_of(JournalView.read(run_dir.undo))]
    if os.WIFSTOPPED(status):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not is_finished(run_dir.path):
        if guarded and death.mode != "both" and JournalView.read(run_dir.undo).unresolved:
            result.wrong.append("the reaper did not finish: " + (run_dir.logs / "reaper.log").read_text()[-500:])
        recovered(result)
    result.wrong += ground.made_links() + ground.residue() + ground.touched()
    if not is_finished(run_dir.path):
        result.wrong.append("the journal is not closed after all")
    return result


def unbroken(whole: Round, ground: Ground) -> dict[str, float]:
    """Make sure that a run which nobody kills breaks every cell, all at once, and puts it back; for how long, in s."""
    (run_dir,) = (ground.folder / "reports").iterdir()
    events = read_events(run_dir / "events.jsonl")
    faults = [event for event in events if isinstance(event, FaultEvent)]
    seen = {stage: {event.id for event in faults if event.stage == stage} for stage in ("witnessed", "verified")}
    if not len(ground.cells) == len(seen["witnessed"]) == len(seen["verified"]):
        said = [str(event) for event in events if isinstance(event, NoteEvent | AbortEvent)]
        whole.wrong.append(f"unkilled: witnessed {seen['witnessed']}, verified {seen['verified']}: {said}")
    begun = [event.at_ns for event in faults if event.stage == "witnessed"]
    ended = [event.at_ns for event in faults if event.stage == "reverting"]
    if begun and ended and max(begun) > min(ended):
        whole.wrong.append("unkilled: the faults do not all stand at once")
    applying = [event.at_ns for event in faults if event.stage in ("applying", "verified")]
    return {"stands_s": (max(applying, default=0) - min(applying, default=0)) / 1e9}


def recovered(result: Round) -> None:
    """`blackstart recover --all` from another process."""
    command = [str(Path(sys.executable).with_name("blackstart")), "recover", "--all"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        result.wrong.append(f"recover --all: exit {done.returncode}: {done.stderr[-400:]}")


def deaths(count: int, seed: int, counts: dict[str, float], only: str | None) -> list[Death]:
    """The first half at boundaries, every one of the journal's first, the others at random instants; modes by number or `only`."""
    chance = random.Random(seed)
    records = range(int(counts["journal"]))
    places = [("journal", number, when) for number in records for when in ("before", "inside", "after")]
    chance.shuffle(places)
    events = [("event", number, "after") for number in range(int(counts["event"]))]
    chance.shuffle(events)
    places += events
    made = []
    for index in range(count):
        mode = only or ("stop" if index % 30 == 17 else "both" if index % 10 == 9 else "kill")
        if index % 2 == 0 and index // 2 < len(places):
            sort, number, when = places[index // 2]
            made.append(Death(mode, sort, number, when))
        else:
            # Three of four while something is being broken, stands or is put back; the fourth at any time.
            if index % 8 == 1:
                made.append(Death(mode, "instant", after_s=chance.uniform(0.0, counts["took_s"])))
            else:
                made.append(Death(mode, "standing", after_s=chance.uniform(0.0, counts["stands_s"])))
    return made


def main() -> int:
    """Exit code 0 when nothing was left in any round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", dest="begin", type=int, default=0, help="the first round to carry out")
    parser.add_argument("--to", dest="end", type=int, help="the first round not to carry out")
    parser.add_argument("--mode", choices=sorted(CLEAR_S))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--limit", type=float, default=900.0, help="begin no round after so many seconds")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the ground is closed
    stop_s = time.monotonic() + options.limit
    kinds = catalog()
    for name in BUILT_IN["fault"]:
        kinds.fault(name).load()
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="killing-") as folder:
        os.environ["BLACKSTART_STATE"] = str(Path(folder, "state"))
        ground = Ground(Path(folder))
        try:
            ground.open()
            plans = {
                proxy: make_plan(load_experiment(ground.documents(proxy), catalog=kinds).value, kinds)
                for proxy in ground.servers
            }
            whole = carry_out(ground, plans["embedded"], "embedded", Death("kill", "never"))
            counts = unbroken(whole, ground)
            counts |= json.loads((ground.folder / "counts").read_text())
            say(
                f"{[cell.name for cell in ground.cells]}; without: {ground.without}; a whole run: {counts}, {whole.wrong}"
            )
            rounds.append(whole)
            chosen = list(enumerate(deaths(options.count, options.seed, counts, options.mode)))[
                options.begin : options.end
            ]
            for index, death in chosen:
                if time.monotonic() > stop_s:
                    say(f"out of time: go on with --from {index}")
                    break
                proxy = list(plans)[index // 2 % len(plans)]
                rounds.append(carry_out(ground, plans[proxy], proxy, death))
                clear = "-" if rounds[-1].clear_s is None else f"{rounds[-1].clear_s:.2f} s"
                say(
                    f"{index:4d} {proxy:9s} {rounds[-1].death:32s} {rounds[-1].stood} stood, {clear} {rounds[-1].wrong or ''}"
                )
        finally:
            ground.close()
    report(rounds, ground, options.json)
    return 1 if any(one.wrong for one in rounds) else 0


def report(rounds: list[Round], ground: Ground, as_json: bool) -> None:
    """The numbers of all rounds on stdout."""
    facts: dict[str, Any] = {"cells": [cell.name for cell in ground.cells], "without": ground.without}
    for mode in CLEAR_S:
        ours = [one for one in rounds[1:] if one.death.startswith(mode)]
        times = sorted(one.clear_s for one in ours if one.clear_s is not None and one.stood)
        facts[mode] = {
            "rounds": len(ours),
            "with faults standing": sum(one.stood > 0 for one in ours),
            "median s": times[len(times) // 2] if times else None,
            "longest s": times[-1] if times else None,
        }
    facts["wrong"] = [asdict(one) for one in rounds if one.wrong]
    sys.stdout.write(json.dumps(facts, indent=None if as_json else 1) + "\n")


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
