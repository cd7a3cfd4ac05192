"""Numbers in words that claim no more than was measured. Seconds and percent exist only here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from harness.model.measured import Interval
from harness.units import NS_PER_S, format_bounds, format_duration, format_ratio

__all__ = [
    "at_text",
    "bounds_text",
    "count_share",
    "like_text",
    "limit_ns",
    "limit_words",
    "number",
    "percent",
    "point_ns",
    "point_text",
    "ratio_text",
    "when",
]

_MS = 1_000_000
_LIMIT = re.compile(r"[<>=]\s*(\d+(?:\.\d+)?)\s*(ns|us|ms|s|m|h|d)\b")
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": _MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86400 * NS_PER_S,
}


def _quanta(hi_ns: int) -> tuple[int, str, int]:
    """Coarsest step, unit and ns per unit for numbers up to `hi_ns`."""
    if hi_ns < NS_PER_S:
        return 100 * _MS, "ms", _MS
    return NS_PER_S, "s", NS_PER_S


def _decimals(quantum_ns: int, unit_ns: int) -> int:
    return max(0, round(math.log10(unit_ns / quantum_ns)))


def point_ns(interval: Interval) -> int:
    """The number that stands for an interval: the roundest one inside it, nearest its middle. Its lower bound when open.

    Being inside, it is on the same side of a limit as the whole interval; being round, it claims no digit too many.
    """
    if interval.hi_ns is None:
        return interval.lo_ns
    middle = (interval.lo_ns + interval.hi_ns) // 2
    quantum, _, _ = _quanta(interval.hi_ns)
    while quantum >= 1_000:
        rounded = (middle + quantum // 2) // quantum * quantum
        if interval.lo_ns <= rounded <= interval.hi_ns:
            return rounded
        quantum //= 10
    return middle


def _in_unit(ns: int, quantum_ns: int, unit: str, unit_ns: int) -> str:
    return f"{ns / unit_ns:.{_decimals(quantum_ns, unit_ns)}f} {unit}"


def point_text(interval: Interval) -> str:
    """The interval's one number: "2.3 s" for 2.28 to 2.34 s; "> 12 s" when it has no upper bound; "0 s" for zero."""
    ns = point_ns(interval)
    if interval.hi_ns is None:
        return f"> {format_duration(ns)}"
    if ns == 0:
        return "0 s"
    if interval.hi_ns >= 120 * NS_PER_S:
        return format_duration(ns)
    quantum, unit, unit_ns = _quanta(interval.hi_ns)
    while ns % quantum and quantum > 1_000:
        quantum //= 10
    if interval.hi_ns == interval.lo_ns or quantum <= 1_000:
        return format_duration(ns)
    return _in_unit(ns, quantum, unit, unit_ns)


def like_text(ns: int, interval: Interval) -> str:
    """A part of the interval's span with no more digits than the interval's own number has."""
    if interval.hi_ns is None or interval.hi_ns >= 120 * NS_PER_S or interval.hi_ns == interval.lo_ns:
        return format_duration(ns)
    quantum, unit, unit_ns = _quanta(interval.hi_ns)
    point = point_ns(interval)
    while point % quantum and quantum > 1_000:
        quantum //= 10
    rounded = (ns + quantum // 2) // quantum * quantum
    return (
        _in_unit(rounded, quantum, unit, unit_ns)
        if rounded or not ns
        else f"under {_in_unit(quantum, quantum, unit, unit_ns)}"
    )


def bounds_text(interval: Interval, limit: int | None = None) -> str:
    """The interval in words, rounded outward: "2.28 to 2.34 s". Finer when coarse rounding would reach over `limit`.

    Empty for a single point; "at least 12 s" without an upper bound.
    """
    lo, hi = interval.lo_ns, interval.hi_ns
    if hi is None:
        return f"at least {format_duration(lo)}"
    if lo == hi:
        return ""
    low, high, unit = format_bounds(lo, hi, limit)
    return f"{low} to {high} {unit}".rstrip()


def at_text(ns: int, decimals: int = 1) -> str:
    """A moment on the page's time axis: "T+4.4 s", "T-2.0 s", "T+12 m 5 s"."""
    sign = "-" if ns < 0 and round(abs(ns) / NS_PER_S, decimals) else "+"
    if abs(ns) >= 600 * NS_PER_S:
        return f"T{sign}{format_duration(round(abs(ns) / NS_PER_S) * NS_PER_S)}"
    return f"T{sign}{abs(ns) / NS_PER_S:.{decimals}f} s"


def ratio_text(ratio: float | None) -> str:
    """A ratio as a percentage, "–" when absent."""
    return "–" if ratio is None else format_ratio(ratio)


def percent(ratio: float) -> str:
    """A share of a whole for prose, two significant digits at most: "4.8 %", "0.16 %", "52 %"; never 0 for something."""
    value = ratio * 100
    if value == 0:
        return "0 %"
    if abs(value) >= 10:
        whole = f"{value:.0f}"
        return f"{format_ratio(ratio)}" if whole == "100" and value != 100 else f"{int(whole):,} %"
    digits = 1 - math.floor(math.log10(abs(value)))
    text = f"{value:.{min(digits, 6)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %" if float(text) else format_ratio(ratio)


def count_share(part: int, whole: int) -> str:
    """ "of 4,812 (4.8 %)"; without a share when the whole is 0."""
    return f"of {whole:,} ({percent(part / whole)})" if whole else "of 0"


def number(value: float | None) -> str:
    """A plain number, at most four significant digits, thousands grouped; "–" when absent."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def limit_ns(text: str) -> int | None:
    """The duration that a predicate such as "recovery_time <= 5s" states; None when it states none."""
    match = _LIMIT.search(text)
    return None if match is None else round(float(match[1]) * _UNIT_NS[match[2]])


def limit_words(text: str) -> str:
    """A limit as people write it, on one line: "<= 5 s" is "≤ 5 s"."""
    return text.replace("<=", "≤").replace(">=", "≥").replace(" ", "\u00a0")


def when(utc: str) -> str:
    """An ISO 8601 instant as people write it: "23 Nov 2026, 10:00 UTC". Anything else comes back as it is."""
    months: Sequence[str] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    match = re.match(r"(\d{4})-?(\d\d)-?(\d\d)[T ](\d\d):?(\d\d)", utc)
    if match is None or not 1 <= int(match[2]) <= 12:
        return utc
    return f"{int(match[3])} {months[int(match[2]) - 1]} {match[1]}, {match[4]}:{match[5]} UTC"
