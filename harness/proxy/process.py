"""The process behind a fault proxy of ours: whether it lives, and its end. Not here: how it is started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InjectError

__all__ = ["ServerProcess"]

_GONE_LIMIT_S = 2.0
_LOOK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A process beyond reuse of its number: pid, and start time in clock ticks since boot."""

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> ServerProcess:
        """Who has this pid now. Raises InjectError when nobody does."""
        ticks = _ticks(pid)
        if ticks is None:
            raise InjectError(f"no process {pid}")
        return cls(pid=pid, ticks=ticks)

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return _ticks(self.pid) == self.ticks

    async def kill(self) -> None:
        """SIGKILL it, and return when it is gone; legal when it is. Raises InjectError when it will not go."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        try:
            async with asyncio.timeout(_GONE_LIMIT_S):
                while self.alive():
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError as exc:
            raise InjectError(f"process {self.pid} does not end") from exc


def _ticks(pid: int) -> int | None:
    """Start time of a process, None when it is gone or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])
