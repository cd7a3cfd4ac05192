"""What a result says in words: the one sentence, findings, and what the run does not show."""

from __future__ import annotations

from collections.abc import Sequence

from harness.history.events import NoteEvent, of_type
from harness.history.history import History
from harness.judge.observe import Case
from harness.model.measured import Measures
from harness.model.result import Finding, ObjectiveResult, Reason, Validity
from harness.model.verdict import CheckVerdict, Status, Verdict
from harness.units import format_bounds, format_duration, format_ratio, parse_duration

__all__ = ["banners", "findings", "not_shown", "sentence"]

THIN_MARGIN = 0.2
_OPENINGS = {
    Verdict.INCONCLUSIVE: "nothing is proven",
    Verdict.REFUSED: "not run",
    Verdict.ABORTED: "cut short",
    Verdict.ERROR: "void",
    Verdict.DIRTY: "not proven to be put back",
}


def sentence(case: Case, verdict: Verdict, reasons: Sequence[Reason], objectives: Sequence[ObjectiveResult]) -> str:
    """The one sentence for managers."""
    title = case.plan.experiment.title or case.plan.experiment.name
    if verdict in _OPENINGS:
        first = next((reason.text for reason in reasons if reason.verdict is verdict), "")
        first = first.split("\n")[0].split("; ")[0].rstrip(" .:")  # the rest is among the reasons
        return f"{title}: {_OPENINGS[verdict]}{f': {first}' if first else ''}."
    parts = [part for part in (_recovery_words(case.measures, objectives), _loss_words(case)) if part]
    missed = [objective for objective in objectives if objective.status is Status.MISSED]
    said = {"recovery_time", "data_loss"}
    if case.measures.loss.lost:
        said.add("durable")  # the check that found it
    more = [objective.text for objective in missed if objective.measure not in said]
    if more:
        parts.append(f"{more[0]} failed" + (f", and {len(more) - 1} more" if len(more) > 1 else ""))
    return f"{title}: {', and '.join(parts) if parts else 'every objective was met'}."


def _recovery_words(measures: Measures, objectives: Sequence[ObjectiveResult]) -> str:
    recovery = measures.recovery
    limit = next((objective for objective in objectives if objective.measure == "recovery_time"), None)
    bound = f" (limit {limit.limit.lstrip('<= ')})" if limit else ""
    if recovery.state == "none":
        if recovery.masked:
            return "clients noticed slower answers, not an outage"
        bad, valid = measures.counts.bad, measures.counts.valid
        return (
            f"{bad:,} of {valid:,} requests failed, too few to tell an outage from chance"
            if bad
            else "clients noticed nothing"
        )
    if recovery.interval is None:
        return ""
    if recovery.interval.hi_ns is None:
        return f"service was not back after {format_duration(recovery.interval.lo_ns)}{bound}"
    if recovery.interval.lo_ns == recovery.interval.hi_ns:
        return f"service was back in {format_duration(recovery.interval.hi_ns)}{bound}"
    stated = None if limit is None else _limit_ns(limit.limit)
    _, high, unit = format_bounds(recovery.interval.lo_ns, recovery.interval.hi_ns, stated)
    return f"service was back in at most {f'{high} {unit}'.rstrip()}{bound}"


def _limit_ns(text: str) -> int | None:
    try:
        return parse_duration(text.lstrip("<= "))
    except ValueError:
        return None


def _loss_words(case: Case) -> str:
    loss = case.measures.loss
    invalid = [check.name for check in case.checks if check.verdict is CheckVerdict.INVALID]
    if loss.known and loss.lost:
        return f"{loss.lost:,} of {loss.acknowledged:,} acknowledged writes were lost"
    if loss.known and not invalid:
        return "nothing was lost"
    return ""


