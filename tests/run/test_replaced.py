"""B3: a target that was restarted or made anew while its fault stood. Clean or named; the new one is never acted upon wrongly."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.model.plan import Target
from harness.model.ports import HostSettings, Identity
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring
from harness.registry import catalog
from harness.run.aftermath import resolve
from harness.run.journal import Intent, Journal, JournalView, Opened
from harness.stacks.pid import PidHost
from tests.ports import free_port
from tests.run.ground import QUICK, state_of, wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]


class Victim:
    """An attached server, its journal with a pause standing, and ways to replace it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "victim.pid"
        self.port = str(free_port())
        self.path = folder / "undo.jsonl"
        self.start()
        instance = Instance(name="gw", host=HostSpec(kind="pid", params={"pid": {"file": str(self.file)}}))
        settings = HostSettings(run_id="r", state_dir=str(folder / "state"), log_dir=str(folder), base_dir=str(folder))
        self.host = PidHost(instance, Wiring(), settings)

    @property
    def pid(self) -> int:
        return int(self.file.read_text())

    def start(self) -> None:
        subprocess.run([*QUICK.split(", "), self.port, self.file], check=True, timeout=30)

    async def pause(self) -> None:
        """As a run would: journaled, then applied."""
        found = await self.host.find()
        assert isinstance(found, Identity)
        journal = Journal(self.path)
        hosts = {"gw": {"kind": "pid", "recipe": self.host.recipe()}}
        journal.append(Opened(run_id="r", pid=1, ticks=2, origin_ns=0, stack="s", wiring=Wiring(), hosts=hosts))
        state = {"instance": "gw", "pid": found.pid, "start_ticks": found.start_ticks, "ports": []}
        target = Target(kind="instance", name="gw", host="pid")
        journal.append(Intent(id="p@gw", fault="p", kind="pause", params={}, target=target, state=state, deadline_ns=0))
        journal.close()
        await self.host.freeze(found)
        assert state_of(self.file) == "T"

    def replace(self) -> int:
        """Kill it and start another under the same pid file; the new one's number."""
        old = self.pid
        os.kill(old, signal.SIGKILL)
        assert wait_until(lambda: state_of(self.file) is None, 20) is not None
        self.start()
        assert self.pid != old
        return self.pid


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    made = Victim(tmp_path)
    yield made
    os.kill(made.pid, signal.SIGKILL)


async def test_a_replaced_process_is_left_alone_and_the_end_is_clean(victim: Victim) -> None:
    await victim.pause()
    new = victim.replace()
    outcome = await resolve(victim.path, catalog(), by="recover")
    assert outcome.clean, outcome.unresolved
    assert victim.pid == new
    assert state_of(victim.file) in ("S", "R")
    assert JournalView.read(victim.path).closed


async def test_a_replaced_process_that_someone_else_stopped_is_not_continued(victim: Victim) -> None:
    await victim.pause()
    new = victim.replace()
    os.kill(new, signal.SIGSTOP)
    assert wait_until(lambda: state_of(victim.file) == "T", 20) is not None
    outcome = await resolve(victim.path, catalog(), by="recover")
    assert state_of(victim.file) == "T", "that stop is not ours to undo"
    assert outcome.clean, outcome.unresolved


async def test_one_that_ended_and_is_not_replaced_ends_clean(victim: Victim) -> None:
    await victim.pause()
    os.kill(victim.pid, signal.SIGKILL)
    assert wait_until(lambda: state_of(victim.file) is None, 20) is not None
    outcome = await asyncio.wait_for(resolve(victim.path, catalog(), by="recover"), 30)
    assert outcome.clean, outcome.unresolved
    victim.start()
