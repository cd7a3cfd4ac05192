"""Objectives judged: met when the whole interval is within the limit, missed when none of it is, else unknown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from harness.history.history import History
from harness.judge.observe import Case, Observation, latency_in, observe, share_in, status_of
from harness.judge.trust import Trust
from harness.measure.good import measured_span, steady_span
from harness.model.experiment import CheckSpec, StatedPredicate
from harness.model.predicate import MeasureRef, Predicate, words_of
from harness.model.result import CheckResult, ObjectiveResult
from harness.model.verdict import CheckVerdict, Status
from harness.units import format_bounds, format_duration

__all__ = ["after_span", "objectives", "observed_words", "steady_status"]

STEADY_AFTER = "steady_state.after"


def objectives(case: Case, trust: Trust) -> tuple[ObjectiveResult, ...]:
    """Every objective: stated ones, each declared check, faults that must not be felt, the steady state afterwards.

    What `trust` doubts is unknown; data checks, probes and alerts do not rest on the load's pace.
    """
    experiment = case.plan.experiment
    found = [_stated(case, stated, trust) for stated in experiment.objectives]
    found += [_checked(spec, case.checks) for spec in experiment.checks]
    found += [
        _unfelt(case, entry, trust) for entry in dict.fromkeys(f.entry for f in case.plan.faults if f.expect_no_impact)
    ]
    named = any(stated.predicate.measure.name == STEADY_AFTER for stated in experiment.objectives)
    if experiment.steady_state.after and experiment.steady_state.require and not named:
        found.append(_steady_after(case, trust))
    return tuple(found)


def _stated(case: Case, stated: StatedPredicate, trust: Trust) -> ObjectiveResult:
    predicate = stated.predicate
    if predicate.measure.name == STEADY_AFTER:
        return _steady_after(case, trust).model_copy(
            update={"text": str(predicate), "file": stated.file, "line": stated.line}
        )
    seen = observe(case, predicate.measure, predicate.unit)
    status, why = status_of(predicate, seen.lo, seen.hi), seen.why
    from_check = any(check.name == predicate.measure.name.rpartition(".")[0] for check in case.checks)
    of_data = from_check or predicate.measure.name.startswith(("data_loss", "probe.", "alert."))
    doubt = "" if of_data else trust.doubt(predicate, lambda of: observe(of, predicate.measure, predicate.unit))
    if doubt:
        status, why = Status.UNKNOWN, doubt
    elif status is Status.MET and _ended_by_us(case, seen):
        status, why = Status.UNKNOWN, "the fault ended before the limit did"
    elif status is Status.MET and (floor_ns := _below_the_floor(case, predicate, seen)):
        least = format_duration(floor_ns)
        status, why = Status.UNKNOWN, f"below the noise floor: only outages of {least} are sure to be seen at this load"
    elif status is Status.UNKNOWN and not why:
        why = "the limit lies inside the observed interval"
    infinite = seen.hi is not None and math.isinf(seen.hi)
    return ObjectiveResult(
        text=str(predicate),
        measure=str(predicate.measure),
        status=status,
        limit=f"{predicate.op} {words_of(predicate.value, predicate.unit)}",
        observed=observed_words(seen, predicate),
        lo=seen.lo,
        hi=None if infinite else seen.hi,
        margin_ratio=_margin(predicate, seen),
        evidence=seen.evidence,
        why=why,
        file=stated.file,
        line=stated.line,
    )


def _ended_by_us(case: Case, seen: Observation) -> bool:
    """Whether recovery within the limit proves nothing, because our own revert may have brought it."""
    if seen.recovery is None or seen.recovery.recovered_by not in ("revert", "unclear"):
        return False
    from_fault = seen.recovery.from_fault
    return not any(fault.id == from_fault and fault.ends_itself for fault in case.plan.faults)


def _below_the_floor(case: Case, predicate: Predicate, seen: Observation) -> int | None:
    """The shortest outage that is sure to be seen, where "no breach" cannot tell one beyond the limit from none; else None.

    A limit of 0 asks for no breach, and no more.
    """
    floor_ns = case.measures.smallest_outage_ns
    by_users = seen.recovery is not None and not predicate.measure.name.endswith(".prober")
    if not by_users or seen.recovery is None or seen.recovery.state != "none" or floor_ns is None:
        return None
    return floor_ns if 0 < predicate.value < floor_ns else None


def observed_words(seen: Observation, predicate: Predicate) -> str:
    """What was seen, as a person would say it; the bounds of a time rounded outward."""
    if seen.lo is None or seen.hi is None:
        return "unknown"
    if seen.recovery is not None and seen.recovery.state == "none":
        return "0 s, masked: latency or retries moved" if seen.recovery.masked else "0 s, no breach"
    if math.isinf(seen.hi):
        return (
            f"> {words_of(seen.lo, predicate.unit)}"
            if seen.recovery or predicate.unit == "ns"
            else f"at least {words_of(seen.lo, predicate.unit)}"
        )
    low, high = words_of(seen.lo, predicate.unit), words_of(seen.hi, predicate.unit)
    if low != high and predicate.unit == "ns":
        low, high, unit = format_bounds(math.floor(seen.lo), math.ceil(seen.hi), round(predicate.value))
        return f"{low} to {high} {unit}".rstrip()
    return high if low == high else f"{low} to {high}"


def _margin(predicate: Predicate, seen: Observation) -> float | None:
    """Room to the limit as a share of it (of the rest to 1 for a lower limit on a ratio); negative: missed by so much."""
    if seen.lo is None or seen.hi is None or predicate.op in ("=", "!="):
        return None
    value, upper = predicate.value, predicate.op in ("<=", "<")
    scale = 1 - value if predicate.unit == "ratio" and not upper else value
    if scale <= 0 or seen.lo < value < seen.hi:
        return None
    room = (
        value - (seen.hi if seen.hi <= value else seen.lo)
        if upper
        else (seen.lo if seen.lo >= value else seen.hi) - value
    )
    return None if math.isinf(room) else room / scale


def _checked(spec: CheckSpec, results: Iterable[CheckResult]) -> ObjectiveResult:
    """A declared check as an objective; unknown when it gave no result."""
    result = next((result for result in results if result.name == spec.name), None)
    verdicts = {
        CheckVerdict.VALID: Status.MET,
        CheckVerdict.INVALID: Status.MISSED,
        CheckVerdict.UNKNOWN: Status.UNKNOWN,
    }
    if result is None:
        return ObjectiveResult(
            text=spec.name,
            measure=spec.name,
            status=Status.UNKNOWN,
            limit="holds",
            observed="no result",
            why="the check was not made",
            kind="check",
        )
    return ObjectiveResult(
        text=spec.name,
        measure=spec.name,
        status=verdicts[result.verdict],
        limit="holds",
        observed=result.sentence,
        evidence=result.evidence[:12],
        why=result.why_unknown or "",
        kind="check",
    )


def _unfelt(case: Case, entry: str, trust: Trust) -> ObjectiveResult:
    """`expect: no-impact`: nothing that a client sees may be caused by this fault."""
    caused = _caused_by(case, entry)
    status = Status.MISSED if caused else Status.UNKNOWN if case.measures.recovery.state == "unknown" else Status.MET
    why = case.measures.recovery.why if status is Status.UNKNOWN else ""
    doubt = trust.doubt_of_disruptions(lambda of: bool(_caused_by(of, entry)))
    if doubt:
        status, why = Status.UNKNOWN, doubt
    return ObjectiveResult(
        text=f"{entry}: no impact",
        measure=f"{entry}.impact",
        status=status,
        limit="no disruption",
        observed=f"{caused} disruption(s)" if caused else "none",
        why=why,
    )


def _caused_by(case: Case, entry: str) -> int:
    return sum(disruption.incident == entry for disruption in case.measures.disruptions)


def after_span(history: History, case: Case) -> tuple[int, int] | None:
    """The last stretch of load, as long as the steady state was; None when load did not outlast the faults by that."""
    graded = case.graded
    heal = history.phase("heal") or history.phase("settle") or history.phase("observe")
    if not len(graded) or heal is None:
        return None
    end = measured_span(history)[1] or int(graded.intended_ns[-1]) + 1
    begin = end - case.plan.experiment.steady_state.for_ns
    return (max(begin, heal[0]), end) if end > heal[0] else None


def steady_status(case: Case, span: tuple[int, int] | None) -> tuple[Status, str]:
    """Whether the steady state's rules held over a span of time, and which did not, with what was observed."""
    if span is None:
        return Status.UNKNOWN, "no load in that time"
    if span == steady_span(case.history):
        case = replace(case, until_ns=span[1])  # what was under way at T0 may have met the fault
    missed, unknown = [], []
    for rule in case.plan.experiment.steady_state.require:
        seen = _in_span(case, rule, span)
        status = status_of(rule, seen.lo, seen.hi)
        if status is Status.MISSED:
            missed.append(f"{rule} (observed {observed_words(seen, rule)})")
        elif status is Status.UNKNOWN:
            unknown.append(f"{rule}: {seen.why or 'the limit lies inside the observed interval'}")
    if missed:
        return Status.MISSED, "; ".join(missed)
    return (Status.UNKNOWN, "; ".join(unknown)) if unknown else (Status.MET, "")


