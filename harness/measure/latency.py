"""Latency percentiles from intended start, of ops that ended ok; none from fewer than 20 ops."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np

from harness.history.events import PhaseName
from harness.history.history import History
from harness.history.table import MISSING
from harness.measure.good import Bools, Graded, Ints
from harness.model.measured import Disruption, LatencyRow

__all__ = ["calm_ops", "latency_rows", "latency_values", "percentile", "percentiles"]

LEAST = 20
PHASES: tuple[PhaseName, ...] = ("steady", "inject", "observe", "heal", "settle")


def percentile(values: Ints, quantile: float) -> int | None:
    """The smallest value that at least `quantile` of them do not exceed; None from fewer than 20. Source: nearest rank."""
    return percentiles(values, (quantile,))[0]


def percentiles(values: Ints, quantiles: tuple[float, ...]) -> tuple[int | None, ...]:
    """Several of them in one pass; each None from fewer than 20 values."""
    count = len(values)
    if count < LEAST:
        return tuple(None for _ in quantiles)
    ranks = [min(count - 1, max(0, ceil(round(quantile * count, 6)) - 1)) for quantile in quantiles]
    found = np.partition(values, sorted(set(ranks)))
    return tuple(int(found[rank]) for rank in ranks)


def latency_values(graded: Graded, measure: str, mask: Bools) -> Ints:
    """`latency` (to the end) or `ttft` (to the first byte, of ops that recorded one) of the picked ops that ended ok.

    `chunk_gap`: the longest wait between two chunks of each picked op that had two, however it ended: a stall is where it broke.
    """
    if measure == "chunk_gap":
        gaps = graded.ops.ints("gap_ns")
        return np.asarray(gaps[mask & graded.valid & (gaps != MISSING)], dtype=np.int64)
    picked = mask & graded.ok & graded.valid
    end = graded.done_ns
    if measure == "ttft":
        end = graded.ops.ints("first_ns")
        picked &= end != MISSING
    values = end[picked]
    values -= graded.intended_ns[picked]
    return values


def calm_ops(graded: Graded, disruptions: tuple[Disruption, ...]) -> Bools:
    """Which ops were due outside every disruption."""
    mask = np.ones(len(graded), dtype=np.bool_)
    for disruption in disruptions:
        mask &= ~graded.due(disruption.start_ns, None if disruption.end_ns is None else disruption.end_ns + 1)
    return mask


def latency_rows(history: History, graded: Graded, disruptions: tuple[Disruption, ...]) -> tuple[LatencyRow, ...]:
    """Rows for all ops, the calm ones, each phase, each `f` and each group. Empty without an op that ended ok."""
    populations: list[tuple[str, Bools]] = [
        ("calm", calm_ops(graded, disruptions)),
        ("all", np.ones(len(graded), dtype=np.bool_)),
    ]
    for phase in PHASES:
        span = history.phase(phase)
        if span is not None:
            populations.append((phase, graded.due(*span)))
    slices: list[Mapping[str, str]] = [{}]
    for column in ("f", "group"):
        _, names = graded.ops.codes(column)
        if len(names) > 1 or (names and column == "group"):
            slices += [{column: name} for name in names]
    rows = []
    for where in slices:
        picked = graded.ops.slice_(where)
        for population, mask in populations if not where else populations[:2]:
            for measure in ("latency", "ttft", "chunk_gap"):
                values = latency_values(graded, measure, mask & picked)
                if len(values):
                    rows.append(_row(measure, population, where, values))
    return tuple(rows)


def _row(measure: str, population: str, where: Mapping[str, str], values: Ints) -> LatencyRow:
    p50, p90, p95, p99, p999 = percentiles(values, (0.5, 0.9, 0.95, 0.99, 0.999))
    return LatencyRow(
        measure=measure,
        population=population,
        f=where.get("f"),
        group=where.get("group"),
        count=len(values),
        p50_ns=p50,
        p90_ns=p90,
        p95_ns=p95,
        p99_ns=p99,
        p999_ns=p999 if len(values) >= 1000 else None,
        max_ns=int(values.max()) if len(values) >= LEAST else None,
    )
