"""`slow_close`: the end of a direction arrives `delay` ms after it was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import End, Line, Stage, Toxic

__all__ = ["SlowClose"]


class SlowClose(Stage):
    """Passes bytes at once and holds the end."""

    fields: ClassVar[Mapping[str, int]] = {"delay": 0}

    __slots__ = ("_ended_at", "_ending", "_timer")

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self._ending: End | None = None
        self._ended_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def feed_end(self, end: End) -> None:
        self.touch()
        self._ending = end
        self._ended_at = self.loop.time()
        self.updated()

    def updated(self) -> None:
        self._cancel()
        if self._ending is not None:
            self._timer = self.loop.call_at(self._ended_at + max(0, self.toxic.attributes["delay"]) / 1e3, self.removed)

    def removed(self) -> None:
        self._cancel()
        if self._ending is not None:
            end, self._ending = self._ending, None
            self.next.feed_end(end)

    def dropped(self) -> None:
        self._cancel()
        self._ending = None

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
