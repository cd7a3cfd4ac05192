"""A series a few seconds ahead: Holt's linear trend, for samples at any gaps. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Trend"]


@dataclass(slots=True, kw_only=True)
class Trend:
    """Level and slope of a series, both smoothed exponentially over some seconds.

    Source: C. C. Holt, "Forecasting seasonals and trends by exponentially weighted moving averages" (1957), with weights for
    uneven gaps as in T. Cipra, "Exponential smoothing for irregular data" (2006).
    """

    level_s: float = 2.0
    slope_s: float = 8.0
    level: float | None = None
    slope: float = 0.0  # a second

    def observe(self, value: float, gap_s: float) -> None:
        """Take in a value, so long after the one before (over 0)."""
        if self.level is None:
            self.level = value
            return
        before = self.level
        weight = 1 - 0.5 ** (gap_s / self.level_s)
        self.level += self.slope * gap_s + weight * (value - self.level - self.slope * gap_s)
        weight = 1 - 0.5 ** (gap_s / self.slope_s)
        self.slope += weight * ((self.level - before) / gap_s - self.slope)

    def ahead(self, seconds: float) -> float:
        """What the series will be so many seconds from the last value, at least 0; 0 before any."""
        return max(0.0, (self.level or 0.0) + self.slope * seconds)
