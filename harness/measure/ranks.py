"""Two small samples compared: exact ranks, the size of a shift, and what so few runs can say at all. Pure, floats in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from statistics import median

__all__ = ["deviation", "median_coverage", "ratio", "shift", "worse_p"]


def worse_p(old: Sequence[float], new: Sequence[float]) -> float:
    """The exact one-sided p that `new` is larger than `old` by luck alone; 1.0 when either is empty.

    The permutation distribution of the rank sum, every split of the pooled values counted, ties as mid-ranks. Two samples of
    20 are within reach: splits are counted by their rank sum, not listed.
    Source: H. B. Mann, D. R. Whitney, "On a test of whether one of two random variables is stochastically larger than the
    other", Ann. Math. Statist. 18 (1947); ties as in E. L. Lehmann, "Nonparametrics" (1975), section 1.4.
    """
    if not old or not new:
        return 1.0
    ranks = _doubled_ranks([*old, *new])
    seen = sum(ranks[len(old) :])
    # ways[k][s]: how many sets of k pooled values have the doubled rank sum s.
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in new)]
    for rank in ranks:
        for size in range(len(new), 0, -1):
            for total, count in ways[size - 1].items():
                ways[size][total + rank] = ways[size].get(total + rank, 0) + count
    at_least = sum(count for total, count in ways[-1].items() if total >= seen)
    return at_least / math.comb(len(ranks), len(new))


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the mid-rank of each value, whole numbers, in the values' order."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered, start=1)))}
    last = {value: place for place, value in enumerate(ordered, start=1)}
    return [first[value] + last[value] for value in values]


def ratio(old: Sequence[float], new: Sequence[float]) -> float | None:
    """How many times `old` is `new`: the median of all quotients (Hodges-Lehmann on a log scale). Values of at least 0.

    Infinite where most old values are 0 and most new ones are not; 1.0 where both are 0. None when either is empty.
    Source: J. L. Hodges, E. L. Lehmann, "Estimates of location based on rank tests", Ann. Math. Statist. 34 (1963).
    """
    if not old or not new:
        return None
    return median(
        (1.0 if after == 0 else math.inf) if before == 0 else after / before for before, after in product(old, new)
    )


def shift(old: Sequence[float], new: Sequence[float]) -> float | None:
    """By how much `new` lies above `old`: the median of all differences (Hodges-Lehmann). None when either is empty."""
    if not old or not new:
        return None
    return median(after - before for before, after in product(old, new))


def deviation(values: Sequence[float]) -> float:
    """The median absolute deviation, scaled to be a standard deviation for normal values; 0.0 for no values.

    Source: P. J. Rousseeuw, C. Croux, "Alternatives to the median absolute deviation", JASA 88 (1993): factor 1.4826.
    """
    if not values:
        return 0.0
    middle = median(values)
    return 1.4826 * median(abs(value - middle) for value in values)


def median_coverage(count: int) -> float:
    """How surely [smallest, largest] of `count` values holds the true median: 1 - 2^(1 - n). 0.0 for none or one.

    Source: H. A. David, H. N. Nagaraja, "Order Statistics" (2003), section 7.1.
    """
    return 1 - 2.0 ** (1 - count) if count > 1 else 0.0
