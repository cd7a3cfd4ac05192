"""The conductor over fakes for stack and load: order of phases, every way out through heal, and what is on record."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import time
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.errors import InjectError, StoreError, UnsafeError
from harness.history.events import AbortEvent, FaultEvent, NoteEvent, PhaseEvent, of_type, read_events
from harness.model.catalog import Catalog, FaultKind
from harness.model.experiment import ArrivalSpec, CheckSpec, Experiment, LoadSpec, SteadyState
from harness.model.fields import Params
from harness.model.plan import Plan, PlannedFault, Target
from harness.model.ports import Evidence, FaultState, LoadReport
from harness.model.predicate import MeasureRef, Predicate
from harness.model.stack import Stack
from harness.model.wiring import Wiring
from harness.run.clock import MonotonicClock
from harness.run.conductor import Conductor, Parts
from harness.run.faultlife import FaultLife, Unreverted
from harness.run.journal import JournalView
from harness.run.traffic import LinkTraffic
from harness.run.world import RunWorld
from harness.store.rundir import RunDir

MS = 1_000_000


class ToyParams(Params):
    fail: str = ""


class Toy:
    """A fault on a set of names: broken while its name is in `broken`."""

    state_type = FaultState
    broken: ClassVar[set[str]] = set()

    def __init__(self, params: ToyParams) -> None:
        self.fail = params.fail

    async def prepare(self, target: Target, world: Any) -> FaultState:
        if self.fail == "prepare":
            raise InjectError("cannot look at it")
        return FaultState()

    async def apply(self, state: Any, world: Any) -> None:
        self.broken.add("it")
        if self.fail == "apply":
            raise InjectError("only half done")

    async def witness(self, state: Any, world: Any) -> Evidence:
        if self.fail == "odd":
            raise KeyError("a defect of the witness")
        present = "it" in self.broken and self.fail != "witness"
        return Evidence(present=present, at_ns=world.clock.now_ns(), what="looked")

    async def revert(self, state: Any, world: Any) -> None:
        if self.fail != "revert":
            self.broken.discard("it")

    async def verify(self, state: Any, world: Any) -> Evidence:
        return Evidence(present="it" in self.broken, at_ns=world.clock.now_ns(), what="looked again")


_module = types.ModuleType("toy_fault")
_module.Toy = Toy  # type: ignore[attr-defined]
sys.modules["toy_fault"] = _module
KIND = FaultKind(
    name="toy",
    doc="",
    params=ToyParams,
    code="toy_fault:Toy",
    targets=frozenset({"link"}),
    what="",
    clients_see="",
    on_revert="",
    witness="",
)
CATALOG = Catalog(paths={}, _loaded={("fault", "toy"): KIND})


class FakeSession:
    def __init__(self, *, refuse: bool = False, guard_ends: bool = False) -> None:
        self.refuse, self.guard_ends = refuse, guard_ends
        self.stopped = 0
        self.assured = 0

    async def start(self, journal: Any, recorder: Any, clock: MonotonicClock) -> RunWorld:
        if self.refuse:
            raise UnsafeError("gateway-eu: not ready within 20 s")
        self.traffic = LinkTraffic((), None, clock)
        return RunWorld("r", clock, Wiring(), {}, None)

    async def watch(self, live: Any, recorder: Any) -> None:
        await asyncio.Event().wait()

    async def listen(self, recorder: Any) -> None:
        await asyncio.Event().wait()

    def assure(self) -> None:
        self.assured += 1

    async def guarded(self) -> str:
        if not self.guard_ends:
            await asyncio.Event().wait()
        await asyncio.sleep(0.1)
        return "exit code -9"

    async def all_ready(self) -> bool:
        return True

    async def role_holder(self, role: str) -> str:
        return "nobody"

    @property
    def entries(self) -> tuple[str, Mapping[str, str]]:
        return "http://127.0.0.1:1", {"eu": "http://127.0.0.1:2"}

    async def stop(self) -> tuple[str, ...]:
        self.stopped += 1
        return ()


class FakeEngine:
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def start(self, job: Any, sink: Callable[[Any], None]) -> None:
        self.calls.append("start")

    async def stop_arrivals(self) -> None:
        self.calls.append("stop_arrivals")

    async def drain(self, limit_ns: int) -> None:
        self.calls.append("drain")

    async def final(self, regions: Mapping[str, str], within_ns: int) -> None:
        self.calls.append("final")

    async def close(self) -> LoadReport:
        self.calls.append("close")
        return LoadReport(engine="fake", profile="http", model=None, closed_loop=False, workers=())

    def dead(self) -> tuple[int, ...]:
        return ()


class FakeLive:
    def __init__(self, answers: Mapping[str, bool | None]) -> None:
        self.answers = answers

    def feed(self, batch: Any) -> None: ...

    def feed_probe(self, name: str, at_ns: int, value: float | None) -> None: ...

    def observed(self, predicate: Predicate, now_ns: int, over_ns: int) -> float | None:
        answer = self.answers.get(predicate.text, True)
        return None if answer is None else float(answer)

    def holds(self, predicate: Predicate, now_ns: int, over_ns: int) -> bool | None:
        return self.answers.get(predicate.text, True)


def rule(text: str) -> Predicate:
    return Predicate(measure=MeasureRef(name="good"), op=">=", value=0.9, unit="ratio", text=text)


def plan(*, for_ns: int | None = 50 * MS, fail: str = "", **more: Any) -> Plan:
    experiment = Experiment(
        name="toy",
        title="t",
        hypothesis="h",
        source="t.yaml",
        base_dir="/",
        stack=Stack(name="s", base_dir="/", instances={}),
        seed=1,
        load=LoadSpec(profile="http", arrival=ArrivalSpec(rate_per_s=10), timeout_ns=MS, warmup_ns=MS),
        steady_state=SteadyState(for_ns=MS, require=(rule("calm"),)),
        recovered_when=rule("good"),
        observe_ns=20 * MS,
        settle_ns=200 * MS,
    )
    fault = PlannedFault(
        id="down",
        entry="down",
        kind="toy",
        params={"fail": fail},
        targets=(Target(kind="link", name="it"),),
        at_ns=10 * MS,
        for_ns=for_ns,
        what="",
        clients_see="",
        on_revert="",
    )
    return Plan(experiment=dataclasses.replace(experiment, **more), faults=(fault,), window_ns=MS, longest_ns=0)


class Ran:
    def __init__(self, run_dir: RunDir, session: FakeSession, engine: FakeEngine) -> None:
        self.events = read_events(run_dir.events)
        self.journal = JournalView.read(run_dir.undo)
        self.session, self.engine = session, engine
        self.phases = [event.phase for event in of_type(self.events, PhaseEvent)]
        self.stages = [event.stage for event in of_type(self.events, FaultEvent)]
        self.notes = {event.code: event for event in of_type(self.events, NoteEvent)}
        self.aborts = of_type(self.events, AbortEvent)


async def conduct(
    tmp_path: Path,
    what: Plan,
    *,
    session: FakeSession | None = None,
    answers: Mapping[str, bool | None] | None = None,
    meanwhile: Callable[[Conductor], Any] | None = None,
) -> Ran:
    Toy.broken.clear()
    run_dir = RunDir.create(tmp_path, "toy", datetime.now(UTC))
    session, engine = session or FakeSession(), FakeEngine()
    live = FakeLive(answers or {"abort": False})
    conductor = Conductor(what, run_dir, CATALOG, Parts(session=session, engine=engine, live=live))
    async with asyncio.timeout(20):
        running = asyncio.ensure_future(conductor.conduct())
        if meanwhile:
            await meanwhile(conductor)
        await running
    assert session.stopped == 1
    return Ran(run_dir, session, engine)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


LIFE = ["prepared", "applying", "applied", "witnessed", "still-there", "reverting", "reverted", "verified"]
WHOLE = [
    "plan",
    "preflight",
    "start",
    "warmup",
    "steady",
    "inject",
    "observe",
    "heal",
    "settle",
    "drain",
    "final",
    "seal",
]


async def test_a_run_goes_through_every_phase_and_closes_its_journal(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(checks=(CheckSpec(name="converged", kind="converged"),)))
    assert ran.phases == WHOLE
    assert ran.stages == LIFE
    assert ran.engine.calls == ["start", "stop_arrivals", "drain", "final", "final", "close"]
    assert ran.journal.closed
    assert ran.journal.unresolved == ()
    assert not Toy.broken
    assert ran.aborts == ()
    assert "exposure" not in ran.notes, "no server counts its link"


async def test_the_intent_is_on_disk_before_the_fault_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = Toy.apply

    async def apply(self: Toy, state: Any, world: Any) -> None:
        seen.extend(intent.id for path in tmp_path.glob("*/undo.jsonl") for intent in JournalView.read(path).intents)
        await real(self, state, world)

    monkeypatch.setattr(Toy, "apply", apply)
    await conduct(tmp_path, plan())
    assert seen == ["down@it"]


async def test_a_standing_fault_is_reverted_by_heal(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(for_ns=None))
    heal = next(e.at_ns for e in of_type(ran.events, PhaseEvent) if e.phase == "heal")
    reverting = next(e.at_ns for e in of_type(ran.events, FaultEvent) if e.stage == "reverting")
    assert reverting >= heal
    assert ran.stages == LIFE


async def test_a_half_applied_fault_is_reverted_and_the_run_proves_nothing(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(fail="apply"))
    assert not Toy.broken
    assert ran.stages[-1] == "verified"
    assert ran.notes["inject"].level == "unprovable"
    assert "only half done" in ran.notes["inject"].text
    assert ran.journal.closed


async def test_a_fault_that_cannot_be_prepared_leaves_nothing_to_undo(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(fail="prepare"))
    assert ran.stages == ["failed"]
    assert ran.journal.intents == ()


async def test_a_fault_without_effect_is_recorded_as_not_witnessed(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(fail="witness"))
    assert "not-witnessed" in ran.stages
    assert "gone-early" in ran.stages


async def test_a_revert_that_does_not_take_is_dirty_and_stays_in_the_journal(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(fail="revert"))
    assert "unverified" in ran.stages
    assert ran.notes["unreverted"].level == "dirty"
    assert [intent.id for intent in ran.journal.unresolved] == ["down@it"]
    assert not ran.journal.closed


async def test_a_witness_that_breaks_is_no_sighting_and_keeps_nothing_from_being_put_back(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(fail="odd"))
    assert ran.stages == [
        "prepared",
        "applying",
        "applied",
        "not-witnessed",
        "gone-early",
        "reverting",
        "reverted",
        "verified",
    ]
    what = next(e.what for e in of_type(ran.events, FaultEvent) if e.stage == "not-witnessed")
    assert what == "witness failed: KeyError: 'a defect of the witness'"
    assert not Toy.broken and ran.journal.closed


async def test_what_nobody_reverted_keeps_the_journal_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(self: FaultLife) -> tuple[Unreverted, ...]:
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setattr(FaultLife, "revert", lost)
    ran = await conduct(tmp_path, plan())
    assert [intent.id for intent in ran.journal.unresolved] == ["down@it"]
    assert not ran.journal.closed
    assert [abort.by for abort in ran.aborts] == ["error"]


async def test_an_instant_fault_that_was_not_seen_to_return_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOG._loaded, ("fault", "toy"), dataclasses.replace(KIND, instant=True))
    ran = await conduct(tmp_path, plan(for_ns=None, fail="witness"))
    assert ran.stages[-3:] == ["reverting", "reverted", "verified"]
    assert not Toy.broken and ran.journal.closed
    seen = await conduct(tmp_path, plan(for_ns=None))
    assert seen.stages == ["prepared", "applying", "applied", "witnessed", "returned"]
    assert seen.journal.closed


async def test_a_stack_that_never_gets_ready_is_refused_and_stopped(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(), session=FakeSession(refuse=True))
    assert ran.notes["refused"].text == "gateway-eu: not ready within 20 s"
    assert ran.phases == ["plan", "preflight", "start", "seal"]
    assert ran.engine.calls == ["close"]


@pytest.mark.parametrize("answer", [False, None])
async def test_without_steady_state_nothing_is_injected(tmp_path: Path, answer: bool | None) -> None:
    ran = await conduct(tmp_path, plan(), answers={"calm": answer})
    assert ran.stages == []
    seen = "nothing was observed" if answer is None else "observed 0 %"
    assert f"steady state not met: calm ({seen}); " in ran.notes["refused"].text


async def test_an_abort_rule_heals_settles_and_reads_the_end(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(for_ns=10_000 * MS, abort_when=(rule("abort"),)), answers={"abort": True})
    assert [abort.by for abort in ran.aborts] == ["rule"]
    assert not Toy.broken
    assert ran.phases[-5:] == ["heal", "settle", "drain", "final", "seal"]
    assert "settled" in ran.notes, "a rule that still holds does not cut its own settling"


async def test_one_interrupt_heals_and_drains_without_final_reads(tmp_path: Path) -> None:
    async def press(conductor: Conductor) -> None:
        await until(lambda: "it" in Toy.broken)
        conductor.interrupts.interrupt("SIGINT")

    ran = await conduct(tmp_path, plan(for_ns=10_000 * MS), meanwhile=press)
    assert [(abort.by, abort.reason) for abort in ran.aborts] == [("signal", "SIGINT")]
    assert ran.phases[-3:] == ["heal", "drain", "seal"]
    assert not Toy.broken
    assert ran.journal.closed


async def test_the_death_of_the_reaper_aborts(tmp_path: Path) -> None:
    ran = await conduct(tmp_path, plan(for_ns=10_000 * MS), session=FakeSession(guard_ends=True))
    assert ran.aborts[0].by == "reaper"
    assert "exit code -9" in ran.aborts[0].reason
    assert not Toy.broken


@pytest.mark.parametrize("slow", ["FakeSession.start", "FakeEngine.drain", "FakeEngine.final", "FakeSession.stop"])
async def test_the_reaper_is_assured_through_every_slow_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr("harness.run.conductor._BEAT_S", 0.01)
    session = FakeSession()
    owner, name = globals()[slow.partition(".")[0]], slow.partition(".")[2]
    usual = getattr(owner, name)

    async def slowly(self: Any, *args: Any) -> Any:
        seen = session.assured
        await until(lambda: session.assured > seen + 2)
        return await usual(self, *args)

    monkeypatch.setattr(owner, name, slowly)
    ran = await conduct(tmp_path, plan(), session=session)
    assert ran.phases == WHOLE
    assert ran.aborts == ()


async def test_our_own_bug_heals_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: FakeSession) -> bool:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(FakeSession, "all_ready", broken)
    ran = await conduct(tmp_path, plan(for_ns=None))
    assert [(abort.by, abort.reason) for abort in ran.aborts] == [("error", "ZeroDivisionError: division by zero")]
    assert not Toy.broken
    assert ran.engine.calls[-1] == "close"


@pytest.mark.parametrize("step_s", [3600, -3600])
async def test_a_wall_clock_that_is_stepped_is_on_record_and_changes_no_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    calm = await conduct(tmp_path / "calm", plan())
    assert "wall-clock" not in calm.notes
    real = time.time_ns

    async def step(_: Conductor) -> None:
        await until(lambda: bool(Toy.broken))
        monkeypatch.setattr("time.time_ns", lambda: real() + step_s * 1_000_000_000)

    ran = await conduct(tmp_path / "stepped", plan(), meanwhile=step)
    note = ran.notes["wall-clock"]
    assert note.level == "warning" and f"{'forward' if step_s > 0 else 'back'} by 60 m" in note.text
    assert ran.phases == calm.phases
    instants = [event.at_ns for event in ran.events]
    assert instants == sorted(instants) and instants[-1] < 60_000 * MS


def several(*faults: tuple[str, str, int], fail: str = "") -> Plan:
    """A plan of (id, target, at in ms), all standing until heal; `fail` is the last one's."""
    made = plan(for_ns=None)
    one = made.faults[0]
    planned = tuple(
        dataclasses.replace(
            one,
            id=name,
            entry=name,
            at_ns=at * MS,
            targets=(Target(kind="link", name=target),),
            params={"fail": fail if index == len(faults) - 1 else ""},
        )
        for index, (name, target, at) in enumerate(faults)
    )
    return dataclasses.replace(made, faults=planned)


