"""`latency`: every chunk arrives `latency` +- `jitter` ms later, in order. Connecting is not slowed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import ClassVar

from harness.proxy.server.toxics.base import Holding, Line, Toxic

__all__ = ["Latency"]


class Latency(Holding):
    """Holds each chunk for the delay drawn for it, uniform in [latency - jitter, latency + jitter), at least 0."""

    fields: ClassVar[Mapping[str, int]] = {"latency": 0, "jitter": 0}
    # What a kernel lets be in flight at most (tcp_rmem ends at 6 MiB): a real slow path throttles at about this, too.
    capacity_bytes: ClassVar[int] = 8 * 1024 * 1024

    __slots__ = ("_arrivals", "_last_due", "_random")

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self._arrivals: deque[float] = deque()
        self._last_due = 0.0
        self._random: random.Random | None = None

    def _due(self, arrived: float) -> float:
        delay_ms: float = self.toxic.attributes["latency"]
        jitter_ms = self.toxic.attributes["jitter"]
        if jitter_ms > 0:
            if self._random is None:
                self._random = self.line.random_for(self.toxic)
            delay_ms += self._random.uniform(-jitter_ms, jitter_ms)
        self._last_due = max(self._last_due, arrived + max(0.0, delay_ms) / 1e3)
        return self._last_due

    def feed(self, data: bytes) -> None:
        arrived = self.loop.time()
        self._arrivals.append(arrived)
        self.hold(data, self._due(arrived))

    def _release(self) -> None:
        self._arrivals.popleft()
        super()._release()

    def updated(self) -> None:
        self._last_due = 0.0
        waiting = [data for _, data in self.queue]
        self.queue.clear()
        self.queue.extend((self._due(arrived), data) for arrived, data in zip(self._arrivals, waiting, strict=True))
        self.rearm()

    def dropped(self) -> None:
        self._arrivals.clear()
        super().dropped()
