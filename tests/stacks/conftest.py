"""A stack of small real programs in a temporary folder; whatever a test leaves running is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.model.ports import Host, HostSettings
from harness.model.stack import HostSpec, Instance, Stack
from harness.model.wiring import Wiring
from harness.stacks.client import end_stack
from harness.stacks.process import ProcessHost
from harness.stacks.procfs import alive, read_stat
from harness.stacks.python import PythonHost
from harness.stacks.wire import allocate

PROGRAM = '''
"""serve PORT | nest FILE | stubborn | double FILE: small programs to be broken."""
import os, signal, socket, sys, time

def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")

def linger():
    signal.alarm(60)
    while True:
        time.sleep(0.05)

def serve(port, host="127.0.0.1"):
    signal.alarm(60)
    with socket.create_server((host, int(port))) as server:
        print("listening on", port, flush=True)
        while True:
            server.accept()[0].close()

def nest(path):
    """A parent, a child in a session of its own, a grandchild in yet another: as PostgreSQL's workers are."""
    for _ in range(2):
        if os.fork():
            break
        os.setsid()
    note(path)
    linger()

def double(path):
    """A parent, and a daemon that left it in the classic way and belongs to nobody any more."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        note(path)
        linger()
    os.wait()
    note(path)
    linger()

def stubborn(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(path)
    linger()

def main(argv):
    print("args", *argv, flush=True)
    globals()[argv[0]](*argv[1:])

if __name__ == "__main__":
    main(sys.argv[1:])
'''


async def until(holds: Callable[[], bool], what: str, limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {limit_s} s for {what}"
        await asyncio.sleep(0.01)


@dataclass
class Rig:
    """Makes instances and hosts that share one state directory."""

    folder: Path
    instances: dict[str, Instance] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    others: list[int] = field(default_factory=list)

    @property
    def settings(self) -> HostSettings:
        return HostSettings(
            run_id="run-1",
            state_dir=str(self.folder / "state"),
            log_dir=str(self.folder / "logs"),
            base_dir=str(self.folder),
        )

    def stack(self, **more: object) -> Stack:
        return Stack(name="rig", base_dir=str(self.folder), instances=self.instances, **more)  # type: ignore[arg-type]

    def program(self, name: str, *args: str, **more: object) -> Instance:
        """An instance of the program above as a host `process`."""
        env = more.pop("env", {})
        spec = HostSpec(kind="process", params={"process": ["python3", "program.py", *args], "env": env})
        self.instances[name] = Instance(name=name, host=spec, **more)  # type: ignore[arg-type]
        return self.instances[name]

    def function(self, name: str, *args: str, **more: object) -> Instance:
        """The same as a host `python`."""
        params = {"python": "program:main", "args": list(args), "preload": more.pop("preload", ["json"])}
        self.instances[name] = Instance(name=name, host=HostSpec(kind="python", params=params), **more)  # type: ignore[arg-type]
        return self.instances[name]

    def host(self, name: str, wiring: Wiring | None = None) -> Host:
        one = self.instances[name]
        factory = {"process": ProcessHost, "python": PythonHost}[one.host.kind]
        self.hosts[name] = factory(one, wiring or self.wiring(), self.settings)
        return self.hosts[name]

    def wiring(self) -> Wiring:
        return allocate(self.stack(), str(self.folder))

    def log(self, name: str) -> str:
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    async def noted(self, file: str, count: int) -> list[int]:
        """The process numbers that programs wrote to a file, once there are so many."""
        path = self.folder / file
        await until(lambda: path.exists() and path.read_text().count("\n") >= count, f"{count} lines in {file}")
        return [int(line) for line in path.read_text().split()]

    async def close(self) -> None:
        for host in self.hosts.values():
            await host.close()
        await end_stack(self.settings.state_dir, 1_000_000_000)
        for pid in self.others:
            stat = read_stat(pid)
            if stat is not None and alive(pid, stat.start_ticks):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    (tmp_path / "program.py").write_text(PROGRAM)
    rig = Rig(tmp_path)
    yield rig
    await rig.close()
