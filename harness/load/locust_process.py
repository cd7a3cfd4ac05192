"""Locust's processes: how they are started, told and ended, and the pipe over which the plug-in tells."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.errors import UnsafeError
from harness.model.experiment import LocustCrew
from harness.model.ports import LoadJob

__all__ = ["GRACE_S", "Lines", "Orders", "Program", "free_bind", "local_command", "master_command", "worker_command"]

GRACE_S = 5.0
"""How long a process that was asked to end may take."""


class Lines(asyncio.Protocol):
    """The pipe from the plug-in, cut into messages."""

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self._take, self._rest = take, b""
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()


class Orders:
    """The pipe to a master's plug-in. What no longer can be told is not."""

    def __init__(self, writer: int) -> None:
        self._writer = writer
        os.set_blocking(writer, False)

    def send(self, order: Mapping[str, str]) -> bool:
        """Tell it now, without waiting; whether it went."""
        try:
            os.write(self._writer, json.dumps(order).encode() + b"\n")  # under PIPE_BUF: whole or not at all
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Tell no more. Idempotent."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1


class Program:
    """One process of Locust, in a group of its own: a terminal's Ctrl-C is for the conductor. Raises UnsafeError."""

    def __init__(
        self, command: Sequence[str], log: IO[bytes], told: Mapping[str, str], fds: Sequence[int] = ()
    ) -> None:
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=fds,
                process_group=0,
                env=os.environ | told,
            )
        except OSError as exc:
            raise UnsafeError(f"cannot start Locust: {exc}") from exc

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def ask_to_end(self) -> None:
        """Legal when it has ended."""
        if self.code is None:
            self.process.send_signal(signal.SIGTERM)

    async def end(self) -> None:
        """It is gone when this returns: asked first, then forced."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.code is None:
                self.process.send_signal(number)
            until_s = time.monotonic() + GRACE_S
            while self.code is None and time.monotonic() < until_s:
                await asyncio.sleep(0.01)


def local_command(job: LoadJob, users: int, stop_s: int) -> list[str]:
    """Locust in one process."""
    return [*_locust(job), "--headless", *_users(job, users, stop_s)]


def master_command(job: LoadJob, users: int, stop_s: int, crew: LocustCrew) -> list[str]:
    """The master of a crew; `crew.bind` is set. It begins when everybody has joined."""
    host, _, port = str(crew.bind).rpartition(":")
    return [
        *_locust(job), "--master", "--master-bind-host", host, "--master-bind-port", port, "--headless",
        "--expect-workers", str(crew.workers + crew.remote), *_users(job, users, stop_s),
    ]  # fmt: skip


def worker_command(job: LoadJob, bind: str) -> list[str]:
    """A worker on this machine; one elsewhere says `-f -` and gets both files from the master."""
    host, _, port = bind.rpartition(":")
    here = "127.0.0.1" if host in ("0.0.0.0", "*") else host
    return [*_locust(job), "--worker", "--master-host", here, "--master-port", port]


def free_bind() -> str:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _locust(job: LoadJob) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", f"{job.profile},{Path(__file__).with_name('locust_plugin.py')}"]


def _users(job: LoadJob, users: int, stop_s: int) -> list[str]:
    return [
        "--only-summary", "--host", job.entry, "-u", str(users), "-r", str(users), "--stop-timeout", str(stop_s),
        "--exit-code-on-error", "0",
    ]  # fmt: skip
