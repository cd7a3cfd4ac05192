"""Disruptions as stretches of ops: from violating windows to the first and last bad op that chance does not explain.

A trailing window stays violating until the outage has slid out of it, so its last bad op may be a stray error long after
recovery, and the first bad op of the first one a stray error long before. Both ends are therefore trimmed by what chance
allows, and carry how far the truth may lie inside: that is what keeps a stated interval true under background errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.measure.good import Bools, Ints
from harness.measure.windows import Rule, violating
from harness.model.chance import binomial_tail, critical_bad

__all__ = ["Population", "Span", "find_spans", "run_needed"]

PLAUSIBLE = 0.05
BARELY_PLAUSIBLE = 0.001
STRETCH_OPS = 30
"""So many good ops in a row before something else we did: the disruption was over, what follows is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The valid ops of one slice, sorted by intended start, and how long a good op takes at most in calm (p99).

    `late_ns`: by how much the generator started each op late; `over_ns`: by how much a slow one exceeded its limit, 0 for
    every other op. None: none was late, none is slow.
    """

    intended_ns: Ints
    done_ns: Ints
    bad: Bools
    calm_ns: int
    late_ns: Ints | None = None
    over_ns: Ints | None = None

    def __len__(self) -> int:
        return len(self.intended_ns)

    def late(self, index: int) -> int:
        """By how much the op at `index` was started late, ns."""
        return 0 if self.late_ns is None else int(self.late_ns[index])

    def is_ours(self, index: int) -> bool:
        """Whether a slow op is slow by no more than the generator itself stood still while it was due or in flight.

        What kept the generator is told by the ops that became due meanwhile: after a freeze, the hundreds of answers that
        come at once hold up those of the ops behind them.
        """
        if self.late_ns is None or self.over_ns is None or self.over_ns[index] == 0:
            return False
        end = int(np.searchsorted(self.intended_ns, self.done_ns[index], side="right"))
        return bool(self.late_ns[index : max(end, index + 1)].max() >= self.over_ns[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One disruption, as indices into its population. All four are bad ops, first <= late_first, early_last <= last.

    It began with an op in [first, late_first] and its last bad op is in [early_last, last]; they are the same op unless a
    stray error of the background cannot be told from it. `run` good ops in a row end it; `bad` of `valid` ops inside.
    """

    first: int
    late_first: int
    early_last: int
    last: int
    run: int
    bad: int
    valid: int


def run_needed(good_ratio: float) -> int:
    """How many good ops in a row are no luck: the smallest k with good_ratio^k <= 0.05. Source: DESIGN.md §9."""
    if good_ratio <= 0.05:
        return 1
    if good_ratio >= 1:
        raise ValueError(f"a disruption has bad ops: expected a good share below 1, got {good_ratio!r}")
    return math.ceil(math.log(0.05) / math.log(good_ratio) - 1e-9)


def find_spans(population: Population, rule: Rule, cuts_ns: Iterable[int] = ()) -> tuple[Span, ...]:
    """Every disruption, in order: maximal spans of violating windows, trimmed.

    A span is split at an instant of `cuts_ns` (where we did something that answers for itself) when service had been good
    for a stretch before it.
    """
    flags, begin = violating(population.intended_ns, population.bad, rule)
    padded = np.concatenate(([False], flags, [False]))
    starts = np.flatnonzero(padded[1:] & ~padded[:-1])
    ends = np.flatnonzero(~padded[1:] & padded[:-1])  # exclusive
    stray = (rule.steady_bad + 1) / (rule.steady + 2)
    cuts = sorted(cuts_ns)
    found: list[Span] = []
    for first_window, after in zip(starts.tolist(), ends.tolist(), strict=True):
        low = max(int(begin[first_window]), found[-1].last + 1 if found else 0)
        if low > int(begin[first_window]) and not _stands_alone(
            population.bad, rule, (low, first_window, after), begin
        ):
            continue
        while low < after:
            span, low = _next_span(population, (low, after), stray, cuts)
            if span is not None:
                found.append(span)
    return tuple(found)


def _stands_alone(bad: Bools, rule: Rule, region: tuple[int, int, int], begin: Ints) -> bool:
    """Whether some window from `first` to `after` violates by its ops from `low` on, without those of an earlier disruption.

    A window that the last bad ops of an outage have nearly left violates once more through one stray error.
    """
    low, first, after = region
    sums = np.concatenate(([0], np.cumsum(bad[low:after], dtype=np.int64)))
    for end in range(max(first, low), after):
        start = max(low, int(begin[end]))
        size, bads = end + 1 - start, int(sums[end + 1 - low] - sums[start - low])
        below = bads > (1 - rule.level_ratio) * size + 1e-9
        if below and bads >= critical_bad(size, rule.bad_upper_ratio):
            return True
    return False


def _next_span(
    population: Population, region: tuple[int, int], stray: float, cuts: list[int]
) -> tuple[Span | None, int]:
    """The disruption in [low, high), cut short at the first instant that splits it, and where the rest begins."""
    low, high = region
    whole = _trimmed(population.bad, low, high, stray)
    if whole is None:
        return None, high
    for cut in cuts:
        edge = int(np.searchsorted(population.intended_ns, cut - population.calm_ns, side="left"))
        if not whole.first < edge <= whole.last:
            continue
        before = _trimmed(population.bad, low, edge, stray)
        if before is not None and edge - 1 - before.last >= max(STRETCH_OPS, before.run):
            return before, edge
    return whole, high


def _trimmed(bad: Bools, low: int, high: int, stray: float) -> Span | None:
    """The span of bad ops in [low, high) that chance does not explain, None when there is none."""
    bads = np.flatnonzero(bad[low:high]) + low
    if len(bads) == 0:
        return None
    head = _earliest_end(-bads[::-1], stray, PLAUSIBLE, 1)
    bads = bads[len(bads) - 1 - head :]
    last = _earliest_end(bads, stray, PLAUSIBLE, None)
    kept = bads[: last + 1]
    run = run_needed(_good_ratio(kept))
    early = min(last, _earliest_end(bads, stray, BARELY_PLAUSIBLE, run))
    late = len(kept) - 1 - _earliest_end(-kept[::-1], stray, BARELY_PLAUSIBLE, run)
    return Span(
        first=int(kept[0]),
        late_first=int(kept[late]),
        early_last=int(kept[min(early, last)]),
        last=int(kept[-1]),
        run=run,
        bad=len(kept),
        valid=int(kept[-1] - kept[0] + 1),
    )


def _good_ratio(bads: Ints) -> float:
    return 1.0 - len(bads) / float(bads[-1] - bads[0] + 1)


def _earliest_end(bads: Ints, stray: float, plausible: float, run: int | None) -> int:
    """Index of the earliest bad op (positions rising) after which every further one may be a stray.

    The i-th after it, d ops later, may be one when P(X >= i) >= plausible for X ~ Binomial(d, stray). At least `run`
    good ops must follow it directly (None: as many as the good share up to it demands).
    """
    newest = len(bads) - 1
    most = critical_bad(int(bads[-1] - bads[0]) + 1, stray, plausible)
    best = newest
    for index in range(newest - 1, max(-1, newest - most - 1), -1):
        gaps = bads[index + 1 :] - bads[index]
        needed = run_needed(_good_ratio(bads[: index + 1])) if run is None else run
        if gaps[0] > needed and all(
            binomial_tail(count, int(gap), stray) >= plausible for count, gap in enumerate(gaps, start=1)
        ):
            best = index
    return best
