"""Time series for charts: equal half-open buckets by intended start, over the whole load, warm-up included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.history.history import History
from harness.history.table import MISSING
from harness.measure.facts import load_report
from harness.measure.good import Graded, Ints, error_classes, graded_ops
from harness.measure.latency import percentiles
from harness.model.plan import Plan
from harness.model.result import Series

__all__ = ["FINE_NS", "series", "silence"]

FINE_NS = 100_000_000
"""Closed loops are counted as finely as this, so that a stretch in which nothing was asked does not pass for health."""

MOST_BUCKETS = 240
_AT_ONCE = 250_000
FEWEST_OPS = 8
"""What a bucket holds on average at least: a share of two requests is no share, and one of none a hole in the picture."""
BUCKETS_NS = tuple(int(s * 1e9) for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600))


def series(history: History, plan: Plan, edge_ns: int = 0) -> Series:
    """The run's series, in at most 240 buckets; without a bucket when there was no load.

    A bucket begins at `edge_ns`: where that is a fault's effect, no bucket mixes what was before it with what was after.
    """
    load = history.ops.where(history.ops.is_("phase", "load"))
    if not len(load):
        return Series(bucket_ns=BUCKETS_NS[0])
    intended_ns = load.ints("intended_ns")
    begin, end = int(intended_ns[0]), int(intended_ns[-1])
    report = load_report(history)
    closed = report is not None and report.closed_loop
    fewest = 0 if closed else FEWEST_OPS  # a closed loop's pauses are told apart from its health, see `begun_per_100ms`
    finest = max((end - begin) / (MOST_BUCKETS - 1), (end - begin) * fewest / len(load))
    bucket_ns = next((size for size in BUCKETS_NS if size > finest), BUCKETS_NS[-1])
    zero = begin - (begin - edge_ns) % bucket_ns
    edges_ns = np.arange(zero, end + bucket_ns + 1, bucket_ns)
    rows = np.searchsorted(intended_ns, edges_ns).tolist()
    fine = np.bincount((intended_ns - zero) // FINE_NS).tolist() if closed else ()
    del intended_ns
    buckets = [
        bucket
        for low, high in _together(rows)
        for bucket in _buckets(
            graded_ops(load.span(rows[low], rows[high]), plan.experiment.slos), edges_ns[low : high + 1]
        )
    ]
    probes = graded_ops(history.ops.where(history.ops.is_("phase", "probe")), ())
    errors = {name for bucket in buckets for name in bucket.errors}
    regions = load.codes("region")[1]
    return Series(
        bucket_ns=bucket_ns,
        t_ns=tuple(edges_ns[:-1].tolist()),
        offered=tuple(bucket.offered for bucket in buckets),
        good=tuple(bucket.good for bucket in buckets),
        errors={name: tuple(bucket.errors[name] for bucket in buckets) for name in sorted(errors)},
        latency_p50_ns=tuple(bucket.latency_ns[0] for bucket in buckets),
        latency_p99_ns=tuple(bucket.latency_ns[1] for bucket in buckets),
        ttft_p50_ns=tuple(bucket.ttft_ns[0] for bucket in buckets),
        ttft_p95_ns=tuple(bucket.ttft_ns[1] for bucket in buckets),
        regions={name: tuple(bucket.regions[name] for bucket in buckets) for name in regions},
        prober_good=tuple(np.histogram(probes.intended_ns[probes.good], edges_ns)[0].tolist()),
        prober_bad=tuple(np.histogram(probes.intended_ns[probes.bad], edges_ns)[0].tolist()),
        begun_per_100ms=tuple(fine),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bucket:
    """The ops due in one bucket."""

    offered: int
    good: int
    errors: Counter[str]
    regions: Counter[str]
    latency_ns: tuple[int | None, ...]  # p50, p99
    ttft_ns: tuple[int | None, ...]  # p50, p95


def _together(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Buckets that are graded together, as few as hold a quarter of a million ops: the whole of a long run would not fit twice."""
    low = 0
    for place in range(1, len(rows)):
        if place == len(rows) - 1 or rows[place] - rows[low] >= _AT_ONCE:
            yield low, place
            low = place


def _buckets(graded: Graded, edges_ns: Ints) -> Iterator[_Bucket]:
    """Each bucket of some ops, from one edge to the next."""
    classes, names = error_classes(graded)
    regions, region_names = graded.ops.codes("region")
    first = graded.ops.ints("first_ns")
    latency_ns = graded.latency_ns
    timed = graded.ok & (first != MISSING)
    for low, high in pairwise(np.searchsorted(graded.intended_ns, edges_ns).tolist()):
        rows = slice(low, high)
        ok, good = graded.ok[rows], graded.good[rows]
        ttft_ns = (first[rows] - graded.intended_ns[rows])[timed[rows]]
        yield _Bucket(
            offered=high - low,
            good=int(np.count_nonzero(good)),
            errors=_counted(classes[rows], names),
            regions=_counted(regions[rows][good], region_names),
            latency_ns=percentiles(latency_ns[rows][ok], (0.5, 0.99)),
            ttft_ns=percentiles(ttft_ns, (0.5, 0.95)),
        )


def _counted(codes: NDArray[np.int32], names: Sequence[str]) -> Counter[str]:
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    return Counter({names[code]: count for code, count in zip(found.tolist(), counts.tolist(), strict=True)})


def silence(begun: Sequence[int]) -> tuple[int, int, int]:
    """Of ops begun per 100 ms: how many spans had none, and place and length of the longest stretch of such (0, 0: none)."""
    empty, longest, length = 0, (0, 0), 0
    for place, count in enumerate(begun):
        length = 0 if count else length + 1
        empty += not count
        if length > longest[1]:
            longest = place - length + 1, length
    return empty, *longest
