"""The measures of one slice of the load: by group, operation, region, or who served it. The worst stands beside the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.history.history import History
from harness.measure.availability import availability
from harness.measure.budget import budget_costs
from harness.measure.disruptions import disruptions, population_of
from harness.measure.facts import Edge, edges, fault_results, first_effect
from harness.measure.good import Bools, Graded, counts, grade, steady_span, unplaced
from harness.measure.instants import Stage, slice_instants
from harness.measure.loss import LostWrites, loss, lost_writes
from harness.measure.recovery import Scene, recovery_from_injects, recovery_from_reverts
from harness.measure.windows import rule_of
from harness.model.measured import Interval, Recovery, SliceMeasures
from harness.model.plan import Plan

__all__ = ["Whole", "all_slices", "scene_of", "slice_measures", "stage_of", "worst_slices"]

SLICED = ("group", "f", "region")
MOST_SLICES = 24
OF_WRITES = frozenset({"group", "f", "session"})
"""Slices that a write belongs to. Its region is where it was served, not where it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What the slices are parts of."""

    scene: Scene
    lost: LostWrites
    effect: Interval | None


def scene_of(history: History, plan: Plan, graded: Graded, found_edges: tuple[Edge, ...]) -> Scene:
    """The population of graded ops with its rule and disruptions. Load is observed until its last op was due."""
    steady_ns = steady_span(history)
    population = population_of(graded, steady_ns)
    rule = rule_of(graded, plan, steady_ns)
    return Scene(
        population=population,
        ops=graded.ops.where(graded.valid),
        found=disruptions(population, rule, found_edges),
        edges=found_edges,
        rule=rule,
        until_ns=int(graded.intended_ns[-1]) if len(graded) else 0,
        recovery_from=plan.experiment.recovery_from,
    )


def stage_of(scene: Scene) -> Stage:
    """What single moments are seen against."""
    return Stage(population=scene.population, found=scene.found, edges=scene.edges, until_ns=scene.until_ns)


def slice_measures(
    history: History, plan: Plan, where: Mapping[str, str], lost: LostWrites | None = None
) -> SliceMeasures:
    """The measures of one slice, judged by its own steady state. Raises KeyError for a column that cannot be sliced by."""
    graded = grade(history, plan)
    found_edges = edges(history, plan, fault_results(history, plan))
    first = first_effect(found_edges)
    effect = Interval(lo_ns=first.lo_ns, hi_ns=first.hi_ns) if first else None
    scene = scene_of(history, plan, graded, found_edges)
    whole = Whole(scene=scene, lost=lost or lost_writes(history, plan), effect=effect)
    return _slice(history, plan, graded, (where, graded.ops.slice_(where)), whole)


def all_slices(history: History, plan: Plan, graded: Graded, whole: Whole) -> tuple[SliceMeasures, ...]:
    """Every group, operation and region that has ops, at most 24 of each; a column with one value is the whole again."""
    found: list[SliceMeasures] = []
    for column in SLICED:
        codes, names = graded.ops.codes(column)
        present = np.unique(codes[codes >= 0]).tolist()
        if len(present) < 2 and column != "group":
            continue
        found += [
            _slice(history, plan, graded, ({column: names[code]}, codes == code), whole)
            for code in present[:MOST_SLICES]
        ]
    return tuple(found)


def _slice(
    history: History, plan: Plan, graded: Graded, part: tuple[Mapping[str, str], Bools], whole: Whole
) -> SliceMeasures:
    where, mask = part
    ops = graded.pick(mask)
    unknown = int(np.count_nonzero(unplaced(graded, where)))
    own = replace(scene_of(history, plan, ops, whole.scene.edges), until_ns=whole.scene.until_ns)
    injects, reverts = recovery_from_injects(own), recovery_from_reverts(own)
    if unknown:
        # Their outage may be this slice's, and all that it has may be the answers that came.
        why = f"{unknown} operations that were not served do not say whether they belong to it"
        injects = reverts = Recovery(state="unknown", why=why)
    return SliceMeasures(
        slice=dict(where),
        counts=counts(ops),
        availability=availability(ops, unknown),
        recovery=injects,
        recovery_return=reverts,
        loss=loss(whole.lost, whole.effect, where) if set(where) <= OF_WRITES else None,
        instants=None if unknown else slice_instants(history, plan, ops, stage_of(own)),
        budgets=() if unknown else budget_costs(ops, plan, whole.effect.lo_ns if whole.effect else None),
        unplaced=unknown,
    )


def worst_slices(slices: Sequence[SliceMeasures]) -> dict[str, dict[str, str]]:
    """The slice of the lowest availability, and that of the longest recovery. Nothing where no slice fared worse than another."""
    worst: dict[str, dict[str, str]] = {}
    lows = [(part.availability.lo_ratio, part) for part in slices if part.availability and not part.unplaced]
    if lows and min(low for low, _ in lows) < max(low for low, _ in lows):
        worst["availability"] = min(lows, key=lambda pair: pair[0])[1].slice
    ends = [(_end(part.recovery), part) for part in slices if part.recovery.interval is not None]
    if ends and min(end for end, _ in ends) < max(end for end, _ in ends):
        worst["recovery_time"] = max(ends, key=lambda pair: pair[0])[1].slice
    return worst


def _end(recovery: Recovery) -> tuple[float, float]:
    """How late it was back: by the upper bound, among those without one by the lower."""
    assert recovery.interval is not None
    hi_ns = recovery.interval.hi_ns
    return (math.inf if hi_ns is None else float(hi_ns), float(recovery.interval.lo_ns))
