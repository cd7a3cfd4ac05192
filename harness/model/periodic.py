"""Rates that repeat: a sine, spikes. Their expected count since the load's start, and the inverse of it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from harness.model.experiment import ArrivalSpec
from harness.units import NS_PER_S

__all__ = ["Periodic", "periodic"]

_STEPS = 60  # of bisection: a double has no more to tell


class Periodic(Protocol):
    """A rate over time, never negative, mean above 0."""

    @property
    def peak_per_s(self) -> float:
        """The highest rate."""
        ...

    def count(self, at_s: float) -> float:
        """Arrivals expected in [0, at_s)."""
        ...

    def inverse(self, arrivals: float) -> float:
        """The second by which so many are expected."""
        ...


def periodic(spec: ArrivalSpec) -> Periodic | None:
    """The spec's repeating rate; None when it has none."""
    if spec.rate_per_s is None:
        return None
    if spec.sine is not None:
        return _Sine(rate=spec.rate_per_s, swing=spec.sine.swing_ratio, period_s=spec.sine.period_ns / NS_PER_S)
    if spec.spikes is not None:
        spikes = spec.spikes
        every_s = spikes.every_ns / NS_PER_S
        return _Spikes(
            rate=spec.rate_per_s, calm_s=every_s - spikes.for_ns / NS_PER_S, spike=spikes.rate_per_s, every_s=every_s
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sine:
    """rate * (1 + swing * sin(2 pi t / period))."""

    rate: float
    swing: float
    period_s: float

    @property
    def peak_per_s(self) -> float:
        return self.rate * (1 + self.swing)

    def count(self, at_s: float) -> float:
        turn = 2 * math.pi / self.period_s
        return self.rate * (at_s + self.swing / turn * (1 - math.cos(turn * at_s)))

    def inverse(self, arrivals: float) -> float:
        """By bisection: Newton's steps leave the bracket where the rate touches 0."""
        low = max(0.0, arrivals / self.rate - self.swing * self.period_s / math.pi)
        high = arrivals / self.rate
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self.count(middle) < arrivals:
                low = middle
            else:
                high = middle
            if high - low < 1e-10:
                break
        return high


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spikes:
    """`rate` for `calm_s`, then `spike` until `every_s`, and again."""

    rate: float
    calm_s: float
    spike: float
    every_s: float

    @property
    def peak_per_s(self) -> float:
        return max(self.rate, self.spike)

    def count(self, at_s: float) -> float:
        whole, rest = divmod(at_s, self.every_s)
        return whole * self._per_turn() + min(rest, self.calm_s) * self.rate + max(0.0, rest - self.calm_s) * self.spike

    def inverse(self, arrivals: float) -> float:
        whole, rest = divmod(arrivals, self._per_turn())
        calm = self.calm_s * self.rate
        inside = rest / self.rate if rest <= calm else self.calm_s + (rest - calm) / self.spike
        return whole * self.every_s + min(inside, self.every_s)

    def _per_turn(self) -> float:
        return self.calm_s * self.rate + (self.every_s - self.calm_s) * self.spike
