"""`bandwidth`: at most `rate` KB/s (1000 B) pass, in pieces of at most 100 ms. A rate of 0 or less stalls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import Holding, Line, Toxic

__all__ = ["Bandwidth"]

_SLICE_S = 0.1


class Bandwidth(Holding):
    """Holds each piece until a wire of that rate would have carried it."""

    fields: ClassVar[Mapping[str, int]] = {"rate": 0}

    __slots__ = ("_free_at",)

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self._free_at = 0.0

    def feed(self, data: bytes) -> None:
        self._free_at = max(self._free_at, self.loop.time())
        for due, piece in self._pieces(data):
            self.hold(piece, due)

    def _pieces(self, data: bytes) -> list[tuple[float, bytes]]:
        bytes_per_s = self.toxic.attributes["rate"] * 1000
        if bytes_per_s <= 0:
            return [(float("inf"), data)]
        size = max(1, int(bytes_per_s * _SLICE_S))
        pieces = []
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self._free_at += len(piece) / bytes_per_s
            pieces.append((self._free_at, piece))
        return pieces

    def updated(self) -> None:
        self._free_at = self.loop.time()
        waiting = b"".join(data for _, data in self.queue)
        self.queue.clear()
        if waiting:
            self.queue.extend(self._pieces(waiting))
        self.rearm()