def _in_span(case: Case, rule: Predicate, span: tuple[int, int]) -> Observation:
    ref: MeasureRef = rule.measure
    head = ref.name.split(".")[0]
    try:
        if head in ("latency", "ttft"):
            return latency_in(case, ref, span)
        if head in ("good", "bad", "valid", "availability", "mid_stream", "attempts"):
            return share_in(case, ref, rule.unit, span)
        if head == "probe":
            phase = "steady" if span == steady_span(case.history) else "settle"
            return observe(case, MeasureRef(name=ref.name, where={**ref.where, "phase": phase}), rule.unit)
    except (KeyError, ValueError) as exc:
        return Observation(why=str(exc))
    return observe(case, ref, rule.unit)


def _steady_after(case: Case, trust: Trust) -> ObjectiveResult:
    span = after_span(case.history, case)
    status, why = steady_status(case, span)
    if span is not None:
        rules = case.plan.experiment.steady_state.require
        doubts = [trust.doubt(rule, lambda of, rule=rule: _in_span(of, rule, span), span) for rule in rules]  # type: ignore[misc]
        if any(doubts):
            status, why = Status.UNKNOWN, next(doubt for doubt in doubts if doubt)
    return ObjectiveResult(
        text="steady state holds again",
        measure=STEADY_AFTER,
        status=status,
        limit="; ".join(str(rule) for rule in case.plan.experiment.steady_state.require),
        observed={Status.MET: "held", Status.MISSED: why}.get(status, "unknown"),
        why=why if status is not Status.MET else "",
    )
