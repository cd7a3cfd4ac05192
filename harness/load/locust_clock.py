"""Where another machine's monotonic clock stands against ours: bounds that hold whatever the network does. Pure."""

from __future__ import annotations

__all__ = ["DRIFT", "ClockOffset"]

DRIFT = 0.0005
"""The most by which one clock runs faster than another: 500 parts per million, the limit of a clock that is being slewed."""


class ClockOffset:
    """Bounds of (their clock - ours), in ns, from questions with an answer.

    Asked at `asked` and heard at `heard` of our clock, an answer was given in between, at `there` of theirs: the offset lies in
    [there - heard, there - asked], whichever way of the message was the slow one. Bounds of many questions are intersected, older
    ones widened by `DRIFT`. Source: D. Mills, RFC 5905, section 8 (delay bounds the error), without its guess of symmetry.
    """

    def __init__(self) -> None:
        self._lo_ns = self._hi_ns = self._at_ns = 0
        self.known = False
        self.worst_ns = 0

    def learn(self, asked_ns: int, there_ns: int, heard_ns: int) -> None:
        """Take one question and its answer. Bounds that no clock within `DRIFT` could meet begin anew: theirs was set."""
        lo_ns, hi_ns = there_ns - heard_ns, there_ns - asked_ns
        if self.known:
            spread_ns = round(abs(heard_ns - self._at_ns) * DRIFT)
            both = max(lo_ns, self._lo_ns - spread_ns), min(hi_ns, self._hi_ns + spread_ns)
            if both[0] <= both[1]:
                lo_ns, hi_ns = both
        self._lo_ns, self._hi_ns, self._at_ns, self.known = lo_ns, hi_ns, heard_ns, True

    def ours(self, there_ns: int) -> int:
        """An instant of theirs on our clock, in the middle of its bounds; how far these reach is kept as `worst_ns`."""
        half_ns = (self._hi_ns - self._lo_ns + 1) // 2
        middle_ns = there_ns - self._lo_ns - half_ns
        half_ns += round(abs(middle_ns - self._at_ns) * DRIFT)
        self.worst_ns = max(self.worst_ns, half_ns)
        return middle_ns
