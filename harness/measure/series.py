"""Time series for charts: equal half-open buckets by intended start, over the whole load, warm-up included."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from harness.history.history import History
from harness.history.table import MISSING
from harness.measure.facts import load_report
from harness.measure.good import Bools, Ints, error_classes, graded_ops
from harness.measure.latency import percentiles
from harness.model.plan import Plan
from harness.model.result import Series

__all__ = ["FINE_NS", "series", "silence"]

FINE_NS = 100_000_000
"""Closed loops are counted as finely as this, so that a stretch in which nothing was asked does not pass for health."""

MOST_BUCKETS = 240
FEWEST_OPS = 8
"""What a bucket holds on average at least: a share of two requests is no share, and one of none a hole in the picture."""
BUCKETS_NS = tuple(int(s * 1e9) for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600))


def series(history: History, plan: Plan, edge_ns: int = 0) -> Series:
    """The run's series, in at most 240 buckets; without a bucket when there was no load.

    A bucket begins at `edge_ns`: where that is a fault's effect, no bucket mixes what was before it with what was after.
    """
    graded = graded_ops(history.ops.where(history.ops.is_("phase", "load")), plan.experiment.slos)
    if not len(graded):
        return Series(bucket_ns=BUCKETS_NS[0])
    begin, end = int(graded.intended_ns[0]), int(graded.intended_ns[-1])
    report = load_report(history)
    closed = report is not None and report.closed_loop
    fewest = 0 if closed else FEWEST_OPS  # a closed loop's pauses are told apart from its health, see `begun_per_100ms`
    finest = max((end - begin) / (MOST_BUCKETS - 1), (end - begin) * fewest / len(graded))
    bucket_ns = next((size for size in BUCKETS_NS if size > finest), BUCKETS_NS[-1])
    zero = begin - (begin - edge_ns) % bucket_ns
    total = (end - zero) // bucket_ns + 1
    place = (graded.intended_ns - zero) // bucket_ns

    def counted(mask: Bools) -> tuple[int, ...]:
        return tuple(np.bincount(place[mask], minlength=total).tolist())

    classes, names = error_classes(graded)
    regions, region_names = graded.ops.codes("region")
    first = graded.ops.ints("first_ns")
    ttft, timed = first - graded.intended_ns, graded.ok & (first != MISSING)
    probes = graded_ops(history.ops.where(history.ops.is_("phase", "probe")), ())
    probe_place = (probes.intended_ns - zero) // bucket_ns
    inside = (probe_place >= 0) & (probe_place < total)
    p50, p99 = _quantiles(graded.latency_ns[graded.ok], place[graded.ok], total, (0.5, 0.99))
    ttft_p50, ttft_p95 = _quantiles(ttft[timed], place[timed], total, (0.5, 0.95))
    return Series(
        bucket_ns=bucket_ns,
        t_ns=tuple(range(zero, zero + total * bucket_ns, bucket_ns)),
        offered=counted(np.ones(len(graded), dtype=np.bool_)),
        good=counted(graded.good),
        errors={names[code]: counted(classes == code) for code in np.unique(classes[classes >= 0]).tolist()},
        latency_p50_ns=p50,
        latency_p99_ns=p99,
        ttft_p50_ns=ttft_p50,
        ttft_p95_ns=ttft_p95,
        regions={name: counted(graded.good & (regions == code)) for code, name in enumerate(region_names)},
        prober_good=tuple(np.bincount(probe_place[inside & probes.good], minlength=total).tolist()),
        prober_bad=tuple(np.bincount(probe_place[inside & probes.bad], minlength=total).tolist()),
        begun_per_100ms=tuple(np.bincount((graded.intended_ns - zero) // FINE_NS).tolist()) if closed else (),
    )


def silence(begun: Sequence[int]) -> tuple[int, int, int]:
    """Of ops begun per 100 ms: how many spans had none, and place and length of the longest stretch of such (0, 0: none)."""
    empty, longest, length = 0, (0, 0), 0
    for place, count in enumerate(begun):
        length = 0 if count else length + 1
        empty += not count
        if length > longest[1]:
            longest = place - length + 1, length
    return empty, *longest


def _quantiles(values: Ints, place: Ints, total: int, quantiles: tuple[float, ...]) -> list[tuple[int | None, ...]]:
    """Each percentile of each bucket, None where fewer than 20 ops stand behind it. `place` must not decrease."""
    edges: Sequence[int] = np.searchsorted(place, np.arange(total + 1)).tolist()
    rows = [percentiles(values[low:high], quantiles) for low, high in pairwise(edges)]
    return list(zip(*rows, strict=True)) if rows else [() for _ in quantiles]
