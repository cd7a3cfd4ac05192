"""The run's clock: CLOCK_MONOTONIC from one origin, so that every process on this machine agrees; and a look at the wall's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from harness.units import format_duration

__all__ = ["MonotonicClock", "WallWatch"]

STEP_NS = 1_000_000_000


class MonotonicClock:
    """Ns since `origin_ns`, which is a CLOCK_MONOTONIC instant (now, unless given)."""

    def __init__(self, origin_ns: int | None = None) -> None:
        self._origin_ns = time.monotonic_ns() if origin_ns is None else origin_ns

    @property
    def origin_ns(self) -> int:
        return self._origin_ns

    def now_ns(self) -> int:
        return time.monotonic_ns() - self._origin_ns

    async def sleep_until(self, at_ns: int) -> None:
        while (left_ns := at_ns - self.now_ns()) > 0:
            await asyncio.sleep(left_ns / 1e9)


class WallWatch:
    """How far the wall clock was stepped against the run's own since this was made. No duration rests on it; log lines do."""

    def __init__(self, clock: MonotonicClock, wall_ns: Callable[[], int] | None = None) -> None:
        self._clock = clock
        self._wall_ns = wall_ns or (lambda: time.time_ns())
        self._offset_ns = self._apart_ns()

    def _apart_ns(self) -> int:
        return self._wall_ns() - self._clock.now_ns()

    def stepped(self) -> str:
        """What to tell about it; empty when it kept within a second (slewing by NTP takes half an hour for that)."""
        step_ns = round(self._apart_ns() - self._offset_ns, -8)  # two clocks cannot be read at one instant
        if abs(step_ns) < STEP_NS:
            return ""
        way = "forward" if step_ns > 0 else "back"
        return (
            f"the wall clock was stepped {way} by {format_duration(abs(step_ns))} during the run: durations do not rest on it,"
            " times of day in logs do"
        )
