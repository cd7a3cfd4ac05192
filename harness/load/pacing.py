"""Wake a loop at absolute instants, to the microsecond: timerfd where Linux has it, a thread elsewhere.

asyncio's own timers wait in whole milliseconds, rounded up: half a millisecond late on average, at any rate.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Alarm", "ThreadAlarm", "TimerfdAlarm", "open_alarm"]

_NS_PER_S = 1_000_000_000


class Alarm(Protocol):
    """Calls back in the loop at or just after an instant of CLOCK_MONOTONIC; one instant at a time."""

    def set(self, at_ns: int) -> None:
        """Ring at `at_ns` (at once when it has passed), instead of whenever was set before."""
        ...

    def close(self) -> None:
        """Never ring again."""
        ...


class TimerfdAlarm:
    """An alarm on a timerfd (absolute, monotonic) watched by the loop. Raises OSError where there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._fd, self._settime = _timerfd()
        loop.add_reader(self._fd, self._readable)

    def set(self, at_ns: int) -> None:
        """See `Alarm`."""
        self._settime(self._fd, max(1, at_ns))  # 0 would disarm it

    def close(self) -> None:
        """See `Alarm`."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # it was set anew between ring and read
            return
        self._ring()


class ThreadAlarm:
    """An alarm on a thread that sleeps, for systems without timerfd."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._at_ns: int | None = None
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._sleep, name="load-pacing", daemon=True).start()

    def set(self, at_ns: int) -> None:
        """See `Alarm`."""
        with self._changed:
            self._at_ns = at_ns
            self._changed.notify()

    def close(self) -> None:
        """See `Alarm`."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _sleep(self) -> None:
        with self._changed:
            while not self._closed:
                left_ns = None if self._at_ns is None else self._at_ns - time.monotonic_ns()
                if left_ns is None or left_ns > 0:
                    self._changed.wait(None if left_ns is None else left_ns / _NS_PER_S)
                    continue
                self._at_ns = None
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        if not self._closed:
            self._ring()


def open_alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """The most precise alarm that this system has."""
    try:
        return TimerfdAlarm(loop, ring)
    except (OSError, AttributeError, NotImplementedError):
        return ThreadAlarm(loop, ring)


class _Timespec(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_TFD_CLOEXEC, _TFD_NONBLOCK, _TFD_TIMER_ABSTIME = os.O_CLOEXEC, os.O_NONBLOCK, 1


def _timerfd() -> tuple[int, Callable[[int, int], None]]:
    """A non-blocking timerfd and how to set it; the `os` functions on 3.13 and later, libc's before."""
    if sys.version_info >= (3, 13):
        fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_CLOEXEC | os.TFD_NONBLOCK)
        return fd, lambda fd, at_ns: _discard(os.timerfd_settime_ns(fd, flags=os.TFD_TIMER_ABSTIME, initial=at_ns))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_CLOEXEC | _TFD_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create failed")
    when = _Itimerspec()

    def settime(fd: int, at_ns: int) -> None:
        when.value.s, when.value.ns = divmod(at_ns, _NS_PER_S)
        if libc.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.byref(when), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    return fd, settime


def _discard(_: object) -> None:
    return None
