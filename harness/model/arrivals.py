"""When ops are due: absolute instants as a pure function of the arrival spec and the seed. No clock is read here."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import accumulate, chain, count
from typing import TypeVar

from harness.model.experiment import ArrivalSpec, Sine, Spikes, Stage
from harness.model.fields import JsonObject
from harness.model.periodic import Periodic, periodic
from harness.units import NS_PER_S

__all__ = [
    "GAMMA_SHAPE",
    "arrival_from_json",
    "arrival_json",
    "arrivals",
    "expected_count",
    "peak_rate_per_s",
    "stripe",
    "surge_arrivals",
]

T = TypeVar("T")

GAMMA_SHAPE = 0.25
"""Shape of the `gamma` gaps. Their coefficient of variation is 1 / sqrt(shape) = 2: bursts, at the same mean rate."""

_NEVER_PER_S = 1e-9  # a last rate this low (one op in thirty years) is 0: the load ends


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """A stretch of linear rate from `begin_s` on. `before` is the expected number of arrivals up to its begin."""

    begin_s: float
    length_s: float
    rate_from: float
    rate_to: float
    before: float

    def count(self, since_s: float) -> float:
        """Arrivals expected in its first `since_s` seconds."""
        if math.isinf(self.length_s):
            return self.rate_from * since_s
        return self.rate_from * since_s + (self.rate_to - self.rate_from) * since_s * since_s / (2 * self.length_s)

    def inverse(self, arrivals_in: float) -> float:
        """Seconds into the segment at which `arrivals_in` are expected: the stable root of the quadratic."""
        slope = 0.0 if math.isinf(self.length_s) else (self.rate_to - self.rate_from) / self.length_s
        under_root = max(0.0, self.rate_from * self.rate_from + 2 * slope * arrivals_in)
        denominator = self.rate_from + math.sqrt(under_root)
        return min(2 * arrivals_in / denominator if denominator > 0 else 0.0, self.length_s)


def arrivals(spec: ArrivalSpec, seed: int, start_ns: int = 0, *, trace_s: Sequence[float] = ()) -> Iterator[int]:
    """Instants at which ops are due, in ns on the clock of `start_ns`, never decreasing.

    A pure function of its arguments: every worker computes the whole list and takes its stripe. Infinite for a rate;
    for stages too (after the last its rate goes on) unless they end at rate 0; finite for a trace, whose seconds are
    `trace_s`, counted from `start_ns` in any order. `even` arrivals come at 0, 1/rate, 2/rate, ...; `poisson` gaps are
    exponential; `gamma` gaps have shape `GAMMA_SHAPE`. Under stages, a sine or spikes the same gaps are warped onto the changing
    rate (time change of a unit-rate process). Raises ValueError for a closed loop (`users`), whose ops are never due.

    Source: Cinlar, Introduction to Stochastic Processes, 1975, ch. 4.7 (inversion of the expectation function).
    """
    _refuse_closed(spec)
    if spec.trace is not None:
        return (start_ns + round(second * NS_PER_S) for second in sorted(trace_s))
    points = _unit_points(spec.shape, random.Random(f"{seed}:arrivals"))
    wave = periodic(spec)
    if wave is not None:
        return _repeating(wave, points, start_ns)
    return _warped(_segments(spec), points, start_ns)


def surge_arrivals(spec: ArrivalSpec, factor: float, seed: int, start_ns: int) -> Iterator[int]:
    """The arrivals beyond `arrivals` that make the planned rate `factor` times what it is, over the whole load.

    The arrivals planned without a surge stay where they are. A pure function of its arguments: a surge takes the part of
    them that falls into its time. Raises ValueError for a trace or a closed loop, whose rate cannot be multiplied, and for a
    factor of 1 or less.
    """
    _refuse_closed(spec)
    if spec.trace is not None or factor <= 1:
        raise ValueError("a surge needs a planned rate and a factor above 1")
    more = factor - 1
    extra = replace(
        spec,
        rate_per_s=None if spec.rate_per_s is None else spec.rate_per_s * more,
        stages=tuple(replace(stage, rate_per_s=stage.rate_per_s * more) for stage in spec.stages),
        spikes=None if spec.spikes is None else replace(spec.spikes, rate_per_s=spec.spikes.rate_per_s * more),
    )
    own = int.from_bytes(blake2b(f"{seed}:surge:{factor!r}".encode(), digest_size=8).digest(), "big")
    return arrivals(extra, own, start_ns)


def expected_count(spec: ArrivalSpec, from_ns: int, to_ns: int, *, trace_s: Sequence[float] = ()) -> float:
    """How many ops are due in [from_ns, to_ns), both in ns since the load's start; 0.0 for an empty or past span.

    The mean for random shapes, exact for a trace. Raises ValueError for a closed loop.
    """
    _refuse_closed(spec)
    low, high = max(0, from_ns), max(0, to_ns)
    if high <= low:
        return 0.0
    if spec.trace is not None:
        instants = sorted(round(second * NS_PER_S) for second in trace_s)
        return float(bisect_left(instants, high) - bisect_left(instants, low))
    wave = periodic(spec)
    if wave is not None:
        return wave.count(high / NS_PER_S) - wave.count(low / NS_PER_S)
    segments = _segments(spec)
    return _count_until(segments, high / NS_PER_S) - _count_until(segments, low / NS_PER_S)


def peak_rate_per_s(spec: ArrivalSpec, over_ns: int = NS_PER_S, *, trace_s: Sequence[float] = ()) -> float:
    """The highest planned rate in 1/s; for a trace the most arrivals in any `over_ns`, as a rate; 0.0 for an empty one."""
    _refuse_closed(spec)
    wave = periodic(spec)
    if wave is not None:
        return wave.peak_per_s
    if spec.trace is None:
        return max(max(segment.rate_from, segment.rate_to) for segment in _segments(spec))
    seconds, most, first = sorted(trace_s), 0, 0
    for last, second in enumerate(seconds):
        while second - seconds[first] > over_ns / NS_PER_S:
            first += 1
        most = max(most, last - first + 1)
    return most * NS_PER_S / over_ns


def stripe(arriving: Iterator[T], worker: int, workers: int) -> Iterator[tuple[int, T]]:
    """(number, arrival) of the arrivals that are `worker`'s: those whose number modulo `workers` is its own."""
    return ((number, arrival) for number, arrival in enumerate(arriving) if number % workers == worker)


