"""Exact ranks against published values and against counting every split."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.ranks import deviation, median_coverage, ratio, shift, worse_p

small = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("old", "new", "p"),
    [
        ((1, 2, 3), (4, 5, 6), 1 / 20),  # 3 against 3: the least there can be, one-sided 0.05
        ((1, 2, 3, 4, 5), (6, 7, 8), 1 / 56),
        ((1, 2, 3, 4), (5, 6, 7, 8), 1 / 70),  # two-sided 0.029
        ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), 1 / 252),  # two-sided 0.008
        ((1, 2, 3, 4, 8), (5, 6, 7), 7 / 56),  # U = 12 of 15: 1+1+2+3 splits of 3 or less the other way
        ((6, 7, 8), (1, 2, 3, 4, 5), 1.0),
        ((5, 5, 5), (5, 5), 1.0),  # all tied: every split is as large
        ((1, 1, 2), (2, 3), 0.2),  # by hand: mid-ranks 1.5 1.5 3.5 | 3.5 5; rank sums >= 8.5 are 2 of 10
        ((), (1,), 1.0),
        ((1,), (), 1.0),
    ],
)
def test_published_and_hand_counted_values(old: tuple[float, ...], new: tuple[float, ...], p: float) -> None:
    assert worse_p(old, new) == pytest.approx(p)


def test_the_critical_value_of_five_against_five() -> None:
    # Mann and Whitney's table: U <= 4 for n = m = 5 has p = 12/252 = 0.048, U <= 5 has 19/252 = 0.075.
    assert worse_p((1, 2, 3, 6, 8), (4, 5, 7, 9, 10)) == pytest.approx(19 / 252)
    assert worse_p((1, 2, 3, 5, 8), (4, 6, 7, 9, 10)) == pytest.approx(12 / 252)


@given(small, small)
def test_as_many_splits_as_listing_them_gives(old: list[float], new: list[float]) -> None:
    pooled = [*old, *new]
    ranks = [sum(other < value for other in pooled) + (pooled.count(value) + 1) / 2 for value in pooled]
    seen = sum(ranks[len(old) :])
    sums = [sum(ranks[place] for place in chosen) for chosen in combinations(range(len(pooled)), len(new))]
    assert worse_p(old, new) == pytest.approx(sum(total >= seen for total in sums) / len(sums))


def test_twenty_against_twenty_is_within_reach() -> None:
    assert worse_p(range(20), range(20, 40)) == pytest.approx(1 / math.comb(40, 20))


def test_the_size_of_a_shift() -> None:
    assert shift((1, 2, 3), (3, 4, 5)) == 2
    assert ratio((1, 2, 4), (2, 4, 8)) == 2
    assert ratio((0, 0, 0), (0, 0)) == 1.0
    assert ratio((0, 0, 0), (0.5, 0.5)) == math.inf
    assert ratio((), (1,)) is None
    assert shift((1,), ()) is None


def test_spread_of_few_values() -> None:
    assert deviation((1, 2, 3, 4, 100)) == pytest.approx(1.4826)
    assert deviation(()) == 0.0
    assert [median_coverage(n) for n in (0, 1, 5, 6, 7)] == [0.0, 0.0, 0.9375, 0.96875, 0.984375]
