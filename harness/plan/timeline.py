"""When each entry happens: offsets after T0, references followed, jitter drawn, repeats unrolled."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from harness.errors import HarnessBug
from harness.model.experiment import FaultEntry, StepEntry, TimelineEntry

__all__ = ["begins", "occurrences"]


def begins(timeline: Sequence[TimelineEntry], seed: int) -> Mapping[str, tuple[int, int]]:
    """Entry id -> (begin, end) in ns after T0, jitter included; the end of what stands until heal is its begin.

    A repeated fault begins with its first and ends with its last occurrence.
    """
    entries = {entry.id: entry for entry in timeline}
    spans: dict[str, tuple[int, int]] = {}

    def span(name: str, trail: tuple[str, ...]) -> tuple[int, int]:
        if name in spans:
            return spans[name]
        if name in trail or name not in entries:
            raise HarnessBug(f"timeline reference {name!r} should have been refused")
        entry = entries[name]
        base = 0
        if entry.at.entry is not None:
            base = span(entry.at.entry, (*trail, name))[0 if entry.at.edge == "start" else 1]
        begin = base + entry.at.offset_ns + _jitter(entry, seed)
        spans[name] = (begin, begin + _lasts(entry))
        return spans[name]

    for name in entries:
        span(name, ())
    return spans


def _jitter(entry: TimelineEntry, seed: int) -> int:
    return int(random.Random(f"{seed}:jitter:{entry.id}").random() * entry.jitter_ns)


def _lasts(entry: TimelineEntry) -> int:
    if isinstance(entry, StepEntry):
        return entry.within_ns
    whole = (entry.repeat.times - 1) * entry.repeat.every_ns if entry.repeat else 0
    return whole + (entry.for_ns or 0)


def occurrences(entry: FaultEntry, begin_ns: int) -> tuple[tuple[str, int], ...]:
    """(id, at_ns) of each application of a fault: one, or as many as it repeats ("flap#1", "flap#2", ...)."""
    if entry.repeat is None:
        return ((entry.id, begin_ns),)
    return tuple((f"{entry.id}#{n + 1}", begin_ns + n * entry.repeat.every_ns) for n in range(entry.repeat.times))
