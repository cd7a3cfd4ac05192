"""Finishing a dead run from its journal: B5 (twice, and from two sides), B6 (torn), and one failure that stops nothing else."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.errors import RevertError, StoreError
from harness.model.catalog import Catalog, FaultKind, HostKind
from harness.model.fields import Params
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState
from harness.model.wiring import Wiring
from harness.run import aftermath
from harness.run.aftermath import resolve
from harness.run.journal import Intent, Journal, JournalView, Opened

BROKEN_HOST = HostKind(name="gone", doc="", params=Params, code="no_such_module:Host", started_by_run=False)


class ToyParams(Params):
    how: str = ""


class ToyState(FaultState):
    name: str


class Toy:
    """Broken while `target/id` is in `broken`; `undone` keeps the order."""

    state_type = ToyState
    broken: ClassVar[set[str]] = set()
    undone: ClassVar[list[str]] = []
    gate: ClassVar[asyncio.Event | None] = None

    def __init__(self, params: ToyParams) -> None:
        self.how = params.how

    async def revert(self, state: ToyState, world: Any) -> None:
        if self.how == "crash":
            raise ZeroDivisionError("division by zero")
        if self.how == "refuse":
            raise RevertError("the server says no", commands=("do it by hand",))
        if self.how == "hang":
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self.undone.append(state.name)
        self.broken.discard(state.name)

    async def verify(self, state: ToyState, world: Any) -> Evidence:
        return Evidence(present=state.name in self.broken, at_ns=0, what="looked")


_module = types.ModuleType("toy_revert")
_module.Toy = Toy  # type: ignore[attr-defined]
sys.modules["toy_revert"] = _module
KIND = FaultKind(
    name="toy",
    doc="",
    params=ToyParams,
    code="toy_revert:Toy",
    targets=frozenset({"link"}),
    what="",
    clients_see="",
    on_revert="",
    witness="",
)
STOPPER = replace(KIND, name="stopper", targets=frozenset({"instance"}), holds=("process",))
OWN_HOST = replace(BROKEN_HOST, name="own", started_by_run=True)
CATALOG = Catalog(
    paths={},
    _loaded={
        ("fault", "toy"): KIND,
        ("fault", "stopper"): STOPPER,
        ("host", "gone"): BROKEN_HOST,
        ("host", "own"): OWN_HOST,
    },
)


@pytest.fixture(autouse=True)
def whole() -> Iterator[None]:
    Toy.broken.clear()
    Toy.undone.clear()
    yield


def broken(path: Path, *faults: tuple[str, str, str], hosts: dict[str, Any] | None = None) -> Path:
    """A journal of (id, target, how its revert goes), all applied and none reverted."""
    journal = Journal(path)
    journal.append(Opened(run_id="r", pid=1, ticks=2, origin_ns=0, stack="s", wiring=Wiring(), hosts=hosts or {}))
    for name, target, how in faults:
        kind, _, how = how.rpartition(":")
        journal.append(
            Intent(
                id=name,
                fault=name,
                kind=kind or "toy",
                params={"how": how},
                target=Target(kind="link", name=target),
                state={"name": name},
                deadline_ns=0,
            )
        )
        Toy.broken.add(name)
    journal.close()
    return path


async def test_on_one_target_the_last_goes_first(tmp_path: Path) -> None:
    path = broken(tmp_path / "undo.jsonl", ("one", "a", ""), ("two", "b", ""), ("three", "a", ""), ("four", "a", ""))
    outcome = await resolve(path, CATALOG, by="test")
    assert outcome.clean
    assert [name for name in Toy.undone if name != "two"] == ["four", "three", "one"]
    assert not Toy.broken


async def test_whatever_fails_the_rest_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftermath, "REVERT_LIMIT_NS", 50_000_000)
    path = broken(
        tmp_path / "undo.jsonl",
        ("deep", "a", ""),
        ("crashes", "a", "crash"),
        ("refuses", "b", "refuse"),
        ("hangs", "c", "hang"),
        ("uninstalled", "d", "no-such-fault:"),
        ("fine", "e", ""),
        hosts={"gw": {"kind": "gone", "recipe": {}}, "db": {"kind": "no-such-host", "recipe": {}}},
    )
    outcome = await resolve(path, CATALOG, by="test")
    assert sorted(outcome.reverted) == ["deep", "fine"]
    left = {name: (what, commands) for name, what, commands in outcome.unresolved}
    assert "division by zero" in left["crashes"][0]
    assert left["refuses"] == ("refuses: the server says no", ("do it by hand",))
    assert "not done within 0.05 s" in left["hangs"][0]
    assert "no-such-fault" in left["uninstalled"][0]
    view = JournalView.read(path)
    assert not view.closed, "what is unresolved is never called clean"
    assert {intent.id for intent in view.unresolved} == {"crashes", "refuses", "hangs", "uninstalled"}


async def test_twice_and_from_two_sides_at_once_comes_to_the_same(tmp_path: Path) -> None:
    path = broken(tmp_path / "undo.jsonl", *((f"f{n}", f"t{n % 3}", "") for n in range(9)))
    first, second = await asyncio.gather(resolve(path, CATALOG, by="reaper"), resolve(path, CATALOG, by="recover"))
    assert first.clean and second.clean
    assert not Toy.broken
    third = await resolve(path, CATALOG, by="again")
    assert (third.reverted, third.unresolved, third.ended) == ((), (), ())
    assert JournalView.read(path).closed


@pytest.mark.parametrize("kept", range(1, 300, 23))
async def test_a_torn_record_does_not_keep_the_others_from_being_undone(tmp_path: Path, kept: int) -> None:
    path = broken(tmp_path / "undo.jsonl", ("one", "a", ""), ("two", "b", ""))
    whole_length = path.stat().st_size
    broken(tmp_path / "undo.jsonl", ("torn", "c", ""))  # appends: opened again, then the intent
    text = path.read_bytes()
    path.write_bytes(text[: whole_length + kept])
    Toy.broken.discard("torn")  # an intent that is not whole on disk was never carried out
    outcome = await resolve(path, CATALOG, by="test")
    assert sorted(outcome.reverted) == ["one", "two"]
    assert not Toy.broken
    again = await resolve(path, CATALOG, by="test")
    assert again.clean, "what the torn journal got appended is read back"


async def test_a_full_disk_does_not_keep_anything_from_being_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken(tmp_path / "undo.jsonl", ("one", "a", ""), ("two", "a", ""), ("three", "b", ""))

    def full(self: Journal, record: Any) -> None:
        raise StoreError(f"{self.path}: cannot write the undo journal: no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        outcome = await resolve(path, CATALOG, by="reaper")
    assert sorted(outcome.reverted) == ["one", "three", "two"]
    assert not Toy.broken
    assert "no space left on device" in capsys.readouterr().err
    assert not JournalView.read(path).closed, "so that `recover` looks again, once there is room"
    assert (await resolve(path, CATALOG, by="recover")).clean


async def test_a_run_that_died_before_it_opened_its_journal_is_legal(tmp_path: Path) -> None:
    path = tmp_path / "undo.jsonl"
    Journal(path).close()
    outcome = await resolve(path, CATALOG, by="reaper")
    assert outcome.clean
    assert JournalView.read(path).opened is None


@pytest.mark.parametrize(
    ("kind", "host", "clean"), [("stopper", "own", True), ("stopper", "gone", False), ("toy", "own", False)]
)
async def test_what_was_done_to_the_runs_own_processes_ends_with_them(
    tmp_path: Path, kind: str, host: str, clean: bool
) -> None:
    """Else such a run could never be finished, and the next on its stack never be run."""
    path = tmp_path / "undo.jsonl"
    journal = Journal(path)
    hosts = {"gw": {"kind": host, "recipe": {}}}
    opened = Opened(run_id="r", pid=1, ticks=2, origin_ns=0, stack="s", wiring=Wiring(), hosts=hosts)
    journal.append(replace(opened, state_dir=str(tmp_path / "ended")))
    target = Target(kind="instance", name="gw")
    journal.append(
        Intent(
            id="it@gw",
            fault="it",
            kind=kind,
            params={"how": "refuse"},
            target=target,
            state={"name": "it"},
            deadline_ns=0,
        )
    )
    journal.close()
    outcome = await resolve(path, CATALOG, by="test")
    assert outcome.clean is clean
    view = JournalView.read(path)
    assert view.closed is clean
    assert bool(view.unresolved) is not clean


async def test_secrets_are_taken_out_of_the_logs_of_a_run_that_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By whoever finishes it, from the environment that it inherits; the second in a row says what the first had done."""
    for folder in ("logs", "inputs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inputs" / "stack.yaml").write_text("env: {KEY: '${env:TOY_TOKEN}', AT: '${env:TOY_NONE:-x}'}\n")
    log = tmp_path / "logs" / "gw.log"
    log.write_text("given s3cret-token\n")
    path = broken(tmp_path / "undo.jsonl", ("a", "one", ""))
    first = await resolve(path, CATALOG, by="reaper")
    assert (log.read_text(), first.unmasked) == ("given s3cret-token\n", ("TOY_NONE", "TOY_TOKEN"))
    monkeypatch.setenv("TOY_TOKEN", "s3cret-token")
    again = await resolve(path, CATALOG, by="recover")
    assert (log.read_text(), again.unmasked) == ("given ***\n", ("TOY_NONE",))
    assert ((again.earlier, again.reverted), first.earlier) == (((("a", "reaper"),), ()), ())
    monkeypatch.setattr(aftermath.RunDir, "scrub", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    assert (await resolve(path, CATALOG, by="recover")).clean
    assert "cannot take secrets out of the logs: disk full" in capsys.readouterr().err
