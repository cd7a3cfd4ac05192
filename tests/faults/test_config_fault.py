"""config: a file changed whole, taken by the instance, told by it, and put back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.config import changed
from harness.model.plan import PlannedFault
from harness.registry import catalog
from harness.run.aftermath import revert_intents
from harness.run.faultlife import FaultLife
from harness.run.holds import Holds
from harness.run.journal import Journal, JournalView
from harness.run.recorder import Recorder
from harness.run.world import RunWorld
from harness.stacks.pid import PidHost
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeWorld

TEXT = "# the limits\nlimit = 10\nburst = 5\nname: a\n"


def params(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "file": str(folder / "app.conf"),
        "set": {"limit": 99},
        "read": ["sed", "-n", "s/^limit = //p", "live"],
        "within": "2s",
        "cwd": str(folder),
        **more,
    }


def made(folder: Path, **more: Any) -> Any:
    kind = catalog().fault("config")
    return kind.load()(kind.params.model_validate(params(folder, **more)))


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "then"),
    [
        pytest.param(host, then, marks=pytest.mark.cell("config", host))
        for host, then in (("process", "restart"), ("process", "hup"), ("python", "hup"), ("pid", "restart"))
    ],
)
async def test_an_instance_takes_a_value_and_gives_it_back(victim: Any, host: str, then: str, tmp_path: Path) -> None:
    file = tmp_path / "app.conf"
    file.write_text(TEXT)
    file.chmod(0o640)
    a = victim(host)
    before = await a.up()
    await check_injector(made(tmp_path, then=then), a.target, a.world)
    assert file.read_text() == TEXT
    assert file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "live").read_text() == TEXT
    assert (await a.host.find() == before) is (then == "hup")
    assert not list(tmp_path.glob(".blackstart-*"))


class Scene:
    """Lives of faults on one real instance."""

    def __init__(self, a: Any, folder: Path) -> None:
        self.a, self.folder = a, folder
        self.world = RunWorld("run-1", a.world.clock, a.world.wiring, {"a": a.host}, None)
        self.journal, self.recorder = Journal(folder / "undo.jsonl"), Recorder(folder / "events.jsonl")
        self.holds = Holds()

    async def inject(self, name: str, **more: Any) -> FaultLife:
        kind = catalog().fault("config")
        told = kind.params.model_validate(params(self.folder, then="hup", **more)).model_dump(mode="json")
        planned = PlannedFault(
            id=name,
            entry=name,
            kind="config",
            params=told,
            targets=(self.a.target,),
            at_ns=0,
            for_ns=1,
            what="",
            clients_see="",
            on_revert="",
        )
        life = FaultLife(planned, self.world, kind, (self.journal, self.recorder), self.holds)
        await life.inject(None, 10**15)  # type: ignore[arg-type] - no role to resolve
        return life

    def live(self) -> str:
        return (self.folder / "live").read_text()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        self.recorder.seal()


READ_BURST = ["sed", "-n", "s/^burst = //p", "live"]


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
async def test_two_changes_of_one_file_nest_whichever_ends_first(victim: Any, first: int, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(TEXT)
    a = victim("process")
    await a.up()
    with Scene(a, tmp_path) as scene:
        lives = [await scene.inject("limit"), await scene.inject("burst", set={"burst": 7}, read=READ_BURST)]
        assert "limit = 99\nburst = 7\n" in scene.live()
        assert await lives[first].revert() == ()
        assert ("limit = 99" in scene.live(), "burst = 7" in scene.live()) == (first == 1, first == 0)
        assert await lives[1 - first].revert() == ()
        assert scene.live() == TEXT == (tmp_path / "app.conf").read_text()
        assert JournalView.read(scene.journal.path).unresolved == ()


@pytest.mark.live
@pytest.mark.slow
async def test_the_reaper_restores_the_text_of_before_all_changes(victim: Any, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(TEXT)
    a = victim("process")
    await a.up()
    with Scene(a, tmp_path) as scene:
        await (await scene.inject("limit")).revert()
        one = await scene.inject("limit-2")
        await scene.inject("burst", set={"burst": 7}, read=READ_BURST)
        await one.revert()
        unresolved = JournalView.read(scene.journal.path).unresolved
        assert [intent.fault for intent in unresolved] == ["burst"]
        reborn = a.reborn()
        world = RunWorld("run-1", a.world.clock, a.world.wiring, dict(reborn.hosts), None)
        assert await revert_intents(unresolved, world, catalog(), scene.journal, "reaper") == [("burst@a", "", ())]
        assert scene.live() == TEXT == (tmp_path / "app.conf").read_text()
        await reborn.hosts["a"].close()


@pytest.mark.live
@pytest.mark.slow
async def test_an_instance_that_does_not_take_it_is_not_witnessed(victim: Any, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(TEXT)
    a = victim("process")
    await a.up()
    config = made(tmp_path, then="nothing", within="500ms")
    state = await config.prepare(a.target, a.world)
    await config.apply(state, a.world)
    evidence = await config.witness(state, a.world)
    assert (evidence.present, evidence.what) == (False, "a works with limit=10")
    assert (await config.verify(state, a.world)).what == f"{tmp_path / 'app.conf'} is not as it was"
    await config.revert(state, a.world)
    assert (tmp_path / "app.conf").read_text() == TEXT


@pytest.mark.live
@pytest.mark.slow
async def test_what_could_not_be_undone_is_refused(victim: Any, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(TEXT)
    a = victim("pid")
    await a.up()
    lasting = PidHost.revive(dict(a.host.recipe(), start=None))
    world = FakeWorld(hosts={"a": lasting}, wiring=a.world.wiring)
    with pytest.raises(UnsafeError, match="nothing could start a again; give it `start:`, or say `then: hup`"):
        await made(tmp_path).prepare(a.target, world)
    with pytest.raises(InjectError, match="no line sets 'nothing'"):
        await made(tmp_path, set={"nothing": 1}).prepare(a.target, a.world)
    with pytest.raises(InjectError, match="cannot read"):
        await made(tmp_path, file=str(tmp_path / "gone")).prepare(a.target, a.world)
    config = made(tmp_path, then="nothing")
    state = await config.prepare(a.target, a.world)
    (tmp_path / "app.conf").unlink()
    with pytest.raises(RevertError, match="cannot write"):
        await config.revert(state, a.world)


@pytest.mark.parametrize(
    ("text", "to", "result"),
    [
        (TEXT, {"limit": "1", "name": "b"}, "# the limits\nlimit = 1\nburst = 5\nname: b\n"),
        ("a=1\r\nab=2\r\n", {"ab": "3"}, "a=1\r\nab=3"),
        ("maxmemory 100mb\nmaxmemory-policy noeviction\n", {"maxmemory": "1mb"}, "maxmemory 1mb\n"),
        ("  key\t=\told # note\n", {"key": "\\1"}, "  key\t=\t\\1\n"),
        ("key =\n", {"key": "1"}, "key =1\n"),
    ],
)
def test_lines_of_any_format_are_changed_in_place(text: str, to: dict[str, str], result: str) -> None:
    assert changed("/x/app.conf", text, to).startswith(result)


def test_json_keeps_types_and_everything_else() -> None:
    text = json.dumps({"a": {"b": 1, "s": "x"}, "on": True})
    assert json.loads(changed("/x.json", text, {"a.b": "2", "a.s": "3", "on": "false"})) == {
        "a": {"b": 2, "s": "3"},
        "on": False,
    }
    for key in ("a.c", "z.b", "a.b.c"):
        with pytest.raises(InjectError, match=f"there is no '{key}'"):
            changed("/x.json", text, {key: "1"})
    with pytest.raises(InjectError, match="no JSON"):
        changed("/x.json", "{", {"a": "1"})


def test_a_file_too_large_is_no_configuration(tmp_path: Path) -> None:
    from harness.faults.config import _content

    (tmp_path / "large").write_text("x" * 300_000)
    with pytest.raises(InjectError, match="no configuration file"):
        _content(str(tmp_path / "large"))
    os.truncate(tmp_path / "large", 1000)
    assert len(_content(str(tmp_path / "large"))) == 1000
