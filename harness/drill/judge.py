"""The record of a drill -> its result. Pure: the same record, plan and earlier findings give the same result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness import __version__
from harness.drill.answers import ANSWERS_FILE
from harness.drill.coverage import covered_now, last_covered, services_of
from harness.drill.findings import findings
from harness.drill.plan import DrillPlan
from harness.drill.record import DrillEvent
from harness.model.drill import Ask, DrillStep, ExperimentStep, RunbookStep, Say
from harness.model.drill_result import (
    Approval,
    Covered,
    DrillFacts,
    DrillFinding,
    DrillObjective,
    DrillResult,
    DrillRun,
    DrillStepResult,
    Outcome,
    Update,
)
from harness.model.verdict import EXIT_CODES, Status, Verdict, worst
from harness.report.text import plural
from harness.run.repeat import is_flaky, overall
from harness.units import format_duration

__all__ = ["Before", "judge_drill"]

_OF_PEOPLE: dict[Outcome, Verdict] = {"done": Verdict.PASS, "failed": Verdict.FAIL}
_OF_STATUS = {Status.MET: Verdict.PASS, Status.MISSED: Verdict.FAIL, Status.UNKNOWN: Verdict.INCONCLUSIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What there was when the drill began: its approvals, what earlier drills left open, what earlier runs had tested."""

    approvals: tuple[Approval, ...] = ()
    findings: tuple[DrillFinding, ...] = ()
    tested: tuple[Covered, ...] = ()


def judge_drill(
    plan: DrillPlan, events: Sequence[DrillEvent], run_id: str, before: Before | None = None
) -> DrillResult:
    """What the drill came to. A step that nobody answered, and every step after a stop, is INCONCLUSIVE: never a pass."""
    known = before or Before()
    first, last = events[0], events[-1]
    mode = first.mode or "tabletop"
    steps = tuple(_step(step, events, tabletop=mode == "tabletop") for step in plan.drill.steps)
    updates = _updates(events)
    first_ns, gap_ns = _first_update_ns(events), _longest_gap_ns(events)
    objectives = () if mode == "tabletop" else (*_stated(plan, steps), *_comms(plan, first_ns, gap_ns))
    verdicts = [step.verdict for step in steps] + [_OF_STATUS[one.status] for one in objectives]
    if last.t != "finished":
        verdicts.append(Verdict.ERROR)  # the drill's own process died: what it did not write down is not known
    if any(event.aborted for event in events):
        verdicts.append(Verdict.ABORTED)
    verdict = worst(verdicts)
    facts = DrillFacts(
        run_id=run_id,
        name=plan.drill.name,
        title=plan.drill.title,
        owner=plan.drill.owner,
        exercise=plan.drill.exercise,
        mode=mode,
        started_utc=first.wall_utc or "",
        duration_ns=last.at_ns,
        plan_hash=plan.hash,
        version=first.version or __version__,
        source=plan.drill.source,
    )
    return DrillResult(
        run=facts,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        sentence=_sentence(verdict, steps, objectives, mode),
        steps=steps,
        objectives=objectives,
        updates=updates,
        approvals=known.approvals,
        findings=findings(plan, facts, steps, objectives, updates, events, known.findings),
        not_shown=_not_shown(plan, steps, mode),
        first_update_ns=first_ns,
        longest_gap_ns=gap_ns,
        coverage=last_covered([*known.tested, *covered_now(steps)]),
        services=() if mode == "tabletop" else services_of(plan),
    )


# ---- steps -----------------------------------------------------------------------------------------------------------


