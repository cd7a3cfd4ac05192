"""A run judged: objectives, measures and checks in, one result with its verdict and every reason out. Pure.

Nothing is PASS by default: a gap in the record, in the load or in the witness is a reason against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.history.events import AbortEvent, NoteEvent, of_type
from harness.history.history import History
from harness.judge.objectives import after_span, objectives, steady_status
from harness.judge.observe import Case, status_of
from harness.judge.reasons import reasons, validity
from harness.judge.trust import Trust
from harness.judge.words import banners, findings, not_shown, sentence
from harness.measure.exposure import exposure
from harness.measure.facts import fault_results, marks, phase_spans, step_results, t0_ns
from harness.measure.good import steady_span
from harness.measure.series import series
from harness.model.measured import Measures
from harness.model.plan import Plan
from harness.model.result import (
    Audited,
    CheckResult,
    Exposure,
    FaultResult,
    Provenance,
    Result,
    RunFacts,
    Safety,
    zero_of,
)
from harness.model.verdict import EXIT_CODES, CheckVerdict, Verdict, worst

__all__ = ["Inputs", "judge", "matches_expectation", "run_facts", "safety_of", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a verdict also rests on, from outside the history: which run it was and what the undo journal says.

    None: as the run's own events say.
    """

    run: RunFacts | None = None
    safety: Safety | None = None


def judge(
    history: History, plan: Plan, measures: Measures, checks: tuple[CheckResult, ...], inputs: Inputs | None = None
) -> Result:
    """The result of a run. Never raises for what a history holds or lacks; an incomplete one is never a PASS."""
    given = inputs or Inputs()
    case = Case(history=history, plan=plan, measures=measures, checks=checks)
    before, after = steady_status(case, steady_span(history)), steady_status(case, after_span(history, case))
    known = validity(case, (before[0], after[0]))
    trust = Trust(case=case, late_ns=None if known.closed_loop else known.late_p99_ns)
    judged = objectives(case, trust)
    faults = tuple(_exposed(case, fault) for fault in fault_results(history, plan))
    steps = step_results(history, plan)
    zero = zero_of(measures.recovery, faults)
    why = reasons(case, judged, (faults, steps), known, given.safety or Safety())
    verdict = worst(reason.verdict for reason in why) if why else Verdict.PASS
    return Result(
        run=given.run or run_facts(history, plan),
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        sentence=sentence(case, verdict, why, judged),
        reasons=why,
        objectives=judged,
        checks=checks,
        measures=measures,
        faults=faults,
        steps=steps,
        phases=phase_spans(history),
        marks=marks(history.events),
        series=series(history, plan, 0 if zero is None else zero[0]),
        validity=known,
        safety=given.safety or safety_of(history, faults),
        findings=findings(case, judged, why, known),
        not_shown=not_shown(case),
        t0_ns=t0_ns(history),
    )


def _exposed(case: Case, fault: FaultResult) -> FaultResult:
    """The fault with its exposure. Where nothing in the record can tell, a disruption that it caused is proof enough."""
    planned = next(planned for planned in case.plan.faults if planned.id == fault.id)
    found = exposure(case.history, case.plan, planned, case.graded, fault.effect)
    if found is not None and found.met is None:
        felt = any(d.cause == fault.id and d.edge == "inject" for d in case.measures.disruptions)
        if felt:
            found = Exposure(good=None, needed=found.needed, met=True, how="by its effect: it disrupted the load")
    return fault.model_copy(update={"exposure": found})


def safety_of(history: History, faults: tuple[FaultResult, ...]) -> Safety:
    """What the run's events prove about putting things back: faults applied, reverted, verified, and what was left."""
    applied = [fault for fault in faults if fault.effect is not None]
    audit: dict[str, Any] = next((note.data for note in of_type(history.events, NoteEvent) if note.code == "audit"), {})
    dirty = [note for note in of_type(history.events, NoteEvent) if note.level == "dirty"]
    return Safety(
        journaled=len(applied),
        reverted=sum(fault.reverted for fault in applied),
        verified=sum(fault.verified for fault in applied),
        unresolved=tuple(fault.id for fault in applied if not fault.verified),
        residue=tuple(note.text for note in dirty if note.code == "residue"),
        commands=tuple(str(line) for note in dirty for line in note.data.get("commands", ())),
        audited=tuple(Audited(**row) for row in audit.get("sources", ())),
        changed=tuple(str(one["what"]) for one in audit.get("changes", ()) if not one["ours"]),
        reaper="acted" if any(isinstance(e, AbortEvent) and e.by == "reaper" for e in history.events) else "not needed",
    )


def run_facts(history: History, plan: Plan) -> RunFacts:
    """Which run this was, as its events and its plan say."""
    experiment = plan.experiment
    run = history.run
    arrival = experiment.load.arrival
    rate = (
        f"{arrival.rate_per_s:g}/s {arrival.shape}" if arrival.rate_per_s is not None else "by stages, trace or users"
    )
    return RunFacts(
        run_id=run.run_id if run else "unknown",
        name=experiment.name,
        title=experiment.title,
        hypothesis=experiment.hypothesis,
        owner=experiment.owner,
        tags=experiment.tags,
        stack=experiment.stack.name,
        environment=experiment.stack.environment,
        started_utc=run.wall_utc if run else datetime.fromtimestamp(0, UTC).isoformat(),
        duration_ns=max((event.at_ns for event in history.events), default=0),
        seed=run.seed if run else experiment.seed,
        plan_hash=run.plan_hash if run else plan.hash,
        version=run.version if run else "unknown",
        profile=experiment.load.profile,
        load=rate,
        source=experiment.source,
        banners=banners(history),
        provenance=_provenance(history),
    )


def _provenance(history: History) -> Provenance | None:
    for note in of_type(history.events, NoteEvent):
        if note.code == "subject":
            return Provenance(**{name: note.data.get(name) for name in Provenance.model_fields})
    return None


def matches_expectation(result: Result, expected: str) -> bool:
    """Whether a run came to exactly what was expected: "FAIL", or "FAIL:durable" with the cause among its own reasons.

    The cause is a reason's code, an objective's measure, or the name or kind of an invalid check. Raises ValueError for a
    verdict that there is not.
    """
    name, _, cause = expected.partition(":")
    if result.verdict is not Verdict(name.strip().upper()):
        return False
    if not cause:
        return True
    named = {reason.code for reason in result.reasons if reason.verdict is result.verdict}
    invalid = [check for check in result.checks if check.verdict is CheckVerdict.INVALID]
    if result.verdict is Verdict.FAIL:
        named |= {check.name for check in invalid} | {check.kind for check in invalid}
    return cause.strip() in named
