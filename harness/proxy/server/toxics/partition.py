"""`partition`: that direction is no longer read. Beyond Toxiproxy, whose nearest is `timeout` 0, which swallows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import End, Holding

__all__ = ["Partition"]


class Partition(Holding):
    """Stops reading and holds what was already read. Removal resumes when younger than `hold` ms, else resets."""

    fields: ClassVar[Mapping[str, int]] = {"hold": 10_000}
    gates: ClassVar[bool] = True

    __slots__ = ()

    def installed(self, late: bool) -> None:
        self.touch()
        # Not in the name of `self`: that is how the base class blocks when too much waits.
        self.line.block(self.toxic)

    def feed(self, data: bytes) -> None:
        self.hold(data, float("inf"))

    def feed_end(self, end: End) -> None:
        # The end of a stream is news as well, and no news crosses a cut.
        self.ending = end

    def removed(self) -> None:
        age_ms = (time.monotonic_ns() - self.toxic.since_ns) / 1e6
        if age_ms >= self.toxic.attributes["hold"]:
            self.touch()
            self.line.abort()
            return
        super().removed()
        self.line.unblock(self.toxic)
