"""Why a run is not a PASS: every reason with its verdict. No reason at all is a PASS, and needs positive proof first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.history.events import AbortEvent, FaultEvent, NoteEvent, PhaseEvent, of_type
from harness.history.history import History
from harness.judge.objectives import steady_status
from harness.judge.observe import Case
from harness.judge.trust import finest_resolution_ns, is_doubt
from harness.measure.facts import clock_error_ns, is_sealed, load_report
from harness.measure.good import steady_span
from harness.model.ports import LoadReport
from harness.model.result import FaultResult, ObjectiveResult, Reason, Safety, StepResult, Validity
from harness.model.verdict import Status, Verdict

__all__ = ["reasons", "validity"]

NEEDED_PHASES = ("steady", "inject", "observe", "drain", "final")


def validity(case: Case, steady: tuple[Status, Status]) -> Validity:
    """Whether the instrument can be trusted. `steady`: the steady state before and after."""
    report = load_report(case.history)
    ops, graded = case.history.ops, case.graded
    dropped_rows = int(np.count_nonzero(ops.is_("outcome", "dropped")))
    workers = report.workers if report else ()
    started, ended = sum(w.started_count for w in workers), sum(w.ended_count for w in workers)
    late = graded.late_ns[~graded.ops.flags("later") & ~graded.dropped]
    gaps = [worker.gc_pause_max_ns for worker in workers if worker.gc_pause_max_ns is not None]
    delays = [worker.run_delay_ns for worker in workers if worker.run_delay_ns is not None]
    met = {Status.MET: True, Status.MISSED: False, Status.UNKNOWN: None}
    finals = ops.is_("phase", "final") & ops.is_("outcome", "ok")
    return Validity(
        started=started,
        ended=ended,
        accounted=report is not None
        and started == ended == len(ops) - dropped_rows
        and sum(worker.dropped_count for worker in workers) == dropped_rows,
        dropped=dropped_rows,
        late_p50_ns=_quantile(late, 0.5),
        late_p99_ns=_quantile(late, 0.99),
        late_max_ns=int(late.max()) if len(late) else None,
        resolution_ns=finest_resolution_ns(graded),
        workers=len(workers),
        dead_workers=sum(worker.exit_code != 0 for worker in workers),
        gc_pause_max_ns=max(gaps, default=None),
        run_delay_ns=max(delays, default=None),
        closed_loop=report.closed_loop if report else False,
        clock_error_ns=clock_error_ns(case.history),
        unread=report.unread[:100] if report else (),
        final_reads=int(np.count_nonzero(finals)),
        steady_state_met=met[steady[0]],
        steady_state_after=met[steady[1]],
    )


def _quantile(values: np.ndarray[tuple[int], np.dtype[np.int64]], quantile: float) -> int | None:
    return int(np.quantile(values, quantile, method="inverted_cdf")) if len(values) else None


def reasons(
    case: Case,
    objectives: Sequence[ObjectiveResult],
    facts: tuple[Sequence[FaultResult], Sequence[StepResult]],
    known: Validity,
    safety: Safety,
) -> tuple[Reason, ...]:
    """Every reason against a PASS, worst verdict first within DESIGN §11's order; empty: all was met and proven."""
    faults, steps = facts
    found = [*_unsafe(case, faults, safety), *_cut_short(case.history), *_incomplete(case.history)]
    over = any(reason.verdict in (Verdict.REFUSED, Verdict.ABORTED) for reason in found)
    injected = any(fault.effect for fault in faults)
    if injected or not any(reason.verdict is Verdict.REFUSED for reason in found):
        found += _judged(objectives)  # where nothing was broken, what a limit of the drill says was not put to the test
    if not over or injected:
        found += _unproven(case, faults, steps) + _instrument(case, known)
        found += [_because(Verdict.INCONCLUSIVE, "untrusted-load", o.why) for o in objectives if is_doubt(o.why)]
    if not objectives:
        found.append(_because(Verdict.INCONCLUSIVE, "no-objective", "nothing was stated that could be met"))
    order = (
        Verdict.DIRTY,
        Verdict.ERROR,
        Verdict.ABORTED,
        Verdict.FAIL,
        Verdict.REFUSED,
        Verdict.INCONCLUSIVE,
    )
    return tuple(sorted(dict.fromkeys(found), key=lambda reason: order.index(reason.verdict)))


def _because(verdict: Verdict, code: str, text: str) -> Reason:
    return Reason(verdict=verdict, code=code, text=text)


def _unsafe(case: Case, faults: Sequence[FaultResult], safety: Safety) -> list[Reason]:
    found = [
        _because(Verdict.DIRTY, note.code, note.text)
        for note in of_type(case.history.events, NoteEvent)
        if note.level == "dirty"
    ]
    found += [
        _because(Verdict.DIRTY, "unverified", f"{event.id} on {event.target}: {event.what}")
        for event in of_type(case.history.events, FaultEvent)
        if event.stage == "unverified"
    ]
    found += [_because(Verdict.DIRTY, "unresolved", text) for text in safety.unresolved]
    found += [_because(Verdict.DIRTY, "residue", text) for text in safety.residue]
    if is_sealed(case.history):
        for fault in faults:
            if fault.effect is not None and not fault.verified:
                found.append(
                    _because(Verdict.DIRTY, "not-reverted", f"{fault.id}: nothing proves that it was put back")
                )
    return found


