"""How long a process that should be heard of may be silent before it counts as stopped or hung. Pure: times are passed in."""

from __future__ import annotations

__all__ = ["HUNG_NS", "STOPPED_NS", "Silence", "mute"]

HUNG_NS = 8_000_000_000
"""A conductor that runs and says nothing: the reverts must be over within 10 s of the last that was heard of it."""

STOPPED_NS = 5_000_000_000
"""A conductor that a signal has stopped: no load on the machine looks like that, so that less patience is due."""

_OWN_GAP_NS = 1_000_000_000
_STOPPED_BEATS = 3
_HUNG_BEATS = 8


class Silence:
    """Measures the conductor's silence as its reaper sees it, from `begin_ns` on.

    Time in which the reaper itself did not get to look, beyond a second, is no evidence of anybody's silence: on a machine
    that is suspended or starved both stand still.
    """

    def __init__(self, begin_ns: int) -> None:
        self._looked_ns = begin_ns
        self._silent_ns = 0
        self._stopped_ns = 0

    def look(self, now_ns: int, heard: bool, stopped: bool) -> str | None:
        """Why to act, or None. `heard`: it said something since the last look; `stopped`: a signal has stopped it."""
        passed_ns = min(now_ns - self._looked_ns, _OWN_GAP_NS)
        self._looked_ns = now_ns
        self._silent_ns = 0 if heard else self._silent_ns + passed_ns
        self._stopped_ns = self._stopped_ns + passed_ns if stopped and not heard else 0
        if self._stopped_ns >= STOPPED_NS:
            return f"the conductor was stopped for {STOPPED_NS / 1e9:g} s"
        if self._silent_ns >= HUNG_NS:
            return f"the conductor was silent for {HUNG_NS / 1e9:g} s"
        return None


def mute(unanswered_count: int, stopped: bool) -> str | None:
    """What is wrong with a reaper that left so many beats, one a second, without an answer; None when it may just be slow.

    Counted in beats, not in time: while the conductor does not get to run it sends none.
    """
    if stopped and unanswered_count >= _STOPPED_BEATS:
        return "is stopped"
    if unanswered_count >= _HUNG_BEATS:
        return f"hangs: {unanswered_count} beats without an answer"
    return None
