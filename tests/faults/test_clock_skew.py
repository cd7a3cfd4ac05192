"""clock-skew: the wall clock of a running instance jumps and comes back, asked of the instance itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import InjectError, UnsafeError
from harness.faults import clock_skew
from harness.model.plan import PlannedFault, Target
from harness.model.ports import HostSettings
from harness.model.stack import HostSpec, Instance, Stack
from harness.registry import catalog
from harness.run.equip import equipped
from harness.stacks.client import end_stack
from harness.stacks.process import ProcessHost
from harness.stacks.wire import allocate
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeHost, FakeWorld

TARGET = Target(kind="instance", name="a", host="process")
SERVER = """
import signal, socket, sys, time
signal.alarm(60)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        one, _ = server.accept()
        one.sendall(f"{time.time()} {time.monotonic()}".encode())
        one.close()
"""

needs_library = pytest.mark.skipif(clock_skew._library() is None, reason="libfaketime is not installed")


def made(offset: str = "+1h") -> Any:
    kind = catalog().fault("clock-skew")
    return kind.load()(kind.params(offset=offset))


def planned(target: Target) -> Any:
    fault = PlannedFault(
        id="skew",
        entry="skew",
        kind="clock-skew",
        params={"offset": "+1h"},
        targets=(target,),
        at_ns=0,
        for_ns=1,
        what="",
        clients_see="",
        on_revert="",
    )
    return SimpleNamespace(faults=(fault,))


@pytest.fixture
async def clock(tmp_path: Path) -> AsyncIterator[SimpleNamespace]:
    """An instance that tells its time to whoever connects, started as a plan with the fault starts it."""
    (tmp_path / "clock.py").write_text(SERVER)
    plain = Instance(
        name="a",
        ports={"t": None},
        host=HostSpec(kind="process", params={"process": ["python3", "clock.py", "${port:t}"]}),
    )
    state_dir = tmp_path / "state"
    (state_dir / "dirs").mkdir(parents=True)
    wiring = allocate(Stack(name="s", base_dir=str(tmp_path), instances={"a": plain}), str(state_dir))
    settings = HostSettings(
        run_id="run-1", state_dir=str(state_dir), log_dir=str(tmp_path / "logs"), base_dir=str(tmp_path)
    )
    host = ProcessHost(equipped(plain, planned(TARGET), catalog(), wiring), wiring, settings)

    async def tells() -> tuple[float, float]:
        """Its wall clock's distance from ours, and its monotonic clock's, in seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", wiring.ports["a"]["t"])
        wall, monotonic = map(float, (await reader.read()).split())
        writer.close()
        return wall - time.time(), monotonic - time.monotonic()

    await host.start()
    async with asyncio.timeout(20):
        while True:
            try:
                await tells()
                break
            except (OSError, ValueError):
                await asyncio.sleep(0.02)
    yield SimpleNamespace(world=FakeWorld(hosts={"a": host}, wiring=wiring), tells=tells)
    await host.stop(0)
    await host.close()
    await end_stack(settings.state_dir, 0)


@needs_library
@pytest.mark.live
@pytest.mark.slow
@pytest.mark.cell("clock-skew", "process")
@pytest.mark.parametrize("offset", ["+1h", "-90s"])
async def test_a_clock_jumps_and_comes_back(clock: SimpleNamespace, offset: str) -> None:
    skew = made(offset)
    await check_injector(skew, TARGET, clock.world)
    state = await skew.prepare(TARGET, clock.world)
    await skew.apply(state, clock.world)
    wall, monotonic = await clock.tells()
    assert wall == pytest.approx(skew.params.offset_s, abs=5)
    assert monotonic == pytest.approx(0, abs=5)
    with pytest.raises(InjectError, match="its clock is skewed already"):
        await skew.prepare(TARGET, clock.world)
    await skew.revert(state, clock.world)
    wall, _ = await clock.tells()
    assert wall == pytest.approx(0, abs=5)


@needs_library
def test_only_what_the_fault_may_fall_on_is_started_for_it() -> None:
    plain = Instance(
        name="a", host=HostSpec(kind="process", params={"process": ["x"], "env": {"FAKETIME_NO_CACHE": "0"}})
    )
    wiring: Any = SimpleNamespace(dirs={"a": "/run/dirs/a"})
    env = equipped(plain, planned(TARGET), catalog(), wiring).host.params["env"]
    assert env["FAKETIME_TIMESTAMP_FILE"] == "/run/dirs/a.faketime"
    assert env["FAKETIME_NO_CACHE"] == "0", "the stack's own entries win"
    assert equipped(plain, planned(Target(kind="instance", name="b")), catalog(), wiring) is plain
    role = Target(kind="role", name="leader", candidates=("a", "b"))
    assert "LD_PRELOAD" in equipped(plain, planned(role), catalog(), wiring).host.params["env"]


async def test_an_instance_that_was_not_started_for_it_is_refused() -> None:
    with pytest.raises(InjectError, match="was not started with libfaketime"):
        await made().prepare(TARGET, FakeWorld(hosts={"a": FakeHost("a")}))


def test_a_machine_without_the_library_is_refused_at_plan_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_skew, "_library", lambda: None)
    with pytest.raises(UnsafeError, match="needs libfaketime, which this machine lacks; apt-get install faketime"):
        clock_skew.able(TARGET, {})
    assert clock_skew.environment("/x") == {}


@pytest.mark.parametrize("offset", ["1h", "+0.5s", "later", "+-1s"])
def test_an_offset_has_a_sign_and_a_length(offset: str) -> None:
    with pytest.raises(ValueError, match=r"expected|duration"):
        made(offset)