async def test_heal_is_last_in_first_out_on_a_target_and_failures_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = await conduct(
        tmp_path, several(("first", "a", 1), ("second", "a", 2), ("aside", "b", 3), ("third", "a", 4), fail="revert")
    )
    ends = [event.id for event in of_type(ran.events, FaultEvent) if event.stage in ("verified", "unverified")]
    # "third" is tried once more at the very end
    assert [name for name in dict.fromkeys(ends) if name != "aside"] == ["third", "second", "first"]
    assert {event.id for event in of_type(ran.events, FaultEvent) if event.stage == "verified"} >= {"aside"}


async def test_three_targets_of_which_one_cannot_be_broken_are_all_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B4: an inject that fails half-way over its targets."""
    touched = []
    real = Toy.apply

    async def apply(self: Toy, state: Any, world: Any) -> None:
        touched.append(len(touched))
        await real(self, state, world)
        if len(touched) == 2:
            raise InjectError("the second of three says no")

    monkeypatch.setattr(Toy, "apply", apply)
    made = plan(for_ns=None)
    targets = tuple(Target(kind="link", name=name) for name in ("a", "b", "c"))
    three = dataclasses.replace(made, faults=(dataclasses.replace(made.faults[0], targets=targets),))
    ran = await conduct(tmp_path, three)
    assert touched == [0, 1, 2]
    assert ran.notes["inject"].level == "unprovable", "exit 3, never a pass"
    assert "the second of three says no" in ran.notes["inject"].text
    assert sorted(record.id for record in ran.journal.reverted if record.verified) == ["down@a", "down@b", "down@c"]
    assert ran.journal.closed
    assert not Toy.broken


@pytest.mark.parametrize("what", ["events", "journal"])
async def test_a_disk_that_fills_up_keeps_nothing_from_being_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What cannot be recorded proves nothing (exit 6), but it is put back and the stack is ended all the same."""
    from harness.run.journal import Journal
    from harness.run.recorder import Recorder

    full = []

    def check(path: Path) -> None:
        if full:
            raise StoreError(f"{path}: no space left on device")

    def emit(self: Recorder, event: Any) -> None:
        check(self.path)
        real_emit(self, event)

    def append(self: Journal, record: Any) -> None:
        check(self.path)
        real_append(self, record)

    real_emit, real_append = Recorder.emit, Journal.append
    if what == "events":
        monkeypatch.setattr(Recorder, "emit", emit)
    else:
        monkeypatch.setattr(Journal, "append", append)

    async def fill(conductor: Conductor) -> None:
        await until(lambda: bool(Toy.broken))
        full.append(True)

    session = FakeSession()
    # A full journal lets the run end with its verdict void; full events end it with an error. Either way it is put back.
    with contextlib.suppress(StoreError, ExceptionGroup):
        await conduct(tmp_path, several(("one", "a", 1), ("two", "b", 40)), session=session, meanwhile=fill)
    assert not Toy.broken
    assert session.stopped == 1
