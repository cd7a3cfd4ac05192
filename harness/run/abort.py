"""Why a run is cut short, and who may say so: a rule, a person (signal or `halt`), the reaper's death."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Literal

__all__ = ["AbortTripped", "Interrupts"]

By = Literal["rule", "signal", "halt", "reaper", "error"]


@dataclass(frozen=True)
class AbortTripped(Exception):
    """Raised inside the run's group; the conductor catches it, heals, and keeps the reason."""

    by: By
    reason: str


class Interrupts:
    """Counts what people send. First: stop and put back. Second: skip every wait but the reverts'. Third: leave at once.

    The third exits with 7 and leaves the rest to the reaper, which sees our pipe close.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.by: By = "signal"
        self.reason = ""
        self._count = 0

    def interrupt(self, reason: str, by: By = "signal") -> None:
        self._count += 1
        if self._count == 1:
            self.by, self.reason = by, reason
            self.first.set()
        elif self._count == 2:
            self.second.set()
        else:
            os._exit(7)

    async def tripped(self) -> None:
        """Wait for the first interrupt and raise it."""
        await self.first.wait()
        raise AbortTripped(self.by, self.reason)
