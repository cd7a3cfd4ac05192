"""When service is worse than chance allows: trailing windows of one length, and the spans of ops that they condemn.

A window violates when its good share is below the rule's level *and* so many bad ops could not be chance, given the upper
bound of the steady state's bad share. Source: DESIGN 9, Disruption.

A violating window also holds calm ops: those from before an outage began, and stray background errors from after it
ended. A span is therefore trimmed to its densest run of bad ops, and goes on only where what follows the trimmed span
violates *by itself*: so a slow tail of errors still counts, and a stray error 2 s later does not stretch an outage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.measure.good import Service
from harness.model import chance

__all__ = ["Rule", "Span", "spans", "violating"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_WEIGHT = 0.15
"""A bad op weighs 1 - w, a good one -w: runs denser in bad ops than w grow, thinner ones end the span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`level_ratio`: the good share that must be reached; `base_ratio`: the upper bound of what is bad in calm."""

    window_ns: int
    level_ratio: float
    base_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Indices into a `Service` of the first and the last bad op of a disruption, both included."""

    first: int
    last: int


@lru_cache(maxsize=65536)
def _critical(count: int, base_ratio: float) -> int:
    return chance.critical_bad(count, base_ratio)


def violating(service: Service, rule: Rule, start: int = 0) -> Bools:
    """For each op from `start` on: whether the trailing window that ends with it violates. Ops before `start` do not exist.

    Windows are half-open, (t - window, t] over intended starts.
    """
    times = service.intended_ns[start:]
    if not len(times):
        return np.zeros(0, dtype=np.bool_)
    bad = np.concatenate(([0], np.cumsum(~service.good[start:])))
    ends = np.arange(1, len(times) + 1)
    begins = np.searchsorted(times, times - rule.window_ns, side="right")
    count = ends - begins
    bad_count = bad[ends] - bad[begins]
    sizes, where = np.unique(count, return_inverse=True)
    critical = np.array([_critical(int(size), rule.base_ratio) for size in sizes])[where]
    below = (count - bad_count) < rule.level_ratio * count
    return np.asarray(below & (bad_count >= critical), dtype=np.bool_)


def spans(service: Service, rule: Rule) -> tuple[Span, ...]:
    """Every disruption, in order, as its first and last bad op. Two less than a window apart are one: service flapped."""
    found: list[Span] = []
    start = 0
    while start < len(service):
        hits = np.flatnonzero(violating(service, rule, start))
        if not len(hits):
            break
        span = _trimmed(service, rule, start, start + int(hits[0]))
        gap_ns = service.intended_ns[span.first] - service.intended_ns[found[-1].last] if found else rule.window_ns + 1
        if gap_ns <= rule.window_ns:
            found[-1] = Span(first=found[-1].first, last=span.last)
        else:
            found.append(span)
        start = span.last + 1
    return tuple(found)


def _trimmed(service: Service, rule: Rule, start: int, hit: int) -> Span:
    """The densest run of bad ops around the first violating window, which ends at `hit`."""
    begin = max(
        start, int(np.searchsorted(service.intended_ns, service.intended_ns[hit] - rule.window_ns, side="right"))
    )
    score = np.where(service.good, -_WEIGHT, 1 - _WEIGHT)
    back = np.cumsum(score[begin : hit + 1][::-1])[::-1]
    first = begin + int(np.argmax(back))
    ahead = np.cumsum(score[first:])
    peak = np.maximum.accumulate(ahead)
    calm_ops = max(1, int(np.searchsorted(service.intended_ns, service.intended_ns[hit] + rule.window_ns)) - hit)
    fallen = np.flatnonzero(peak - ahead >= _WEIGHT * calm_ops)
    horizon = int(fallen[0]) if len(fallen) else len(ahead)
    return Span(first=first, last=first + int(np.argmax(ahead[:horizon])))
