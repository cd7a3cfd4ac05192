"""Numbers claim no more digits than their interval allows, and stay on their side of a limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.measured import Interval
from harness.report.numbers import (
    at_text,
    bounds_text,
    count_share,
    like_text,
    limit_ns,
    number,
    percent,
    point_ns,
    point_text,
    when,
)

MS = 1_000_000
S = 1_000 * MS


def span(lo_ms: float, hi_ms: float | None) -> Interval:
    return Interval(lo_ns=round(lo_ms * MS), hi_ns=None if hi_ms is None else round(hi_ms * MS))


@pytest.mark.parametrize(
    ("lo_ms", "hi_ms", "point", "bounds"),
    [
        (2280, 2340, "2.3 s", "2.28 to 2.34 s"),
        (4213, 4497, "4.4 s", "4.21 to 4.50 s"),
        (2020, 2080, "2.05 s", "2.02 to 2.08 s"),  # 2.0 and 2.1 lie outside: the second digit is earned
        (41_000, 41_900, "41 s", "41.0 to 41.9 s"),
        (310, 340, "330 ms", "310 to 340 ms"),
        (900, 4500, "3 s", "0.9 to 4.5 s"),
        (0, 0, "0 s", ""),
        (125_000, 125_000, "2 m 5 s", ""),
        (125_000, 131_000, "2 m 8 s", "2 m 5 s to 2 m 11 s"),
        (12_000, None, "> 12 s", "at least 12 s"),
    ],
)
def test_an_interval_is_written_with_the_digits_it_allows(lo_ms: float, hi_ms: float, point: str, bounds: str) -> None:
    assert point_text(span(lo_ms, hi_ms)) == point
    assert bounds_text(span(lo_ms, hi_ms)) == bounds


def test_bounds_are_refined_until_they_do_not_reach_over_the_limit() -> None:
    assert bounds_text(span(4213, 4497), limit=4500 * MS) == "4.21 to 4.50 s"
    assert bounds_text(span(4213, 4497), limit=4498 * MS) == "4.213 to 4.497 s"
    assert bounds_text(span(4213, 4497), limit=4212 * MS) == "4.213 to 4.497 s"


@given(lo=st.integers(0, 200 * S), width=st.integers(0, 60 * S))
def test_the_one_number_lies_inside_its_interval(lo: int, width: int) -> None:
    assert lo <= point_ns(Interval(lo_ns=lo, hi_ns=lo + width)) <= lo + width


def test_parts_have_no_more_digits_than_the_whole() -> None:
    assert like_text(1_313 * MS, span(4213, 4497)) == "1.3 s"
    assert like_text(1_313 * MS, span(2020, 2080)) == "1.31 s"
    assert like_text(20 * MS, span(4213, 4497)) == "under 0.1 s"


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0, "0 %"),
        (0.0016, "0.16 %"),
        (0.048, "4.8 %"),
        (0.52, "52 %"),
        (1, "100 %"),
        (0.9996, "99.96 %"),
        (12.5, "1,250 %"),
    ],
)
def test_shares(ratio: float, words: str) -> None:
    assert percent(ratio) == words


def test_small_and_absent_numbers() -> None:
    assert count_share(231, 4809) == "of 4,809 (4.8 %)"
    assert count_share(0, 0) == "of 0"
    assert number(None) == "–"
    assert number(1234.0) == "1,234"
    assert number(0.4212) == "0.4212"
    assert at_text(4_400 * MS) == "T+4.4 s"
    assert at_text(-2_000 * MS) == "T-2.0 s"
    assert at_text(-10 * MS) == "T+0.0 s"
    assert when("2026-11-23T10:00:02Z") == "23 Nov 2026, 10:00 UTC"
    assert when("soon") == "soon"


@pytest.mark.parametrize(
    ("text", "ns"), [("<= 5 s", 5 * S), ("recovery_time <= 250ms", 250 * MS), ("<= 0.5 %", None), ("", None)]
)
def test_a_limit_is_read_back_from_its_words(text: str, ns: int | None) -> None:
    assert limit_ns(text) == ns
