"""Quantities as people write them, and the integers and ratios that the code computes with."""

from __future__ import annotations

import math
import re
from decimal import Decimal

__all__ = [
    "NS_PER_S",
    "format_bounds",
    "format_bytes",
    "format_duration",
    "format_ratio",
    "parse_bytes",
    "parse_duration",
    "parse_rate",
    "parse_ratio",
]

NS_PER_S = 1_000_000_000
_DURATION_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
}
_BYTES = {"B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 10**9, "KiB": 1_024, "MiB": 1_048_576, "GiB": 2**30}
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ns|us|ms|s|m|h|d)")
_RATE = re.compile(rf"{_NUMBER}\s*/\s*(s|m|h)")
_RATIO = re.compile(rf"{_NUMBER}\s*%")
_SIZE = re.compile(rf"{_NUMBER}\s*(B|KB|MB|GB|KiB|MiB|GiB)(/s)?")


def parse_duration(text: str) -> int:
    """Nanoseconds in a duration such as "250ms", "1.5s" or "30d".

    Raises ValueError on anything else, a bare number included: a duration without its unit is a guess.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a duration such as '15s', got {text!r}")
    return round(float(match[1]) * _DURATION_NS[match[2]])


def parse_rate(text: str) -> float:
    """Events per second in a rate such as "60/s" or "90/m". Raises ValueError on anything else."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a rate such as '60/s', got {text!r}")
    return float(match[1]) * NS_PER_S / _DURATION_NS[match[2]]


def parse_ratio(text: str) -> float:
    """The ratio (may exceed 1) in a percentage such as "99.9%". Raises ValueError on anything else."""
    match = _RATIO.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a percentage such as '99.9%', got {text!r}")
    return float(Decimal(match[1]) / 100)  # 99.9 / 100 in binary is not the nearest ratio to 0.999


def parse_bytes(text: str) -> int:
    """Bytes, or bytes per second, in a size such as "64KB", "1MiB" or "1MB/s". Raises ValueError on anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a size such as '64KB', got {text!r}")
    return round(float(match[1]) * _BYTES[match[2]])


def _trimmed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_duration(ns: int) -> str:
    """A duration in its most readable unit, three significant digits or fewer: "0 s", "870 us", "4.41 s", "2 m 5 s"."""
    if ns < 0:
        return "-" + format_duration(-ns)
    if ns == 0:
        return "0 s"
    if ns < 1_000:
        return f"{ns} ns"
    if ns < 999_500:
        return f"{_trimmed(ns / 1e3, 0 if ns >= 100_000 else 1)} us"
    if ns < 999_500_000:
        return f"{_trimmed(ns / 1e6, 0 if ns >= 10_000_000 else 1)} ms"
    if ns < 120 * NS_PER_S:
        return f"{_trimmed(ns / 1e9, 2 if ns < 9_995_000_000 else 1)} s"
    seconds = round(ns / 1e9)
    if seconds < 7200:
        minutes, rest = divmod(seconds, 60)
        return f"{minutes} m {rest} s" if rest else f"{minutes} m"
    if seconds < 172_800:
        hours, rest = divmod(round(seconds / 60), 60)
        return f"{hours} h {rest} m" if rest else f"{hours} h"
    return f"{_trimmed(seconds / 86_400, 1)} d"


def format_bounds(lo_ns: int, hi_ns: int, limit_ns: int | None = None) -> tuple[str, str, str]:
    """An interval's ends and their common unit, rounded outward to what it can tell apart: ("2.28", "2.34", "s").

    Finer when coarse rounding would reach over `limit_ns`. From two minutes on each end is a text with units of its own,
    and the common unit is empty.
    """
    if hi_ns >= 120 * NS_PER_S:
        return format_duration(lo_ns), format_duration(hi_ns), ""
    unit, unit_ns = ("ms", 1_000_000) if hi_ns < NS_PER_S else ("s", NS_PER_S)
    quantum: int = min(unit_ns, 10 ** max(3, math.floor(math.log10(max((hi_ns - lo_ns) / 6, 1)))))
    while True:
        low, high = lo_ns // quantum * quantum, -(-hi_ns // quantum) * quantum
        crosses = limit_ns is not None and ((hi_ns <= limit_ns < high) or (low < limit_ns <= lo_ns))
        if not crosses or quantum <= 1_000:
            break
        quantum //= 10
    while low % (quantum * 10) == 0 and high % (quantum * 10) == 0 and quantum < unit_ns:
        quantum *= 10
    digits = max(0, round(math.log10(unit_ns / quantum)))
    return f"{low / unit_ns:.{digits}f}", f"{high / unit_ns:.{digits}f}", unit


def format_ratio(ratio: float) -> str:
    """A ratio as a percentage that never rounds an imperfect value up to 100 % nor a positive one down to 0 %."""
    percent = ratio * 100
    for digits in (2, 3, 4, 6, 9):
        shown = round(percent, digits)
        if (shown != 0 or percent == 0) and (shown != 100 or percent == 100):
            return f"{_trimmed(percent, digits)} %"
    return f"{percent:.3g} %"


def format_bytes(count: float) -> str:
    """A byte count in decimal units: "512 B", "1.5 MB"."""
    for name in ("GB", "MB", "KB"):
        if abs(count) >= _BYTES[name]:
            return f"{_trimmed(count / _BYTES[name], 1)} {name}"
    return f"{count:.0f} B"
