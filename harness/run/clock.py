"""The run's clock: CLOCK_MONOTONIC from one origin, so that every process on this machine agrees."""

from __future__ import annotations

import asyncio
import time

__all__ = ["MonotonicClock"]


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
