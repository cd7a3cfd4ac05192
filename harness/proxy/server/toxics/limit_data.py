"""`limit_data`: after `bytes` bytes the connection is closed. The count is per connection and outlives edits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import End, Line, Stage, Toxic

__all__ = ["LimitData"]


class LimitData(Stage):
    """Passes the first bytes and closes. With 0 it closes at the first chunk."""

    fields: ClassVar[Mapping[str, int]] = {"bytes": 0}

    __slots__ = ("_closed", "_passed_bytes")

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self._passed_bytes = 0
        self._closed = False

    def feed(self, data: bytes) -> None:
        if self._closed:
            return
        allowed = data[: max(0, self.toxic.attributes["bytes"] - self._passed_bytes)]
        if allowed:
            self._passed_bytes += len(allowed)
            self.next.feed(allowed)
        if self._passed_bytes >= self.toxic.attributes["bytes"]:
            self.touch()
            self._closed = True
            self.next.feed_end(End.CLOSE)

    def feed_end(self, end: End) -> None:
        if not self._closed:
            self.next.feed_end(end)
