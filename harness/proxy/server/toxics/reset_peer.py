"""`reset_peer`: RST to both ends, `timeout` ms after a new connection's first chunk, or after the toxic was added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import End, Holding, Line, Toxic

__all__ = ["ResetPeer"]


class ResetPeer(Holding):
    """Holds what arrives until the reset. Removed before that, it lets the bytes pass and the connection live."""

    fields: ClassVar[Mapping[str, int]] = {"timeout": 0}

    __slots__ = ("_since",)

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self._since: float | None = None

    def installed(self, late: bool) -> None:
        if late:
            self._begin()

    def _begin(self) -> None:
        if self._since is None:
            self._since = self.loop.time()
            self.updated()

    def updated(self) -> None:
        if self._since is not None:
            if self.timer is not None:
                self.timer.cancel()
            due = self._since + max(0, self.toxic.attributes["timeout"]) / 1e3
            self.timer = self.loop.call_at(due, self._reset)

    def feed(self, data: bytes) -> None:
        self._begin()
        self.hold(data, float("inf"))

    def feed_end(self, end: End) -> None:
        self._begin()
        self.ending = end

    def _reset(self) -> None:
        self.timer = None
        self.touch()
        self.line.abort()
