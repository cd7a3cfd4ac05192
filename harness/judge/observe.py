"""What was observed of any measure that a predicate may name, as an interval in the predicate's unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.history.history import History
from harness.measure.facts import edges, fault_results, first_effect
from harness.measure.good import Bools, Graded, counts, grade, known_by, unplaced
from harness.measure.latency import calm_ops, latency_values, percentile
from harness.measure.live import quantile_of
from harness.measure.slices import slice_measures
from harness.model.measured import Loss, Measures, Recovery, SliceMeasures
from harness.model.plan import Plan
from harness.model.predicate import MeasureRef, Predicate, Unit
from harness.model.result import CheckResult, EvidenceRow
from harness.model.verdict import CheckVerdict, Status
from harness.units import format_duration

__all__ = ["Case", "Observation", "latency_in", "observe", "share_in", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A measure's value lies in [lo, hi]; hi may be infinite. Both None: nothing is known, and `why` says why."""

    lo: float | None = None
    hi: float | None = None
    why: str = ""
    recovery: Recovery | None = None
    evidence: tuple[EvidenceRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """All that is judged, with what is computed on the way kept.

    `until_ns`: only ops that had shown by then how they end are in `graded`; None: all of them are.
    """

    history: History
    plan: Plan
    measures: Measures
    checks: tuple[CheckResult, ...]
    until_ns: int | None = None

    @cached_property
    def graded(self) -> Graded:
        """The load's measured ops."""
        graded = grade(self.history, self.plan)
        if self.until_ns is None:
            return graded
        experiment = self.plan.experiment
        return graded.pick(known_by(graded, self.until_ns, experiment.slos, experiment.load.timeout_ns))

    @cached_property
    def effect_ns(self) -> int | None:
        """The earliest effect of the first inject."""
        first = first_effect(edges(self.history, self.plan, fault_results(self.history, self.plan)))
        return first.lo_ns if first else None


def status_of(predicate: Predicate, lo: float | None, hi: float | None) -> Status:
    """Where an interval stands to a limit. Unknown without one. Source: DESIGN.md §11."""
    if lo is None or hi is None:
        return Status.UNKNOWN
    if predicate.op in ("=", "!="):
        equal = lo == hi == predicate.value
        apart = not lo <= predicate.value <= hi
        met, missed = (equal, apart) if predicate.op == "=" else (apart, equal)
    else:
        met = predicate.holds(lo) and predicate.holds(hi)
        missed = not predicate.holds(lo) and not predicate.holds(hi)
    return Status.MET if met else Status.MISSED if missed else Status.UNKNOWN


def observe(case: Case, ref: MeasureRef, unit: Unit) -> Observation:
    """What was observed of a measure. Never raises: a name nobody knows is an unknown that says so."""
    head, _, rest = ref.name.partition(".")
    try:
        if any(check.name == ref.name.rpartition(".")[0] for check in case.checks):
            return _check_count(case, ref.name)
        match head:
            case "good" | "bad" | "valid" | "availability" | "mid_stream" | "attempts":
                return share_in(case, ref, unit, None)
            case "recovery_time":
                return _recovery(case, rest, ref.where)
            case "data_loss":
                return _loss(case, rest, ref.where)
            case "latency" | "ttft":
                return _latency(case, ref, None)
            case "budget" | "burn":
                return _budget(case, head, rest, ref.where)
            case "probe":
                return _probe(case, rest, ref.where)
            case "alert":
                return _alert(case, rest)
            case _:
                return _instant(case, head, ref.where)
    except (KeyError, ValueError) as exc:
        return Observation(why=f"{ref} cannot be measured here: {exc}")


def _point(value: float | None, why: str) -> Observation:
    return Observation(why=why) if value is None else Observation(lo=float(value), hi=float(value))


def share_in(case: Case, ref: MeasureRef, unit: Unit, span: tuple[int, int | None] | None) -> Observation:
    """A count or a share of the ops of a slice, of those due in a span of time (None: all that are measured)."""
    where = {column: text for column, text in ref.where.items() if column != "phase"}
    part, elsewhere = case.graded.slice_(where), case.graded.pick(unplaced(case.graded, where))
    if "phase" in ref.where:
        span = case.history.phase(ref.where["phase"])  # type: ignore[arg-type]
        if span is None:
            return Observation(why=f"the run had no phase {ref.where['phase']!r}")
    if span is not None:
        part, elsewhere = part.pick(part.due(*span)), elsewhere.pick(elsewhere.due(*span))
    found, unknown = counts(part), len(elsewhere)
    if ref.name == "attempts":
        attempts = part.ops.ints("attempts")[part.valid]
        return _point(float(attempts.mean()) if len(attempts) and not unknown else None, _unplaced(unknown) or "no ops")
    if unit == "count" or unit == "number":
        exact = {"good": found.good, "bad": found.bad, "valid": found.valid, "mid_stream": found.mid_stream}
        count = exact.get(ref.name)
        if not found.offered or count is None:
            return Observation(why="a share, not a count" if found.offered else "no ops")
        more = (
            0
            if ref.name == "good"
            else int(np.count_nonzero(elsewhere.ops.flags("broken")))
            if ref.name == "mid_stream"
            else unknown
        )
        return Observation(lo=float(count), hi=float(count + more), why=_unplaced(more))
    if found.valid == 0:
        return Observation(why="no valid ops")
    lo, hi = found.good / (found.valid + found.dropped + unknown), found.good / found.valid
    match ref.name:
        case "bad":
            return Observation(lo=1 - hi, hi=1 - lo, why=_unplaced(unknown))
        case "mid_stream":
            return _point(found.mid_stream / found.valid, "")
        case "valid":
            return _point(found.valid / found.offered, "")
        case _:
            return Observation(lo=lo, hi=hi, why=_unplaced(unknown))


def _unplaced(unknown: int) -> str:
    return f"{unknown} operations that were not served do not say whether they belong to it" if unknown else ""


def _part(case: Case, where: Mapping[str, str]) -> SliceMeasures:
    known = next((part for part in case.measures.slices if part.slice == dict(where)), None)
    return known or slice_measures(case.history, case.plan, where)


def _recovery(case: Case, which: str, where: Mapping[str, str]) -> Observation:
    measures = case.measures
    if where:
        part = _part(case, where)
        found = {"": part.recovery, "return": part.recovery_return}[which] or part.recovery
    else:
        found = {
            "": measures.recovery,
            "return": measures.recovery_return,
            "prober": measures.recovery_prober,
        }[which]
    if found.state == "unknown" or found.interval is None:
        return Observation(why=found.why or "recovery is not known", recovery=found)
    hi = math.inf if found.interval.hi_ns is None else float(found.interval.hi_ns)
    evidence = _ops_of(case, found) if not where else ()
    return Observation(lo=float(found.interval.lo_ns), hi=hi, why=found.why, recovery=found, evidence=evidence)


def _ops_of(case: Case, recovery: Recovery) -> tuple[EvidenceRow, ...]:
    graded = case.graded
    ids = graded.ops.ints("op")
    rows = []
    for op, text in ((recovery.last_bad_op, "last bad op"), (recovery.first_good_op, "first good op after it")):
        if op is None:
            continue
        for place in (ids == op).nonzero()[0].tolist():
            at_ns = int(graded.intended_ns[place])
            took = format_duration(int(graded.latency_ns[place]))
            rows.append(EvidenceRow(op=op, text=f"{text}: due at {at_ns / 1e9:.3f} s, took {took}", at_ns=at_ns))
    return tuple(rows)


def _loss(case: Case, which: str, where: Mapping[str, str]) -> Observation:
    found: Loss | None = case.measures.loss
    if where:
        found = _part(case, where).loss
    if found is None or not found.known or found.lost is None:
        return Observation(why=(found.why if found else "") or "loss is not known")
    value = {"": found.lost, "share": found.share_ratio, "span": found.span_ns, "until": found.until_ns}[which]
    if value is None:
        return Observation(why="nothing was injected to count from")
    if found.why:  # something could not be read: what is known to be lost is a lower bound
        return Observation(lo=float(value), hi=math.inf, why=found.why)
    return Observation(lo=float(value), hi=float(value))


def _latency(case: Case, ref: MeasureRef, span: tuple[int, int | None] | None) -> Observation:
    kind, _, rest = ref.name.partition(".")
    everything = rest.endswith(".all")
    quantile = rest.removesuffix(".all")
    graded = case.graded
    mask: Bools = graded.ops.slice_({column: text for column, text in ref.where.items() if column != "phase"})
    if "phase" in ref.where:
        span = case.history.phase(ref.where["phase"])  # type: ignore[arg-type]
        if span is None:
            return Observation(why=f"the run had no phase {ref.where['phase']!r}")
    if span is not None:
        mask = mask & graded.due(*span)
    elif not everything:
        mask = mask & calm_ops(graded, case.measures.disruptions)
    values = latency_values(graded, kind, mask)
    return _point(percentile(values, quantile_of(quantile)), f"{len(values)} ops: no percentile from under 20")


def latency_in(case: Case, ref: MeasureRef, span: tuple[int, int | None]) -> Observation:
    """A percentile of the ops due in a span of time."""
    return _latency(case, ref, span)


def _budget(case: Case, which: str, slo: str, where: Mapping[str, str]) -> Observation:
    part = _part(case, where) if where else None
    if part is not None and part.unplaced:
        return Observation(why=_unplaced(part.unplaced))
    cost = next((cost for cost in (part or case.measures).budgets if cost.slo == slo), None)
    if cost is None or cost.valid == 0:
        return Observation(why=f"no ops under an SLO {slo!r} with a budget")
    return _point(cost.cost_share_ratio if which == "budget" else cost.burn_rate, "no ops")


def _probe(case: Case, rest: str, where: Mapping[str, str]) -> Observation:
    name, _, statistic = rest.rpartition(".")
    probe = next((probe for probe in case.measures.probes if probe.name == name), None)
    if probe is None:
        return Observation(why=f"no sample of probe {name!r}")
    if "phase" in where:
        return _point(probe.by_phase.get(where["phase"], {}).get(statistic), f"no sample in phase {where['phase']!r}")
    return _point({"min": probe.min, "max": probe.max, "mean": probe.mean, "last": probe.last}[statistic], "no sample")


def _alert(case: Case, rest: str) -> Observation:
    name, _, what = rest.rpartition(".")
    row = next((row for row in case.measures.alerts if row.name == name), None)
    if row is None:
        return Observation(why=f"alert {name!r} was not received")
    span, why = {"fires": row.fires, "clears": row.clears}[what], row.why.get(what, "")
    if span is None:
        return Observation(why=why.removeprefix("unknown: "))
    return Observation(lo=float(span.lo_ns), hi=math.inf if span.hi_ns is None else float(span.hi_ns), why=why)


def _instant(case: Case, name: str, where: Mapping[str, str]) -> Observation:
    part = _part(case, where) if where else None
    instants = case.measures.instants if part is None else part.instants
    if instants is None:
        return Observation(why=_unplaced(part.unplaced if part else 0))
    known = {
        "gap": instants.gap_ns,
        "first_success": instants.first_success_ns,
        "last_error_seen": instants.last_error_seen_ns,
        "detection": instants.detection_ns,
        "failover": instants.failover_ns,
        "failback": instants.failback_ns,
    }
    if name not in known:
        return Observation(why=f"no measure or check named {name!r} in this run")
    return _point(known[name], instants.why.get(name, "nothing was injected to count from"))


def _check_count(case: Case, name: str) -> Observation:
    check_name, _, count = name.rpartition(".")
    check = next(check for check in case.checks if check.name == check_name)
    value = check.counts.get(count)
    if value is None:
        return Observation(why=check.why_unknown or f"check {check_name!r} counted no {count!r}")
    if check.verdict is CheckVerdict.UNKNOWN:  # what it found stands; what it did not see may be more
        return Observation(lo=float(value), hi=math.inf, why=check.why_unknown or check.sentence)
    return Observation(lo=float(value), hi=float(value), evidence=check.evidence[:12])
