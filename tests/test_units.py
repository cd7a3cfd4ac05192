from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.units import (
    format_bytes,
    format_duration,
    format_ratio,
    parse_bytes,
    parse_duration,
    parse_rate,
    parse_ratio,
)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("30d", 2_592_000_000_000_000),
        ("0s", 0),
        ("7ns", 7),
        ("2m", 120_000_000_000),
    ],
)
def test_durations_become_exact_nanoseconds(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["15", "fifteen", "-1s", "1 sec", "", "1s2ms"])
def test_what_is_no_duration_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as '15s', got"):
        parse_duration(text)


def test_rates_ratios_and_sizes() -> None:
    assert parse_rate("90/m") == 1.5
    assert parse_ratio("99.9%") == 0.999  # exact: 999 good of 1000 meet it
    assert parse_bytes("1MiB") == 1_048_576
    assert parse_bytes("2MB/s") == 2_000_000
    for parse in (parse_rate, parse_ratio, parse_bytes):
        with pytest.raises(ValueError, match="expected a"):
            parse("60")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 s"),
        (870_000, "870 us"),
        (4_412_000_000, "4.41 s"),
        (12_340_000_000, "12.3 s"),
        (125_000_000_000, "2 m 5 s"),
        (-300_000_000, "-300 ms"),
        (2_592_000_000_000_000, "30 d"),
    ],
)
def test_durations_are_printed_with_three_digits_at_most(ns: int, text: str) -> None:
    assert format_duration(ns) == text


@given(st.floats(min_value=0, max_value=1, exclude_max=True, exclude_min=True))
def test_an_imperfect_ratio_is_never_printed_as_perfect(ratio: float) -> None:
    if ratio < 1 - 1e-9:
        assert format_ratio(ratio) != "100 %"
    if ratio > 1e-9:
        assert format_ratio(ratio) != "0 %"


def test_bytes() -> None:
    assert format_bytes(512) == "512 B"
    assert format_bytes(1_500_000) == "1.5 MB"