def _cut_short(history: History) -> list[Reason]:
    found = []
    for event in of_type(history.events, AbortEvent):
        verdict = Verdict.ERROR if event.by == "error" else Verdict.ABORTED
        found.append(_because(verdict, f"abort-{event.by}", event.reason))
    for note in of_type(history.events, NoteEvent):
        if note.level == "refused":
            found.append(_because(Verdict.REFUSED, note.code, note.text))
        elif note.level == "unprovable":
            found.append(_because(Verdict.INCONCLUSIVE, note.code, note.text))
    return found


def _incomplete(history: History) -> list[Reason]:
    """Gaps in the record itself: then nothing can be proven from it."""
    if not is_sealed(history):
        last = next((event.phase for event in reversed(of_type(history.events, PhaseEvent))), None)
        where = "before its first phase" if last is None else f"in phase {last}"
        text = f"the run's own process ended {where}: the record was never sealed"
        return [_because(Verdict.ERROR, "incomplete", text)]
    events = history.events
    stopped = any(isinstance(event, AbortEvent) for event in events) or any(
        isinstance(event, NoteEvent) and event.level in ("refused", "unprovable") for event in events
    )
    if stopped:
        return []
    missing = [name for name in NEEDED_PHASES if history.phase(name) is None]  # type: ignore[arg-type]
    found = []
    if missing:
        found.append(_because(Verdict.ERROR, "incomplete", f"the record has no phase {', '.join(missing)}"))
    if load_report(history) is None:
        found.append(_because(Verdict.ERROR, "no-load-report", "the load left no account of itself"))
    return found


def _judged(objectives: Sequence[ObjectiveResult]) -> list[Reason]:
    found = []
    for objective in objectives:
        if objective.status is Status.MISSED:
            code = objective.measure
            text = f"{objective.text}: observed {objective.observed}"
            found.append(_because(Verdict.FAIL, code, text))
        elif objective.status is Status.UNKNOWN:
            why = objective.why or "unknown"
            found.append(_because(Verdict.INCONCLUSIVE, objective.measure, f"{objective.text}: {why}"))
    return found


def _unproven(case: Case, faults: Sequence[FaultResult], steps: Sequence[StepResult]) -> list[Reason]:
    found = []
    planned = {fault.id: fault for fault in case.plan.faults}
    for fault in faults:
        plan = planned[fault.id]
        if fault.effect is None:
            found.append(_because(Verdict.INCONCLUSIVE, "not-injected", f"{fault.id} was never applied"))
            continue
        if not fault.witnessed:
            what = f": {fault.error}" if fault.error else ""
            found.append(
                _because(Verdict.INCONCLUSIVE, "not-witnessed", f"{fault.id} was not seen to take effect{what}")
            )
        if fault.held is False and not (plan.ends_itself or plan.params.get("via") == "pid"):
            found.append(_because(Verdict.INCONCLUSIVE, "gone-early", f"{fault.id} was gone before it was reverted"))
        exposed = fault.exposure
        if exposed is not None and not exposed.met and not fault.expect_no_impact:
            seen = "an unknown number of" if exposed.good is None else str(exposed.good)
            text = (
                f"{fault.id}: {seen} good ops went through the target before it, {exposed.needed} needed; {exposed.how}"
            )
            found.append(_because(Verdict.INCONCLUSIVE, "no-exposure", text))
    for step in steps:
        if step.exit_code != 0:
            ended = "was never run" if step.started_ns is None else f"did not end with 0 ({step.exit_code})"
            found.append(_because(Verdict.INCONCLUSIVE, "step-failed", f"step {step.id} {ended}"))
    return found


def _instrument(case: Case, known: Validity) -> list[Reason]:
    found = []
    measures = case.measures
    report: LoadReport | None = load_report(case.history)
    if measures.counts.valid == 0:
        found.append(_because(Verdict.INCONCLUSIVE, "no-load", "no op of the load was measured"))
    if known.dead_workers:
        errors = [worker.error for worker in report.workers if worker.error] if report else []
        what = f": {errors[0]}" if errors else ""
        found.append(_because(Verdict.INCONCLUSIVE, "dead-worker", f"{known.dead_workers} load worker(s) died{what}"))
    elif report is not None and not known.accounted:
        text = f"load unaccounted for: {known.started} started, {known.ended} ended, {len(case.history.ops)} recorded"
        found.append(_because(Verdict.INCONCLUSIVE, "unaccounted", text))
    if known.steady_state_met is not True and case.plan.experiment.steady_state.require:
        told = "was not met" if known.steady_state_met is False else "is not known to have been met"
        text = f"the steady state {told} before the faults: {steady_status(case, steady_span(case.history))[1]}"
        found.append(_because(Verdict.INCONCLUSIVE, "steady-state", text))
    inject = case.history.phase("inject")
    for disruption in measures.disruptions:
        if disruption.cause is None and (case.plan.faults or inject is None or disruption.start_ns < inject[0]):
            text = "service was disrupted before anything was broken: the rule cannot tell calm from outage"
            found.append(_because(Verdict.INCONCLUSIVE, "steady-state", text))
    if case.plan.faults and measures.recovery.state == "unknown" and case.effect_ns is not None:
        found.append(_because(Verdict.INCONCLUSIVE, "blind", f"recovery is not known: {measures.recovery.why}"))
    return found
