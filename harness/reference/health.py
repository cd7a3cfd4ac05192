"""Pure hysteresis: telling a hiccup from an outage, from deep probes and from live traffic."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = ["DOWN", "SUSPECT", "UP", "Health", "Thresholds"]

UP, SUSPECT, DOWN = "up", "suspect", "down"
_PASSIVE_SPAN_NS = 2_000_000_000
_PASSIVE_OPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a region counts as down, and when as up again."""

    down_after_ns: int = 1_500_000_000  # without a good probe
    down_probes: int = 3  # failed in a row
    up_probes: int = 3  # good in a row


@dataclass(slots=True)
class Health:
    """The state of one region. It begins suspect (nothing is known), and is up after the first good probe."""

    thresholds: Thresholds
    born_ns: int
    state: str = SUSPECT
    good_ns: int | None = None
    _good: int = 0
    _bad: int = 0
    _live: deque[tuple[int, bool]] = field(default_factory=deque)

    def probe(self, good: bool, now_ns: int) -> bool:
        """Take in a deep probe; whether the state changed."""
        before = self.state
        if good:
            self.good_ns, self._good, self._bad = now_ns, self._good + 1, 0
            if self.state == SUSPECT or self._good >= self.thresholds.up_probes:
                self.state = UP
        else:
            self._good, self._bad = 0, self._bad + 1
            self._judge(now_ns)
        return self.state != before

    def live(self, good: bool, now_ns: int) -> bool:
        """Take in an answer, or a failure, of live traffic; whether the state changed.

        Single failures change nothing; a region that fails most of at least ten requests in 2 s is down although its
        probes are good.
        """
        self._live.append((now_ns, good))
        while self._live[0][0] < now_ns - _PASSIVE_SPAN_NS:
            self._live.popleft()
        bad = sum(not one for _, one in self._live)
        if self.state == DOWN or len(self._live) < _PASSIVE_OPS or 2 * bad <= len(self._live):
            return False
        if now_ns - self._live[0][0] < self.thresholds.down_after_ns:
            return False
        self.state, self._good = DOWN, 0
        self._live.clear()
        return True

    def _judge(self, now_ns: int) -> None:
        if self.state == UP:
            self.state = SUSPECT
        silent = now_ns - (self.born_ns if self.good_ns is None else self.good_ns)
        if self._bad >= self.thresholds.down_probes and silent >= self.thresholds.down_after_ns:
            self.state = DOWN
