"""Single moments relative to the first effect, and for each that has no value: whether it did not happen or cannot be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.history.events import ProbeEvent, SignalEvent, of_type
from harness.history.history import History
from harness.history.table import MISSING
from harness.measure.alerts import ALERTS, is_firing
from harness.measure.disruptions import Attributed
from harness.measure.facts import Edge
from harness.measure.good import Graded
from harness.measure.spans import Population
from harness.model.plan import Plan
from harness.model.result import Instants

__all__ = ["instants"]

EFFECT_EVENTS = frozenset({"effect", "executed"})
"""What the independent sink reports is no event of the stack's own."""


def instants(
    history: History, plan: Plan, graded: Graded, scene: tuple[Population, Sequence[Attributed], Edge | None]
) -> Instants:
    """Single moments after the first effect, each None when it did not happen or cannot be known; all None without a fault."""
    population, found, first = scene
    amplification = _amplification(graded)
    if first is None:
        return Instants(retry_amplification=amplification)
    effect_ns = first.lo_ns
    good = np.sort(graded.done_ns[graded.good])
    bad_done = graded.done_ns[graded.bad & (graded.done_ns >= effect_ns)]
    ours = [attributed for attributed in found if attributed.cause is not None]
    first_success: int | None = None
    error_period: int | None = None
    hurt = [attributed for attributed in found if attributed.is_inject]
    if hurt:
        error_period = int(population.intended_ns[hurt[-1].span.last] - population.intended_ns[hurt[0].span.first])
    if ours:
        start_ns = int(population.intended_ns[ours[0].span.first])
        later = graded.done_ns[graded.good & (graded.intended_ns > start_ns) & (graded.done_ns >= effect_ns)]
        first_success = int(later.min()) - effect_ns if len(later) else None
    signal = _detection(history, effect_ns)
    known = Instants(
        first_success_ns=first_success,
        error_period_ns=error_period,
        last_error_seen_ns=int(bad_done.max()) - effect_ns if len(bad_done) else None,
        detection_ns=signal.at_ns - effect_ns if signal else None,
        detection_source=f"{signal.event} ({signal.source})" if signal else None,
        failover_ns=_failover(graded, effect_ns),
        failback_ns=_failback(history, graded, effect_ns),
        gap_ns=_longest_gap(good, effect_ns),
        gray_ns=_gray(history, plan, population, found),
        retry_amplification=amplification,
    )
    return known.model_copy(update={"why": _why(known, plan, graded)})


def _why(known: Instants, plan: Plan, graded: Graded) -> Mapping[str, str]:
    """Why each moment without a value has none: "unknown: ..." when nothing in the record could tell, else what did not happen."""
    stack = plan.experiment.stack
    said: dict[str, str] = {}
    if known.detection_ns is None:
        named = stack.alerts is not None or any(signal.kind != "effects" for signal in stack.signals)
        said["detection"] = (
            "no event of the stack was seen" if named else "unknown: the stack file names no events (`signals:`)"
        )
    if known.failover_ns is None:
        epochs = bool((graded.ops.ints("epoch")[graded.ok] != MISSING).any())
        said["failover"] = (
            "nothing was acknowledged under a newer epoch"
            if epochs
            else "unknown: no operation says under which epoch it was served"
        )
    if known.failback_ns is None:
        regions = np.unique(graded.ops.codes("region")[0][graded.good])
        regions = regions[regions >= 0]
        said["failback"] = (
            "traffic did not move to another region and back"
            if len(regions) > 1
            else "no operation was served by a second region"
            if len(regions)
            else "unknown: no operation says which region served it"
        )
    if known.gray_ns is None:
        said["gray"] = "unknown: the stack file names no health probe (`probes:` of kind http or tcp)"
    if known.first_success_ns is None:
        said["first_success"] = (
            "service was not disrupted" if known.error_period_ns is None else "nothing was good again"
        )
    if known.error_period_ns is None:
        said["error_period"] = "no disruption"
    if known.last_error_seen_ns is None:
        said["last_error_seen"] = "no error was seen"
    return said


def _amplification(graded: Graded) -> float | None:
    attempts = graded.ops.ints("attempts")[graded.valid]
    return float(attempts.mean()) if len(attempts) else None