def arrival_json(spec: ArrivalSpec) -> JsonObject:
    """The spec as JSON, as `LoadJob.arrival` carries it."""
    made = asdict(spec) | {"stages": [asdict(stage) for stage in spec.stages]}
    return {key: value for key, value in made.items() if value is not None or key not in ("sine", "spikes")}


def arrival_from_json(value: JsonObject) -> ArrivalSpec:
    """The spec that `arrival_json` wrote. Raises ValueError unless exactly one of rate, stages, trace, users is given."""
    sine, spikes = value.get("sine"), value.get("spikes")
    stages = tuple(Stage(rate_per_s=stage["rate_per_s"], for_ns=stage["for_ns"]) for stage in value.get("stages") or ())
    spec = ArrivalSpec(
        shape=value.get("shape", "poisson"),
        rate_per_s=value.get("rate_per_s"),
        sine=None if sine is None else Sine(**sine),
        spikes=None if spikes is None else Spikes(**spikes),
        stages=stages,
        trace=value.get("trace"),
        users=value.get("users"),
    )
    given = (spec.rate_per_s is not None, bool(stages), spec.trace is not None, spec.users is not None)
    if sum(given) != 1:
        raise ValueError("expected exactly one of rate, stages, trace and users")
    rates = [stage.rate_per_s for stage in stages] if stages else [spec.rate_per_s or 0.0]
    if min(rates) < 0 or (spec.rate_per_s is not None and spec.rate_per_s <= 0) or any(s.for_ns < 0 for s in stages):
        raise ValueError("expected rates above 0 and stages of positive length")
    if (sine or spikes) and (spec.rate_per_s is None or (sine and spikes)):
        raise ValueError("expected a rate for sine or spikes, and one of them")
    return spec


def _refuse_closed(spec: ArrivalSpec) -> None:
    if spec.users is not None:
        raise ValueError("a closed loop (users) has no planned arrivals")


def _segments(spec: ArrivalSpec) -> tuple[_Segment, ...]:
    """Linear stretches that cover all time from 0 on; the last is endless. The first stage begins at its own rate."""
    segments: list[_Segment] = []
    at_s = before = 0.0
    rate = spec.rate_per_s if spec.rate_per_s is not None else (spec.stages[0].rate_per_s if spec.stages else 0.0)
    for stage in spec.stages:
        if stage.for_ns > 0:
            segment = _Segment(
                begin_s=at_s,
                length_s=stage.for_ns / NS_PER_S,
                rate_from=rate,
                rate_to=stage.rate_per_s,
                before=before,
            )
            segments.append(segment)
            at_s, before = at_s + segment.length_s, before + segment.count(segment.length_s)
        rate = stage.rate_per_s  # a stage of no length is a jump
    segments.append(_Segment(begin_s=at_s, length_s=math.inf, rate_from=rate, rate_to=rate, before=before))
    return tuple(segments)


def _count_until(segments: Sequence[_Segment], at_s: float) -> float:
    segment = next(s for s in reversed(segments) if s.begin_s <= at_s)
    return segment.before + segment.count(at_s - segment.begin_s)


def _unit_points(shape: str, rng: random.Random) -> Iterator[float]:
    """Points of a process of rate 1. Sums are over millions of gaps near 1: doubles keep them to nanoseconds."""
    if shape == "even":
        yield from map(float, count())
    total = 0.0
    while True:
        if shape == "gamma":
            total += rng.gammavariate(GAMMA_SHAPE, 1 / GAMMA_SHAPE)
        else:
            total -= math.log(1.0 - rng.random())
        yield total


def _repeating(wave: Periodic, points: Iterator[float], start_ns: int) -> Iterator[int]:
    """The instants at which a periodic rate's expected count reaches each point: endless."""
    instants = (start_ns + round(wave.inverse(point) * NS_PER_S) for point in points)
    return accumulate(instants, max)  # an inverse found by bisection is right to a tenth of a nanosecond


def _warped(segments: Sequence[_Segment], points: Iterator[float], start_ns: int) -> Iterator[int]:
    """The instants at which the expected count reaches each point; ends when it never will (a last rate of 0)."""
    following = chain(segments[1:], (None,))
    segment, upcoming = segments[0], next(following)
    for point in points:
        while upcoming is not None and upcoming.before <= point:
            segment, upcoming = upcoming, next(following)
        if upcoming is None and segment.rate_from <= _NEVER_PER_S:
            return
        yield start_ns + round((segment.begin_s + segment.inverse(point - segment.before)) * NS_PER_S)
