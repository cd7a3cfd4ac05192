"""The chance bounds, against values computed by exact rational arithmetic and the promises of DESIGN §9."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model.chance import (
    binomial_tail,
    critical_bad,
    rule_of_three,
    smallest_outage_ns,
    upper_bound,
    window_ns,
)

SECOND = 1_000_000_000


def exact_tail(k: int, n: int, p: Fraction) -> float:
    return float(sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)))


@given(
    n=st.integers(1, 60),
    k=st.integers(0, 60),
    p=st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(999, 1000), max_denominator=1000),
)
@settings(max_examples=200)
def test_binomial_tail_agrees_with_exact_arithmetic(n: int, k: int, p: Fraction) -> None:
    expected = exact_tail(k, n, p) if k <= n else 0.0
    assert binomial_tail(k, n, float(p)) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_binomial_tail_at_its_edges() -> None:
    assert binomial_tail(0, 10, 0.5) == 1.0
    assert binomial_tail(11, 10, 0.5) == 0.0
    assert binomial_tail(3, 10, 0.0) == 0.0
    assert binomial_tail(3, 10, 1.0) == 1.0
    assert binomial_tail(10, 10, 0.5) == pytest.approx(2**-10)


def test_a_deep_tail_is_exact_and_not_one_minus_something() -> None:
    assert binomial_tail(20, 100, 0.01) == pytest.approx(exact_tail(20, 100, Fraction(1, 100)), rel=1e-9)
    assert binomial_tail(20, 100, 0.01) < 1e-17


@given(n=st.integers(1, 400), p=st.floats(0.0005, 0.4))
@settings(max_examples=100)
def test_critical_bad_is_the_smallest_that_is_not_chance(n: int, p: float) -> None:
    k = critical_bad(n, p)
    assert binomial_tail(k, n, p) < 1e-6
    assert binomial_tail(k - 1, n, p) >= 1e-6


def test_critical_bad_when_nothing_could_be_surprising() -> None:
    assert critical_bad(10, 1.0) == 11
    assert critical_bad(0, 0.5) == 1


def test_upper_bound_known_values() -> None:
    assert upper_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert upper_bound(1, 100) == pytest.approx(0.04656, abs=1e-5)  # tables of the exact one-sided bound
    assert upper_bound(10, 1000) == pytest.approx(0.01690, abs=1e-5)
    assert upper_bound(5, 5) == 1.0
    assert upper_bound(0, 0) == 1.0


@given(n=st.integers(2, 3000), data=st.data())
@settings(max_examples=60)
def test_upper_bound_leaves_five_percent_below(n: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(1, n - 1))
    p = upper_bound(bad, n)
    assert p > bad / n
    assert 1 - binomial_tail(bad + 1, n, p) == pytest.approx(0.05, abs=1e-6)


def test_rule_of_three() -> None:
    assert rule_of_three(3000) == 0.001
    assert rule_of_three(2) == 1.0
    assert rule_of_three(0) == 1.0


def test_the_window_is_the_longer_of_the_rule_and_a_hundred_arrivals() -> None:
    assert window_ns(3 * SECOND, 60.0) == 3 * SECOND
    assert window_ns(3 * SECOND, 20.0) == 5 * SECOND
    assert window_ns(3 * SECOND, None) == 3 * SECOND
    assert window_ns(3 * SECOND, 0.0) == 3 * SECOND


def test_five_seconds_of_steady_state_show_what_the_design_promises() -> None:
    at_60 = smallest_outage_ns(60.0, 3 * SECOND, 0.99, 300)
    at_200 = smallest_outage_ns(200.0, 3 * SECOND, 0.99, 1000)
    assert at_60 is not None and at_200 is not None
    assert 0.3 * SECOND < at_60 <= 0.5 * SECOND
    assert 0.1 * SECOND < at_200 <= 0.2 * SECOND


def test_no_steady_state_means_no_promise() -> None:
    assert smallest_outage_ns(60.0, 3 * SECOND, 0.99, 0) is None
    assert smallest_outage_ns(0.0, 3 * SECOND, 0.99, 300) is None


@given(rate=st.floats(35, 500), seconds=st.integers(2, 20))
@settings(max_examples=50)
def test_more_steady_state_never_hides_more(rate: float, seconds: int) -> None:
    shorter = smallest_outage_ns(rate, 3 * SECOND, 0.99, int(rate * seconds))
    longer = smallest_outage_ns(rate, 3 * SECOND, 0.99, int(rate * seconds * 2))
    assert longer is not None
    assert shorter is None or longer <= shorter
