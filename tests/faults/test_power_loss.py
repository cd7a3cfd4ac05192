"""kill with `mode: power`: what was not synced is gone, which a plain kill cannot show; and what must be declared for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.errors import InjectError, UnsafeError
from harness.faults.kill import KIND, Kill, KillParams
from harness.model.plan import Target
from harness.model.ports import HostSettings
from harness.model.stack import HostSpec, Instance, Stack
from harness.stacks.client import end_stack
from harness.stacks.disk import Seen, forgotten, image_of, require_disks
from harness.stacks.process import ProcessHost
from harness.stacks.wire import allocate
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeHost, FakeWorld

POWER = KillParams.model_validate({"mode": "power"})
TARGET = Target(kind="instance", name="a", host="process")
WRITER = """
import os, signal
signal.alarm(60)
if not os.path.exists("synced"):
    with open("synced", "w") as file:
        file.write("acknowledged after its fsync")
        file.flush()
        os.fsync(file.fileno())
        os.fsync(os.open(".", os.O_RDONLY))
    with open("promised", "w") as file:
        file.write("acknowledged before any fsync")
while True:
    signal.pause()
"""


LOG = """
import pathlib, signal, sys
from harness.reference.database import Sqlite
from harness.reference.journal import Config, Draft, Journal
signal.alarm(60)
journal = Journal(Sqlite(pathlib.Path("journal.sqlite"), lax=sys.argv[1] == "early"), "eu")
if journal.config is None:
    journal.batch([lambda one: one.set_config(Config(epoch=1, primary="eu", sync=("eu",), mode="sync"))])
while journal.last_seq < 50:
    journal.batch([lambda one: one.append(Draft(kind="record", value="x", body={"value": 1}))])
pathlib.Path(sys.argv[2], "acknowledged").write_text(str(journal.last_seq))
while True:
    signal.pause()
"""


class Writer:
    """The instance `a` on a disk of its own: it writes one file that it syncs, and one that it does not."""

    def __init__(self, folder: Path, *argv: str) -> None:
        state = str(folder / "state")
        self.settings = HostSettings(
            run_id="run-1", state_dir=state, log_dir=str(folder / "logs"), base_dir=str(folder)
        )
        process = {"process": argv or ["python3", "-c", WRITER], "cwd": "${dir}"}
        one = Instance(name="a", host=HostSpec(kind="process", params=process), disk_bytes=16 << 20)
        wiring = allocate(Stack(name="s", base_dir=str(folder), instances={"a": one}), state)
        self.dir = Path(wiring.dirs["a"])
        self.host = ProcessHost(one, wiring, self.settings)
        self.world = FakeWorld(hosts={"a": self.host}, wiring=wiring)

    async def up(self) -> None:
        """Start it and wait until both files are there."""
        await self.host.start()
        deadline = time.monotonic() + 20
        while not (self.dir / "promised").exists() or not (self.dir / "promised").read_text():
            assert time.monotonic() < deadline, "it never wrote"
            await asyncio.sleep(0.02)

    async def vanish(self) -> None:
        found = await self.host.find()
        if found is not None:
            await self.host.kill(found)


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    try:
        require_disks()
    except UnsafeError as exc:
        pytest.skip(exc.message)
    made = Writer(tmp_path)
    yield made
    await made.host.close()
    await end_stack(made.settings.state_dir, 0)
    assert not made.dir.exists(), "ending the stack unmounts and removes its disk"
    assert not os.path.exists(image_of(str(made.dir)))


@pytest.mark.live
@pytest.mark.slow
async def test_power_takes_what_was_not_synced_and_a_plain_kill_does_not(writer) -> None:
    await writer.up()
    for params, kept in ((KillParams(), True), (POWER, False)):
        kill = Kill(params)
        state = await kill.prepare(TARGET, writer.world)
        await kill.apply(state, writer.world)
        evidence = await kill.witness(state, writer.world)
        assert evidence.present, evidence.what
        assert (writer.dir / "promised").exists() is kept
        assert (writer.dir / "synced").read_text() == "acknowledged after its fsync"
        if not kept:
            assert evidence.what.endswith("of the instance's own: promised (29 B) is not there")
            assert "an unsynced canary was there and is gone" in evidence.what
        await kill.revert(state, writer.world)
        assert not (await kill.verify(state, writer.world)).present


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.cell("kill", "process")
async def test_keeps_the_contract_of_an_injector(writer) -> None:
    await writer.up()
    await check_injector(Kill(POWER), TARGET, writer.world, vanish=writer.vanish)


def held(journal: Path) -> int:
    """How many entries the log on disk has."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM log").fetchone()[0])
        except sqlite3.OperationalError:  # not even the table was synced
            return 0


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize(
    ("acknowledges", "params", "lost"),
    [("early", KillParams(), False), ("early", POWER, True), ("synced", POWER, False)],
)
async def test_an_acknowledgement_before_the_fsync_is_caught_by_power_alone(
    writer, tmp_path, acknowledges, params, lost
) -> None:
    one = Writer(tmp_path / "log", sys.executable, "-c", LOG, acknowledges, str(tmp_path))
    (tmp_path / "log").mkdir()
    try:
        await one.host.start()
        deadline = time.monotonic() + 30
        while not (tmp_path / "acknowledged").exists():
            assert time.monotonic() < deadline, "it never acknowledged"
            await asyncio.sleep(0.02)
        kill = Kill(params)
        state = await kill.prepare(TARGET, one.world)
        await kill.apply(state, one.world)
        assert (held(one.dir / "journal.sqlite") < 50) is lost
    finally:
        await one.host.close()
        await end_stack(one.settings.state_dir, 0)


