"""Faults that stand on one target at once: whichever ends first, what was before all of them comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InjectError
from harness.model import catalog as kinds_module
from harness.model.catalog import Catalog, FaultKind
from harness.model.fields import Params
from harness.model.plan import PlannedFault, Target
from harness.model.ports import Evidence, FaultState
from harness.model.wiring import Wiring
from harness.registry import catalog
from harness.run.aftermath import revert_intents
from harness.run.clock import MonotonicClock
from harness.run.faultlife import FaultLife
from harness.run.holds import Holds
from harness.run.journal import Intent, Journal, JournalView, Reverted
from harness.run.reaper import overdue_intents
from harness.run.recorder import Recorder
from harness.run.world import RunWorld
from harness.testing.fakes import FakeHost

A = Target(kind="instance", name="a")


class Board:
    """What layers are painted on."""

    text = "original"


class Paint(Params):
    say: str


class PaintState(FaultState):
    was: str


class Painter:
    """A layered injector: each layer adds its word to the original."""

    state_type = PaintState

    def __init__(self, params: Paint) -> None:
        self.params = params

    async def prepare(self, target: Target, world: Any) -> PaintState:
        return PaintState(was=Board.text)

    def over(self, below: PaintState) -> PaintState:
        return below

    async def apply(self, state: PaintState, world: Any) -> None:
        await self.compose(state, [self], world)

    async def compose(self, state: PaintState, layers: Any, world: Any) -> None:
        Board.text = " ".join([state.was, *(layer.params.say for layer in layers)])

    async def witness(self, state: PaintState, world: Any) -> Evidence:
        return Evidence(present=self.params.say in Board.text.split(), at_ns=0, what=Board.text)

    async def revert(self, state: PaintState, world: Any) -> None:
        Board.text = state.was

    async def verify(self, state: PaintState, world: Any) -> Evidence:
        return Evidence(present=Board.text != state.was, at_ns=0, what=Board.text)


PAINT = FaultKind(
    name="paint",
    doc="",
    params=Paint,
    code=f"{__name__}:Painter",
    targets=frozenset({"instance"}),
    holds=("board",),
    layers=True,
    what="",
    clients_see="",
    on_revert="",
    witness="",
)


class Stage:
    """One fake instance, a journal, and the lives of faults on it."""

    def __init__(self, folder: Path) -> None:
        self.host = FakeHost("a")
        self.world = RunWorld("run-1", MonotonicClock(), Wiring(), {"a": self.host}, None)
        self.journal = Journal(folder / "undo.jsonl")
        self.recorder = Recorder(folder / "events.jsonl")
        self.events: list[Any] = []
        self.recorder.listen(self.events.append)
        self.holds = Holds()
        self.kinds = Catalog(paths=catalog().paths, _loaded={("fault", "paint"): PAINT})

    async def inject(self, name: str, kind: str, **params: Any) -> FaultLife:
        told = PlannedFault(
            id=name,
            entry=name,
            kind=kind,
            params=params,
            targets=(A,),
            at_ns=0,
            for_ns=1,
            what="",
            clients_see="",
            on_revert="",
        )
        life = FaultLife(told, self.world, self.kinds.fault(kind), (self.journal, self.recorder), self.holds)
        await life.inject(None, 10**15)  # type: ignore[arg-type] - no role to resolve
        return life

    def seen(self, name: str) -> list[tuple[str, str]]:
        return [(event.stage, event.what) for event in self.events if event.id == name]

    @property
    def view(self) -> JournalView:
        return JournalView.read(self.journal.path)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(Board, "text", "original")
    real = kinds_module.load_dotted
    monkeypatch.setattr(kinds_module, "load_dotted", lambda path: Painter if path == PAINT.code else real(path))
    made = Stage(tmp_path)
    yield made
    made.journal.close()
    made.recorder.seal()


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_pauses_nest_and_only_the_last_to_end_continues_it(stage: Stage, order: tuple[int, ...]) -> None:
    lives = [await stage.inject(f"p{n}", "pause") for n in range(3)]
    identity = await stage.host.find()
    for number, which in enumerate(order):
        assert await lives[which].revert() == ()
        assert await stage.host.frozen(identity) is (number < 2)
    assert stage.host.calls == ["freeze", "thaw"]
    assert stage.view.unresolved == ()
    for life in lives:
        stages = [what for what, _ in stage.seen(life.fault.id)]
        assert stages == [
            "prepared",
            "applying",
            "applied",
            "witnessed",
            "still-there",
            "reverting",
            "reverted",
            "verified",
        ]
    first = f"p{order[0]}"
    others = ", ".join(sorted({"p0", "p1", "p2"} - {first}))
    assert stage.seen(first)[-1] == ("verified", f"left to {others}, which stands on the same original")


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_layers_show_what_stands_whichever_ends_first(stage: Stage, order: tuple[int, ...]) -> None:
    words = ["one", "two", "three"]
    lives = [await stage.inject(word, "paint", say=word) for word in words]
    assert Board.text == "original one two three"
    left = list(words)
    for which in order:
        assert await lives[which].revert() == ()
        left.remove(words[which])
        assert Board.text == " ".join(["original", *left])
    assert stage.view.unresolved == ()


async def test_all_at_once_as_heal_does_it(stage: Stage) -> None:
    lives = [await stage.inject(f"p{n}", "pause") for n in range(4)]
    assert await asyncio.gather(*(life.revert() for life in lives)) == [()] * 4
    assert not await stage.host.frozen(await stage.host.find())
    assert stage.view.unresolved == ()


@pytest.mark.parametrize("ended", [None, 0, 1])
async def test_the_reaper_restores_the_original_from_the_journal_alone(stage: Stage, ended: int | None) -> None:
    lives = [await stage.inject(word, "paint", say=word) for word in ("one", "two", "three")]
    if ended is not None:
        await lives[ended].revert()
    unresolved = stage.view.unresolved
    assert len(unresolved) == (3 if ended is None else 2)
    outcomes = await revert_intents(unresolved, stage.world, stage.kinds, stage.journal, "reaper")
    assert [problem for _, problem, _ in outcomes] == [""] * len(unresolved)
    assert Board.text == "original"
    assert stage.view.unresolved == ()


async def test_the_reaper_restores_a_paused_instance_of_which_one_pause_had_ended(stage: Stage) -> None:
    first, _ = await stage.inject("p0", "pause"), await stage.inject("p1", "pause")
    await first.revert()
    await revert_intents(stage.view.unresolved, stage.world, stage.kinds, stage.journal, "reaper")
    assert not await stage.host.frozen(await stage.host.find())


async def test_a_killed_instance_comes_back_when_the_last_of_two_kills_ends(stage: Stage) -> None:
    first, second = await stage.inject("k0", "kill"), await stage.inject("k1", "kill")
    assert await second.revert() == ()
    assert await stage.host.find() is None
    assert await first.revert() == ()
    assert await stage.host.find() is not None
    assert [call for call in stage.host.calls if call == "kill"] == ["kill"]


async def test_another_kind_on_the_same_hold_is_not_applied(stage: Stage) -> None:
    first = await stage.inject("p0", "pause")
    with pytest.raises(InjectError, match=r"fault 'p0' \(pause\) holds its process"):
        await stage.inject("k0", "kill")
    await first.revert()
    await (await stage.inject("k1", "kill")).revert()


async def test_a_pause_that_is_not_ours_is_still_refused(stage: Stage) -> None:
    await stage.host.freeze(await stage.host.find())
    with pytest.raises(InjectError, match="is stopped already, not by this fault"):
        await stage.inject("p0", "pause")


def test_what_is_overdue_waits_for_who_may_still_stand_on_it() -> None:
    def intent(name: str, kind: str, deadline_ns: int, target: str = "a") -> Intent:
        where = Target(kind="instance", name=target)
        return Intent(id=name, fault=name, kind=kind, params={}, target=where, state={}, deadline_ns=deadline_ns)

    early, late = intent("p0", "pause", 10), intent("p1", "pause", 30)
    elsewhere = intent("p2", "pause", 10, "b")
    kinds = catalog()
    assert overdue_intents((late, early, elsewhere), 20, kinds) == (elsewhere,)
    assert overdue_intents((late, early, elsewhere), 40, kinds) == (late, early, elsewhere)


@pytest.mark.parametrize("when", ["before", "while"])
async def test_what_the_reaper_has_put_back_is_not_applied_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    reaper = Journal(stage.journal.path)

    def finish() -> None:
        reaper.append(Reverted(id="one@a", verified=True, by="reaper", what="ok"))

    real_emit, real_compose = FaultLife._emit, Painter.compose

    def emit(self: FaultLife, target: Target, what_stage: Any, *more: Any) -> None:
        real_emit(self, target, what_stage, *more)
        if what_stage == "applying" and when == "before":
            finish()

    async def compose(self: Painter, state: PaintState, layers: Any, world: Any) -> None:
        await real_compose(self, state, layers, world)
        if when == "while":
            finish()

    monkeypatch.setattr(FaultLife, "_emit", emit)
    monkeypatch.setattr(Painter, "compose", compose)
    with pytest.raises(InjectError, match="the reaper has put it back already"):
        await stage.inject("one", "paint", say="red")
    assert Board.text == ("original" if when == "before" else "original red")
    assert bool(stage.view.unresolved) is (when == "while"), "what stands is in the journal"
    reaper.close()
