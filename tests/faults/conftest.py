"""One real instance with a listening port, and the world around it, for faults on instances."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.model.plan import Target
from harness.model.ports import Host, HostSettings, Identity
from harness.model.stack import HostSpec, Instance, Stack
from harness.model.wiring import Wiring
from harness.stacks.client import end_stack
from harness.stacks.pid import PidHost
from harness.stacks.process import ProcessHost
from harness.stacks.procfs import all_pids, read_stat
from harness.stacks.python import PythonHost
from harness.stacks.wire import allocate
from harness.testing.fakes import FakeWorld

SERVER = """
import os, signal, socket, sys

def take(*_):
    if os.path.exists("app.conf"):
        with open("app.conf") as given, open("live.half", "w") as live:
            live.write(given.read())
        os.rename("live.half", "live")

def main(argv):
    take()
    signal.signal(signal.SIGHUP, take)
    port, mode = int(argv[0]), argv[1]
    if mode == "daemon":
        if os.fork():
            os._exit(0)
        os.setsid()
    signal.alarm(60)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.create_server(("127.0.0.1", port)) as server:
        with open("server.pid.half", "w") as file:
            file.write(f"{os.getpid()}\\n")
        os.rename("server.pid.half", "server.pid")
        if os.fork() == 0:
            os.setsid()
            server.close()
            signal.alarm(60)
            while True:
                signal.pause()
        while True:
            server.accept()[0].close()

if __name__ == "__main__":
    main(sys.argv[1:])
"""


@dataclass
class Victim:
    """The instance `a`, its host and world; `host_again` is the host as another process would rebuild it."""

    host: Host
    world: FakeWorld
    target: Target
    place: tuple[str, int]

    def reborn(self) -> FakeWorld:
        """The world as the reaper rebuilds it, from recipes alone."""
        revived = type(self.host).revive(self.host.recipe())  # type: ignore[attr-defined]
        return FakeWorld(hosts={"a": revived}, wiring=self.world.wiring)

    async def up(self) -> Identity:
        """Start it and wait until it accepts connections."""
        identity = await self.host.start()
        deadline = time.monotonic() + 20
        while not await self.accepts():
            assert time.monotonic() < deadline, "it never accepted"
            await asyncio.sleep(0.02)
        return identity

    async def accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self.place)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def vanish(self) -> None:
        """End it behind everybody's back."""
        found = await self.host.find()
        if found is not None:
            os.kill(found.pid, signal.SIGKILL)
            while await self.host.find() is not None:
                await asyncio.sleep(0.005)


MakeVictim = Callable[..., Victim]


@pytest.fixture
async def victim(tmp_path: Path) -> AsyncIterator[MakeVictim]:
    """Makes the instance on a host of the kind asked for; everything is ended afterwards."""
    (tmp_path / "server.py").write_text(SERVER)
    settings = HostSettings(
        run_id="run-1", state_dir=str(tmp_path / "state"), log_dir=str(tmp_path / "logs"), base_dir=str(tmp_path)
    )
    made: list[Victim] = []

    def make(kind: str = "python", mode: str = "plain") -> Victim:
        args = ["${port:http}", mode]
        wiring, one = _instance({"process": ["python3", "server.py", *args]}, "process", tmp_path)
        if kind == "python":
            one = Instance(
                name="a", ports={"http": None}, host=HostSpec(kind=kind, params={"python": "server:main", "args": args})
            )
        if kind == "pid":
            start = ["python3", "server.py", "${port:http}", "daemon"]
            spec = HostSpec(kind=kind, params={"pid": {"file": "server.pid"}, "start": start})
            one = Instance(name="a", ports={"http": None}, host=spec)
        host = {"process": ProcessHost, "python": PythonHost, "pid": PidHost}[kind](one, wiring, settings)
        world = FakeWorld(hosts={"a": host}, wiring=wiring)
        target = Target(kind="instance", name="a", host=kind)
        made.append(Victim(host, world, target, ("127.0.0.1", wiring.ports["a"]["http"])))
        return made[-1]

    yield make
    for one in made:
        await one.host.stop(0)
        await one.host.close()
    await end_stack(settings.state_dir, 0)
    for pid in all_pids():  # an attached daemon's orphans are nobody's but this test's: they stand in its folder
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(tmp_path):
                os.kill(pid, signal.SIGKILL)


def _instance(params: dict[str, object], kind: str, folder: Path) -> tuple[Wiring, Instance]:
    one = Instance(name="a", ports={"http": None}, host=HostSpec(kind=kind, params=params))
    return allocate(Stack(name="s", base_dir=str(folder), instances={"a": one}), str(folder)), one


def process_state(pid: int) -> str:
    """The kernel's letter for a process, "-" when it is gone."""
    stat = read_stat(pid)
    return "-" if stat is None or stat.ended else stat.state