def findings(
    case: Case, objectives: Sequence[ObjectiveResult], reasons: Sequence[Reason], known: Validity
) -> tuple[Finding, ...]:
    """What to act on or to know, gravest first."""
    measures = case.measures
    found = [Finding(severity="high", text=banner) for banner in banners(case.history)]
    found += [
        Finding(severity="high", text=reason.text) for reason in reasons if reason.verdict is not Verdict.INCONCLUSIVE
    ]
    found += [
        Finding(severity="medium", text=reason.text) for reason in reasons if reason.verdict is Verdict.INCONCLUSIVE
    ]
    for objective in objectives:
        if (
            objective.status is Status.MET
            and objective.margin_ratio is not None
            and objective.margin_ratio < THIN_MARGIN
        ):
            text = f"{objective.text}: met with {format_ratio(max(0.0, objective.margin_ratio))} to spare ({objective.observed})"
            found.append(Finding(severity="medium", text=text))
    found += [
        Finding(severity="low", text=note.text)
        for note in of_type(case.history.events, NoteEvent)
        if note.code == "wall-clock"
    ]
    back = measures.recovery_return
    if back.state == "recovered" and back.interval is not None and back.interval.hi_ns is not None:
        text = f"putting the fault back disrupted service a second time, for {format_duration(back.interval.hi_ns)}"
        found.append(Finding(severity="medium", text=text))
    if measures.recovery.recovered_by in ("revert", "unclear"):
        found.append(
            Finding(severity="medium", text="nothing shows that the stack recovers before the fault is put back")
        )
    if measures.recovery.masked:
        found.append(
            Finding(severity="low", text="no outage, but answers slowed down or were retried: the fault was masked")
        )
    stray = measures.counts.bad - sum(disruption.bad for disruption in measures.disruptions)
    if stray > 0:
        found.append(
            Finding(severity="low", text=f"{stray} bad requests outside every disruption, too few for the rule")
        )
    if not case.plan.faults and measures.disruptions:
        found.append(
            Finding(severity="high", text=f"{len(measures.disruptions)} disruption(s) though nothing was broken")
        )
    if not known.closed_loop and known.late_p99_ns is not None and known.late_p99_ns > (known.resolution_ns or 0):
        late = f"the load was started late (p99 {format_duration(known.late_p99_ns)})"
        found.append(Finding(severity="low", text=f"{late}: only objectives that stand all the same were decided"))
    if known.closed_loop:
        found.append(
            Finding(
                severity="medium",
                text="closed loop: a slow stack slows the load, and harm is understated; Impact shows when nothing was asked",
            )
        )
    if measures.recovery.recovered_by == "stack":
        found.append(Finding(severity="strength", text="the stack recovered by itself, before the fault was put back"))
    order = ("high", "medium", "low", "strength")
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.severity)))


def banners(history: History) -> tuple[str, ...]:
    """What must stand above every report of this run: that a defect was switched on, on purpose."""
    return tuple(note.text for note in of_type(history.events, NoteEvent) if note.code == "mutant")


def not_shown(case: Case) -> tuple[str, ...]:
    """What this run does not show, whatever its verdict."""
    found = ["One run is one sample: repeat it before you rely on its times."]
    traffic = case.plan.experiment.traffic
    if traffic is None:
        found.append("The load is synthetic and no production traffic was declared: budget figures are notional.")
    else:
        found.append(f"The load is synthetic; budget figures are projected to {traffic.source}.")
    if case.plan.experiment.stack.environment in ("local", "test"):
        found.append(f"The stack ran in {case.plan.experiment.stack.environment!r}, not in production.")
    if any(fault.kind == "kill" and fault.params.get("mode") != "power" for fault in case.plan.faults):
        found.append(
            "A killed process is not a power cut: what the kernel had buffered survived, so that an acknowledgement before"
            " its fsync would go unseen (a kill in power mode shows it)."
        )
    if any(fault.kind == "kill" and fault.params.get("mode") == "power" for fault in case.plan.faults):
        found.append(
            "The power was cut on file systems of the run's own: what disks do with their own caches is not shown."
        )
    smallest = case.measures.smallest_outage_ns
    if smallest is not None:
        found.append(f"Full outages shorter than {format_duration(smallest)} may go unseen at this load.")
    loss = case.measures.loss
    if loss.known and loss.lost == 0 and loss.bound_ratio is not None:
        share = format_ratio(loss.bound_ratio)
        found.append(f"0 of {loss.acknowledged:,} lost means: below {share} at 95 % confidence, for this kind of load.")
    if not loss.known:
        found.append(f"Whether data was lost: {loss.why}.")
    return tuple(found)