def _detection(history: History, effect_ns: int) -> SignalEvent | None:
    """The first event of the stack's own after the effect: those that its file names are authoritative, whatever their names."""
    events = of_type(history.events, SignalEvent)
    after: list[SignalEvent] = [
        event
        for event in events
        if event.at_ns >= effect_ns
        and (is_firing(event) if event.source == ALERTS else event.event not in EFFECT_EVENTS)
    ]
    return min(after, key=lambda event: event.at_ns, default=None)


def _failover(graded: Graded, effect_ns: int) -> int | None:
    """First op acknowledged under an epoch that is newer than any before the effect."""
    epochs = graded.ops.ints("epoch")
    known = graded.ok & (epochs != MISSING)
    before = epochs[known & (graded.done_ns < effect_ns)]
    if not len(before):
        return None
    newer = graded.done_ns[known & (epochs > before.max()) & (graded.done_ns >= effect_ns)]
    return int(newer.min()) - effect_ns if len(newer) else None


FAILBACK_POINTS = 0.05
FAILBACK_BUCKET_NS = 1_000_000_000
FAILBACK_LEAST = 10
"""So few ops in a bucket say nothing about shares: the last bucket of a run is seldom a whole one."""


def _failback(history: History, graded: Graded, effect_ns: int) -> int | None:
    """When every region's share of good traffic is within 5 points of what it was before the effect, and stays so.

    In buckets of 1 s; None when the shares never moved, never came back, or ops name no region.
    """
    codes, names = graded.ops.codes("region")
    known = graded.good & (codes >= 0)
    before = codes[known & (graded.done_ns < effect_ns)]
    after = known & (graded.done_ns >= effect_ns)
    if not len(before) or not bool(after.any()) or len(names) < 2:
        return None
    share = np.bincount(before, minlength=len(names)) / len(before)
    bucket = (graded.done_ns[after] - effect_ns) // FAILBACK_BUCKET_NS
    table = np.zeros((int(bucket.max()) + 1, len(names)))
    np.add.at(table, (bucket, codes[after]), 1)
    total = table.sum(axis=1)
    away = (total > 0) & (np.abs(table / np.maximum(total, 1)[:, None] - share).max(axis=1) > FAILBACK_POINTS)
    # Few ops in a bucket scatter by more than 5 points on their own.
    noise = 3 * np.sqrt(0.25 / np.maximum(total, 1))
    away &= np.abs(table / np.maximum(total, 1)[:, None] - share).max(axis=1) > FAILBACK_POINTS + noise
    moved, told = np.flatnonzero(away), np.flatnonzero(total >= FAILBACK_LEAST)
    if not len(moved) or not len(told) or moved[-1] >= told[-1]:
        return None
    return int(moved[-1] + 1) * FAILBACK_BUCKET_NS


def _longest_gap(good_done_ns: np.ndarray[tuple[int], np.dtype[np.int64]], effect_ns: int) -> int | None:
    """The longest time without a good completion, among gaps that end after the effect."""
    if len(good_done_ns) < 2:
        return None
    gaps = np.diff(good_done_ns)[good_done_ns[1:] >= effect_ns]
    return int(gaps.max()) if len(gaps) else None


def _gray(history: History, plan: Plan, population: Population, found: Sequence[Attributed]) -> int | None:
    """Time inside disruptions while every health probe that was asked answered well; None without probes.

    Between two samples the earlier one stands.
    """
    samples: list[ProbeEvent] = list(of_type(history.events, ProbeEvent))
    health = [name for name, spec in plan.experiment.stack.probes.items() if spec.kind in ("http", "tcp")]
    asked = sorted((event for event in samples if event.name in health), key=lambda event: event.at_ns)
    if not asked:
        return None
    total = 0
    for attributed in found:
        span = attributed.span
        begin, end = int(population.intended_ns[span.first]), int(population.done_ns[span.last])
        bad_now = dict.fromkeys(health, False)
        at_ns = begin
        for event in asked:
            if begin < event.at_ns <= end:
                total += 0 if any(bad_now.values()) else event.at_ns - at_ns
                at_ns = event.at_ns
            if event.at_ns <= end:
                bad_now[event.name] = not event.ok
        total += 0 if any(bad_now.values()) else max(0, end - at_ns)
    return total