def _step(step: DrillStep, events: Sequence[DrillEvent], *, tabletop: bool) -> DrillStepResult:
    begin = next((event for event in events if event.t == "begin" and event.step == step.id), None)
    end = next((event for event in events if event.t == "end" and event.step == step.id), None)
    runs = tuple(event.run for event in events if event.t == "run" and event.step == step.id and event.run is not None)
    outcome: Outcome = (
        "not-begun" if begin is None else "not-performed" if end is None else (end.outcome or "not-performed")
    )
    verdict, found, flaky = _OF_PEOPLE.get(outcome, Verdict.INCONCLUSIVE), None, False
    if isinstance(step, ExperimentStep) and not tabletop:
        verdict, found, flaky = _experiment(step, runs)
        if outcome in ("done", "failed"):
            outcome = "done" if verdict is Verdict.PASS else "failed"
    text, who = _words(step)
    return DrillStepResult(
        id=step.id,
        kind=step.kind,
        text=text,
        who=who,
        outcome=outcome,
        verdict=verdict,
        started_ns=None if begin is None else begin.at_ns,
        ended_ns=None if end is None else end.at_ns,
        expect_ns=None if isinstance(step, ExperimentStep) else step.expect_ns,
        by="" if end is None else end.by,
        note="" if end is None else end.note,
        output="" if end is None else end.text,
        runs=runs,
        flaky=flaky,
        found=found,
    )


def _words(step: DrillStep) -> tuple[str, str | None]:
    match step:
        case ExperimentStep():
            return step.variants[0].experiment.title, None
        case Say() | Ask():
            return step.text, step.who
        case RunbookStep():
            return f"{step.action.title} ({step.runbook})", step.who


def _experiment(step: ExperimentStep, runs: tuple[DrillRun, ...]) -> tuple[Verdict, str | None, bool]:
    """The verdict over a step's runs, of a sweep the highest value that passed, and whether runs of one setting disagreed."""
    flaky = any(is_flaky([run.verdict for run in _of(runs, variant.value)]) for variant in step.variants)
    found: str | None = None
    verdict = Verdict.INCONCLUSIVE
    for variant in step.variants:
        tried = _of(runs, variant.value)
        if not tried:
            break
        verdict = _series(step, tried)
        if step.sweep is None or verdict is not Verdict.PASS:
            break
        found = variant.value
    if found is not None and verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.REFUSED):
        verdict = Verdict.PASS  # the sweep looked for where it ends, and found it
    return verdict, found, flaky


def _of(runs: Sequence[DrillRun], value: str | None) -> list[DrillRun]:
    return [run for run in runs if run.value == value]


def _series(step: ExperimentStep, tried: list[DrillRun]) -> Verdict:
    if step.expect is None:
        verdict = overall([run.verdict for run in tried], step.require)
        short = step.require == "all" and len(tried) < step.times
        return worst([verdict, Verdict.INCONCLUSIVE]) if short else verdict
    if all(run.wanted for run in tried) and len(tried) == step.times:
        return Verdict.PASS
    odd = [run.verdict for run in tried if not run.wanted]
    # PASS where a failure was wanted is a control that did not bite.
    return worst([Verdict.FAIL if verdict is Verdict.PASS else verdict for verdict in odd])


# ---- objectives ------------------------------------------------------------------------------------------------------


def _stated(plan: DrillPlan, steps: tuple[DrillStepResult, ...]) -> tuple[DrillObjective, ...]:
    """The drill's own objectives over all runs that count: as bad as the worst."""
    made = []
    sweeps = {step.id for step in plan.drill.experiments if step.sweep is not None or step.expect is not None}
    for one in plan.drill.objectives:
        text = one.predicate.text
        judged = [
            (objective.status, f"{step.id}: {objective.observed}")
            for step in steps
            if step.id not in sweeps
            for run in step.runs
            for objective in run.objectives
            if objective.text == text
        ]
        status = next(
            (bad for bad in (Status.MISSED, Status.UNKNOWN) if any(bad is found for found, _ in judged)),
            Status.MET if judged else Status.UNKNOWN,
        )
        told = "; ".join(dict.fromkeys(words for found, words in judged if found is status)) or "no run judged it"
        made.append(DrillObjective(text=text, status=status, observed=told))
    return tuple(made)


def _comms(plan: DrillPlan, first_ns: int | None, gap_ns: int | None) -> tuple[DrillObjective, ...]:
    spec = plan.drill.comms
    if spec is None:
        return ()
    limits = (("first update", spec.first_update_ns, first_ns), ("time between updates", spec.cadence_ns, gap_ns))
    made = []
    for what, limit, seen in limits:
        if limit is None:
            continue
        status = Status.UNKNOWN if seen is None else Status.MET if seen <= limit else Status.MISSED
        observed = "nothing was broken, or no update followed" if seen is None else format_duration(seen)
        made.append(DrillObjective(text=f"{what} <= {format_duration(limit)}", status=status, observed=observed))
    return tuple(made)


