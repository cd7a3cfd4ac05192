"""Every measure of a run: a pure function of its history and its plan. What cannot be known is said so, never raised."""

from __future__ import annotations

import numpy as np

from harness.history.events import ProbeEvent, of_type
from harness.history.history import History
from harness.measure.alerts import alert_rows
from harness.measure.availability import availability
from harness.measure.budget import budget_costs
from harness.measure.disruptions import population_of, to_result
from harness.measure.facts import edges, fault_results, first_effect, phase_spans
from harness.measure.good import Graded, counts, grade, grade_probes, steady_span
from harness.measure.instants import instants
from harness.measure.latency import latency_rows, percentile
from harness.measure.loss import loss, lost_writes
from harness.measure.recovery import Scene, recovery_from_injects, recovery_from_reverts, regained
from harness.measure.slices import Whole, all_slices, scene_of, stage_of, worst_slices
from harness.measure.spans import Span
from harness.model.chance import smallest_outage_ns
from harness.model.measured import Interval, Measures, ProbeSummary, Recovery
from harness.model.plan import Plan

__all__ = ["measure"]


def measure(history: History, plan: Plan) -> Measures:
    """Every measure of the run. An empty or torn history gives unknowns, never an exception."""
    graded = grade(history, plan)
    found_edges = edges(history, plan, fault_results(history, plan))
    scene = scene_of(history, plan, graded, found_edges)
    first = first_effect(found_edges)
    effect = Interval(lo_ns=first.lo_ns, hi_ns=first.hi_ns) if first else None
    lost = lost_writes(history, plan)
    published = tuple(
        to_result(scene.population, found, observed_until_ns=scene.until_ns, window_ns=scene.rule.window_ns)
        for found in scene.found
    )
    recovery = recovery_from_injects(scene)
    if recovery.state == "none":
        recovery = recovery.model_copy(update={"masked": _masked(history, graded, scene)})
    seen = rule_rate(scene)
    slices = all_slices(history, plan, graded, Whole(scene=scene, lost=lost, effect=effect))
    return Measures(
        counts=counts(graded),
        availability=availability(graded),
        window_ns=plan.window_ns,
        smallest_outage_ns=seen,
        steady_bad_upper_ratio=scene.rule.bad_upper_ratio if scene.rule.steady else None,
        disruptions=published,
        recovery=recovery,
        recovery_return=recovery_from_reverts(scene),
        recovery_prober=_prober_recovery(history, plan, scene, recovery),
        instants=instants(history, plan, graded, stage_of(scene)),
        latency=latency_rows(history, graded, published),
        budgets=budget_costs(graded, plan, first.lo_ns if first else None),
        loss=loss(lost, effect),
        slices=slices,
        worst=worst_slices(slices),
        probes=_probe_summaries(history),
        alerts=alert_rows(history, plan, first),
    )


def rule_rate(scene: Scene) -> int | None:
    """The shortest full outage that the rule surely saw in this run, at the rate that the load really had."""
    population = scene.population
    if len(population) < 2 or population.intended_ns[-1] == population.intended_ns[0]:
        return None
    span_s = float(population.intended_ns[-1] - population.intended_ns[0]) / 1e9
    return smallest_outage_ns(len(population) / span_s, scene.rule.window_ns, scene.rule.level_ratio, scene.rule.steady)


def _masked(history: History, graded: Graded, scene: Scene) -> bool:
    """Whether latency or retries moved in the window after an inject, though nothing was disrupted."""
    steady_ns = steady_span(history)
    if steady_ns is None:
        return False
    calm = graded.valid & graded.due(*steady_ns) & (graded.done_ns <= steady_ns[1])
    attempts = graded.ops.ints("attempts")
    usual = percentile(graded.latency_ns[calm], 0.99)
    for edge in scene.edges:
        if edge.edge != "inject":
            continue
        # Ops in flight at the effect are the first to be slowed.
        touched = graded.valid & (graded.done_ns >= edge.lo_ns) & graded.due(0, edge.lo_ns + scene.rule.window_ns)
        slowest = percentile(graded.latency_ns[touched], 0.99)
        if usual is not None and slowest is not None and slowest > 3 * usual + 20_000_000:
            return True
        if bool(calm.any()) and bool(touched.any()) and attempts[touched].mean() > attempts[calm].mean() + 0.05:
            return True
    return False


