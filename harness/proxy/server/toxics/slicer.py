"""`slicer`: data leaves in pieces of `average_size` +- `size_variation` bytes, `delay` us apart."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import Holding, Line, Toxic

__all__ = ["Slicer"]


class Slicer(Holding):
    """Halves each chunk until the pieces are small enough, as Toxiproxy does, and spaces them out."""

    fields: ClassVar[Mapping[str, int]] = {"average_size": 0, "size_variation": 0, "delay": 0}

    __slots__ = ("_next_at", "_random")

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self._next_at = 0.0
        self._random: random.Random | None = None

    def feed(self, data: bytes) -> None:
        now = self.loop.time()
        for start, end in self._cuts(0, len(data)):
            self._next_at = max(self._next_at, now)
            self.hold(data[start:end], self._next_at)
            self._next_at += max(0, self.toxic.attributes["delay"]) / 1e6

    def _cuts(self, start: int, end: int) -> list[tuple[int, int]]:
        average = self.toxic.attributes["average_size"]
        variation = max(0, self.toxic.attributes["size_variation"])
        if average <= 0 or end - start < 2 or end - start - average <= variation:
            return [(start, end)]
        middle = start + (end - start) // 2
        if variation > 0:
            if self._random is None:
                self._random = self.line.random_for(self.toxic)
            middle += self._random.randrange(-variation, variation)
        # A variation beyond the average may point outside the chunk; Toxiproxy crashes on that.
        middle = min(max(middle, start + 1), end - 1)
        return self._cuts(start, middle) + self._cuts(middle, end)