def _after_faults(events: Sequence[DrillEvent]) -> list[list[DrillEvent]]:
    """For each run that broke something: its fault, then the updates until resolved, or until the next fault or the end."""
    spans: list[list[DrillEvent]] = []
    open_ = False
    for event in events:
        if event.t == "fault":
            spans.append([event])
            open_ = True
        elif open_ and event.t == "update":
            spans[-1].append(event)
            open_ = event.text != "resolved"
    return spans


def _first_update_ns(events: Sequence[DrillEvent]) -> int | None:
    """From a run's first fault to the first update after it, the worst over runs; None when any had none."""
    spans = _after_faults(events)
    if not spans or any(len(span) == 1 for span in spans):
        return None
    return max(span[1].at_ns - span[0].at_ns for span in spans)


def _longest_gap_ns(events: Sequence[DrillEvent]) -> int | None:
    """The longest time from one update to the next after a fault; one that was never resolved is silent until the end."""
    gaps = []
    for span in _after_faults(events):
        instants = [event.at_ns for event in span[1:]]
        if not instants:
            return None
        if span[-1].text != "resolved":
            instants.append(events[-1].at_ns)
        gaps += [after - before for before, after in pairwise(instants)]
    return max(gaps, default=0 if _after_faults(events) else None)


def _updates(events: Sequence[DrillEvent]) -> tuple[Update, ...]:
    return tuple(
        Update(
            number=event.number or 0,
            status=event.text,
            at_ns=event.at_ns,
            by=event.by,
            files=event.files,
            posted=tuple(
                one.posted
                for one in events
                if one.t == "posted" and one.number == event.number and one.posted is not None
            ),
        )
        for event in events
        if event.t == "update"
    )


# ---- words -----------------------------------------------------------------------------------------------------------


def _sentence(
    verdict: Verdict, steps: tuple[DrillStepResult, ...], objectives: tuple[DrillObjective, ...], mode: str
) -> str:
    touched = " Nothing was touched: this judges people and documents." if mode == "tabletop" else ""
    if verdict is Verdict.PASS:
        return f"All {plural(len(steps), 'step')} were carried out as they should be.{touched}"
    odd = [f"{step.id} {_came_to(step)}" for step in steps if step.verdict is not Verdict.PASS]
    odd += [f"{one.text} {one.status}" for one in objectives if one.status is not Status.MET]
    if len(odd) > 4:
        counts = Counter(step.outcome for step in steps if step.verdict is not Verdict.PASS)
        rest = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        odd = [*odd[:3], f"and {len(odd) - 3} more ({rest} in all)"]
    return f"{'; '.join(odd) or 'it was stopped'}.{touched}"


def _came_to(step: DrillStepResult) -> str:
    words = {"not-performed": "was not performed", "not-begun": "was not begun", "skipped": "was skipped"}
    flaky = ", flaky" if step.flaky else ""
    return words.get(step.outcome, f"is {step.verdict}{flaky}")


def _not_shown(plan: DrillPlan, steps: tuple[DrillStepResult, ...], mode: str) -> tuple[str, ...]:
    lines = []
    if mode == "tabletop":
        lines.append("That the system recovers: nothing was broken, nothing measured.")
    once = [step.id for step in plan.drill.experiments if step.times == 1]
    if mode != "tabletop" and once:
        lines.append(
            f"How steady the result is: {', '.join(once)} ran once; one pass bounds the chance of failure at 95 %."
        )
    for step in plan.drill.experiments:
        result = next(one for one in steps if one.id == step.id)
        if step.sweep is not None and result.found is not None and result.found == step.variants[-1].value:
            lines.append(f"Where {step.sweep} ends: {result.found} was the highest tried, and it passed.")
    written = [step.id for step in steps if step.by.endswith(ANSWERS_FILE)]
    if written:
        lines.append(
            f"How fast people are: {', '.join(written)} {'was' if len(written) == 1 else 'were'} answered from a file."
        )
    lines.append("Who answered and approved: names are recorded as given, not verified.")
    return tuple(lines)