@pytest.mark.live
@pytest.mark.slow
async def test_a_cut_that_somebody_else_holds_up_is_no_effect_and_is_mended_by_the_revert(writer, monkeypatch) -> None:
    monkeypatch.setattr("harness.stacks.disk._BUSY_S", 0.1)
    await writer.up()
    kill = Kill(POWER)
    state = await kill.prepare(TARGET, writer.world)
    with open(writer.dir / "synced"), pytest.raises(InjectError, match=r"umount .*busy.*umount --lazy"):
        await kill.apply(state, writer.world)
    evidence = await kill.witness(state, writer.world)
    assert not evidence.present
    assert evidence.what.endswith("but its power was not cut")
    await kill.revert(state, writer.world)
    assert not (await kill.verify(state, writer.world)).present
    assert (writer.dir / "synced").read_text() == "acknowledged after its fsync"


async def test_a_host_without_power_is_refused_before_anything_dies() -> None:
    host = FakeHost("a")
    world = FakeWorld(hosts={"a": host})
    kill = Kill(POWER)
    state = await kill.prepare(TARGET, world)
    with pytest.raises(InjectError, match="instance a: its host cannot cut its power"):
        await kill.apply(state, world)
    assert await host.find() == state.identity


def test_what_the_stack_must_declare_is_named() -> None:
    bare = Instance(name="db", host=HostSpec(kind="process", params={}))
    params = POWER.model_dump(mode="json")
    assert KIND.lacks is not None
    assert str(KIND.lacks(params, bare)).startswith("give db a file system of its own in the stack file (`disk: 64MB`")
    for size in (0, 64_000_000):
        assert KIND.lacks(params, Instance(name="db", host=bare.host, disk_bytes=size)) is None
    assert KIND.lacks(KillParams().model_dump(mode="json"), bare) is None
    assert KIND.refusal(params, "container") == "mode: power works on: process, python"
    assert KIND.refusal(params, "pid") == "mode: power works on: process, python"
    assert KIND.refusal(params, "python") is None


def test_what_a_cut_took_is_told_file_by_file() -> None:
    canary = {".blackstart-unsynced": Seen(4096, "c")}
    same = {"a": Seen(3, "x")}
    assert forgotten(canary | same, same) == (
        "an unsynced canary was there and is gone; all that the instance had written was synced"
    )
    before = {"a": Seen(3, "x"), "b": Seen(9, "y"), "c": Seen(5, "z")}
    after = {"b": Seen(4, "w"), "c": Seen(5, "q"), "d": Seen(1, "v")}
    told = forgotten(canary | before, after).partition("own: ")[2]
    assert told == "a (3 B) is not there; b is 4 B, was 9 B; c holds what it held before; d is there again"