def _prober_recovery(history: History, plan: Plan, scene: Scene, users: Recovery) -> Recovery:
    """Recovery as the prober saw it, within the disruptions that users had: the worst of its regions and groups.

    Regions that a fault touched are left out when others were probed: they are expected to be away until the revert.
    """
    if users.state in ("unknown", "none") or users.effect is None:
        return users.model_copy(update={"why": users.why or "users saw no disruption"})
    probes = grade_probes(history)
    if not len(probes):
        return Recovery(state="unknown", why="no prober")
    effect = users.effect
    ours = [found for found in scene.found if found.is_inject]
    until = [found for found in scene.found if not found.is_inject and found.span.first > ours[-1].span.last]
    end_ns = int(scene.population.intended_ns[until[0].span.first]) if until else scene.until_ns
    touched = {target.region for fault in plan.faults for target in fault.targets}
    regions, names = probes.ops.codes("region")
    groups, _ = probes.ops.codes("group")
    away = np.isin(regions, [code for code, name in enumerate(names) if name in touched])
    kept = probes.valid & (away if bool(away.all()) else ~away) & probes.due(0, end_ns)
    worst: Interval | None = None
    for line in np.unique(np.stack((regions[kept], groups[kept])), axis=1).T:
        mine = probes.pick(kept & (regions == line[0]) & (groups == line[1]))
        interval = _line_recovery(mine, effect)
        if interval is not None and (worst is None or _ends(interval) > _ends(worst)):
            worst = interval
    if worst is None:
        return Recovery(state="none", interval=Interval(lo_ns=0, hi_ns=0), effect=effect, why="no probe failed")
    state = "recovered" if worst.hi_ns is not None else "censored"
    return Recovery(state=state, interval=worst, from_fault=users.from_fault, effect=effect)


def _ends(interval: Interval) -> float:
    return float("inf") if interval.hi_ns is None else interval.hi_ns


def _line_recovery(probes: Graded, effect: Interval) -> Interval | None:
    """From the effect to the prober's return on one line; None when no probe failed after the effect."""
    population = population_of(probes, None)
    bads = np.flatnonzero(population.bad & (population.done_ns >= effect.lo_ns))
    if not len(bads):
        return None
    first, last = int(bads[0]), int(bads[-1])
    span = Span(first=first, late_first=first, early_last=last, last=last, run=1, bad=len(bads), valid=last - first + 1)
    back = regained(population, span)
    latest = effect.lo_ns if effect.hi_ns is None else effect.hi_ns
    hi_ns = None if back.hi_ns is None else max(0, back.hi_ns - effect.lo_ns)
    return Interval(lo_ns=max(0, back.lo_ns - latest), hi_ns=hi_ns)


def _probe_summaries(history: History) -> tuple[ProbeSummary, ...]:
    """Each probe's samples over inject and later, and by phase; sorted by name."""
    events: tuple[ProbeEvent, ...] = of_type(history.events, ProbeEvent)
    inject = history.phase("inject")
    spans = phase_spans(history)
    found = []
    for name in sorted({event.name for event in events}):
        own = [event for event in events if event.name == name]
        later = [event for event in own if inject is not None and event.at_ns >= inject[0]]
        values = [event.value for event in later if event.ok and event.value is not None]
        by_phase: dict[str, dict[str, float]] = {}
        for span in spans:
            end = span.end_ns if span.end_ns is not None else float("inf")
            inside = [e.value for e in own if e.ok and e.value is not None and span.start_ns <= e.at_ns < end]
            if inside:
                by_phase[span.phase] = _summary(inside)
        whole = _summary(values) if values else {}
        found.append(
            ProbeSummary(
                name=name,
                samples=sum(event.ok for event in later),
                failed=sum(not event.ok for event in later),
                min=whole.get("min"),
                max=whole.get("max"),
                mean=whole.get("mean"),
                last=whole.get("last"),
                by_phase=by_phase,
            )
        )
    return tuple(found)


def _summary(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "max": max(values), "mean": sum(values) / len(values), "last": values[-1]}
