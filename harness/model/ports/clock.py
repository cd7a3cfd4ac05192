"""Time, as every part of a run asks for it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """The run's one clock: CLOCK_MONOTONIC, ns since the run's origin."""

    @property
    def origin_ns(self) -> int:
        """CLOCK_MONOTONIC ns at the origin, for other processes on this machine."""
        ...

    def now_ns(self) -> int:
        """Ns since the origin."""
        ...

    async def sleep_until(self, at_ns: int) -> None:
        """Return at or just after `at_ns`; at once when it has passed."""
        ...


# ---- instances -------------------------------------------------------------------------------------------------------
