"""`timeout`: nothing passes, and after `timeout` ms the connection is closed; 0 never closes. Removal closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import End, Line, Stage, Toxic

__all__ = ["Timeout"]


class Timeout(Stage):
    """Swallows bytes. The deadline counts from when the toxic met the connection, and no chunk moves it."""

    fields: ClassVar[Mapping[str, int]] = {"timeout": 0}

    __slots__ = ("_since", "_timer")

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self._since = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def installed(self, late: bool) -> None:
        self.updated()

    def updated(self) -> None:
        self._cancel()
        if self.toxic.attributes["timeout"] > 0:
            self._timer = self.loop.call_at(self._since + self.toxic.attributes["timeout"] / 1e3, self.removed)

    def feed(self, data: bytes) -> None:
        self.touch()

    def removed(self) -> None:
        # Bytes are missing from the stream by now: it must not go on, also when the toxic goes before its deadline.
        self.touch()
        self._cancel()
        self.next.feed_end(End.CLOSE)

    def dropped(self) -> None:
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
