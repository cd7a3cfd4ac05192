"""Single moments relative to the first effect, and for each that has no value: whether it did not happen or cannot be known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.history.events import SignalEvent, of_type
from harness.history.history import History
from harness.history.table import MISSING
from harness.measure.aftermath import backlog, redundancy
from harness.measure.alerts import ALERTS, is_firing
from harness.measure.disruptions import Attributed
from harness.measure.facts import Edge, first_effect
from harness.measure.good import Graded, steady_span
from harness.measure.gray import gray_ns
from harness.measure.spans import Population
from harness.model.measured import Instants
from harness.model.plan import Plan

__all__ = ["Stage", "instants", "slice_instants"]

EFFECT_EVENTS = frozenset({"effect", "executed"})
"""What the independent sink reports is no event of the stack's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What moments are seen against: the population with its disruptions, everything that was done, the end of load."""

    population: Population
    found: Sequence[Attributed]
    edges: Sequence[Edge]
    until_ns: int


def instants(history: History, plan: Plan, graded: Graded, stage: Stage) -> Instants:
    """Single moments after the first effect, each None when it did not happen or cannot be known; all None without a fault."""
    population, found = stage.population, stage.found
    first = first_effect(stage.edges)
    if first is None:
        return Instants()
    effect_ns = first.lo_ns
    signal = _detection(history, effect_ns)
    drained, not_drained = backlog(graded, steady_span(history), effect_ns, stage.until_ns)
    whole, not_whole = redundancy(history, plan, stage.edges, first)
    clients = slice_instants(history, plan, graded, stage)
    known = clients.model_copy(
        update={
            "detection_ns": signal.at_ns - effect_ns if signal else None,
            "detection_source": f"{signal.event} ({signal.source})" if signal else None,
            "failback_ns": _failback(history, graded, effect_ns),
            "gray_ns": gray_ns(history, plan, population, found, effect_ns),
            "backlog_ns": drained,
            "redundancy": whole,
        }
    )
    said = _why(known, plan, graded) | clients.why
    said |= {name: why for name, why in (("backlog", not_drained), ("redundancy", not_whole)) if why}
    return known.model_copy(update={"why": said})


def slice_instants(history: History, plan: Plan, graded: Graded, stage: Stage) -> Instants:
    """The moments that the ops alone tell, which every slice has of its own; all None without a fault."""
    population, found = stage.population, stage.found
    first = first_effect(stage.edges)
    if first is None:
        return Instants()
    effect_ns = first.lo_ns
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
    failover, no_failover = _failover(graded, plan, effect_ns)
    known = Instants(
        first_success_ns=first_success,
        error_period_ns=error_period,
        last_error_seen_ns=int(bad_done.max()) - effect_ns if len(bad_done) else None,
        failover_ns=failover,
        gap_ns=_longest_gap(np.sort(graded.done_ns[graded.good]), effect_ns),
        **_amplification(graded, steady_span(history), _during(graded, population, ours, stage.edges)),
    )
    return known.model_copy(update={"why": _why_of_clients(known) | ({"failover": no_failover} if no_failover else {})})


def _why_of_clients(known: Instants) -> dict[str, str]:
    """Why each moment that the ops tell has no value."""
    said: dict[str, str] = {}
    if known.retry_amplification is None:
        said["retry_amplification"] = "unknown: no operations in the steady state, or none during the fault"
    if known.first_success_ns is None:
        quiet = known.error_period_ns is None
        said["first_success"] = "service was not disrupted" if quiet else "nothing was good again"
    if known.error_period_ns is None:
        said["error_period"] = "no disruption"
    if known.last_error_seen_ns is None:
        said["last_error_seen"] = "no error was seen"
    if known.gap_ns is None:
        said["gap"] = "fewer than two operations were good"
    return said


def _why(known: Instants, plan: Plan, graded: Graded) -> dict[str, str]:
    """Why each moment without a value has none: "unknown: ..." when nothing in the record could tell, else what did not happen."""
    stack = plan.experiment.stack
    said: dict[str, str] = {}
    if known.detection_ns is None:
        named = stack.alerts is not None or any(signal.kind != "effects" for signal in stack.signals)
        said["detection"] = (
            "no event of the stack was seen" if named else "unknown: the stack file names no events (`signals:`)"
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
        said["gray"] = "unknown: no health probe (`probes:` of kind http or tcp) was asked, and no alert received"
    return said


def _amplification(graded: Graded, steady_ns: tuple[int, int] | None, during_ns: tuple[int, int]) -> dict[str, float]:
    """Wire attempts per op in the steady state, during the outage, and the one over the other. Nothing without ops in both."""
    attempts = graded.ops.ints("attempts")
    during = attempts[graded.valid & graded.due(during_ns[0], during_ns[1] + 1)]
    before = attempts[graded.valid & graded.due(*steady_ns)] if steady_ns is not None else attempts[:0]
    if not len(before) or not len(during) or before.mean() == 0:
        return {}
    usual, then = float(before.mean()), float(during.mean())
    return {"attempts_before": usual, "attempts_during": then, "retry_amplification": then / usual}


def _during(
    graded: Graded, population: Population, ours: Sequence[Attributed], edges: Sequence[Edge]
) -> tuple[int, int]:
    """From the first effect to the end of what followed: the last disruption of ours, or the last revert."""
    first = next(edge for edge in edges if edge.edge == "inject")
    ends = [edge.lo_ns for edge in edges if edge.edge == "revert"]
    ends += [int(population.intended_ns[attributed.span.last]) for attributed in ours]
    return first.lo_ns, max(ends, default=int(graded.intended_ns[-1]) if len(graded) else first.lo_ns)


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


def _failover(graded: Graded, plan: Plan, effect_ns: int) -> tuple[int | None, str]:
    """First op acknowledged by the new holder: under an epoch newer than any before the effect, else, where what was broken
    had served all before it, by another instance. Or None and why.
    """
    epochs = graded.ops.ints("epoch")
    known = graded.ok & (epochs != MISSING)
    before = epochs[known & (graded.done_ns < effect_ns)]
    if len(before):
        newer = graded.done_ns[known & (epochs > before.max()) & (graded.done_ns >= effect_ns)]
        if len(newer):
            return int(newer.min()) - effect_ns, ""
        return None, "nothing was acknowledged under a newer epoch"
    codes, names = graded.ops.codes("served_by")
    served = graded.ok & (codes >= 0)
    then = {names[code] for code in np.unique(codes[served & (graded.done_ns < effect_ns)]).tolist()}
    broken = {name for fault in plan.faults for target in fault.targets for name in (target.name, *target.candidates)}
    if not then:
        return None, "unknown: no operation says under which epoch, or by which instance, it was served"
    if not then <= broken:
        return None, "unknown: no operation says under which epoch it was served, and several instances served before"
    others = np.isin(codes, [code for code, name in enumerate(names) if name not in then])
    moved = graded.done_ns[served & others & (graded.intended_ns >= effect_ns)]
    return (int(moved.min()) - effect_ns, "") if len(moved) else (None, "no other instance acknowledged anything")


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
