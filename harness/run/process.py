"""Processes by identity: pid with start time, so that a reused number is never mistaken for the one we started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

__all__ = ["end_process", "is_alive", "start_ticks"]


def start_ticks(pid: int) -> int | None:
    """The process's start in clock ticks since boot (field 22 of /proc/PID/stat); None when there is none, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, ticks: int | None) -> bool:
    """Whether that very process still runs."""
    now = start_ticks(pid)
    return now is not None and (ticks is None or now == ticks)


async def end_process(pid: int, ticks: int | None, *, grace_s: float = 1.0) -> bool:
    """SIGTERM (and SIGCONT, a stopped process cannot end), wait `grace_s`, SIGKILL, confirm. Whether it is gone in the end."""
    for sent, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 2.0)):
        if not is_alive(pid, ticks):
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
            os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + wait_s
        while is_alive(pid, ticks) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
    return not is_alive(pid, ticks)
