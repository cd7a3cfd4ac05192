"""Carries a drill out, step by step, and writes down what happened. Nothing is judged here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.drill.answers import Answer, Answers, Question
from harness.drill.commands import attempt, attempt_until
from harness.drill.comms import Updates
from harness.drill.plan import DrillPlan, command_words
from harness.drill.record import Record
from harness.errors import HarnessError, RevertError, SpecError, StoreError, UnsafeError
from harness.history.events import Event, FaultEvent, PhaseEvent
from harness.judge import matches_expectation
from harness.model.drill import Ask, Command, DrillStep, ExperimentStep, RunbookAction, RunbookStep, Say
from harness.model.drill_result import DrillRun, Mode, RunFailure, RunFinding, RunObjective
from harness.model.measured import Interval
from harness.model.plan import Plan
from harness.model.result import Result
from harness.model.verdict import Verdict
from harness.report.controls import evidence_of
from harness.report.tiles import worst_budget
from harness.run.repeat import ENDS_SERIES, overall
from harness.units import format_bounds, format_duration, format_ratio

if TYPE_CHECKING:
    from harness.store.rundir import RunDir

__all__ = ["DrillConductor", "RunExperiment", "Seams"]

RunExperiment = Callable[[Plan, Callable[[Event], None]], "tuple[Result, RunDir]"]
"""Carries out one run, telling a listener its events as they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What a drill meets the world through."""

    answers: Answers
    run: RunExperiment
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep


class _Stop(Exception):
    """The steps that follow are not begun."""


class DrillConductor:
    """One drill, once. In a tabletop nothing is touched: injects and commands are read aloud."""

    def __init__(self, plan: DrillPlan, mode: Mode, folder: Path, record: Record, seams: Seams) -> None:
        self._plan, self._mode, self._record, self._seams = plan, mode, record, seams
        self._updates = Updates(plan.drill, folder, record, send=mode != "tabletop")

    def conduct(self) -> None:
        """Every step in order, until the end or a stop. Ctrl-C ends it, on record. Raises StoreError."""
        began: DrillStep | None = None
        try:
            for step in self._plan.drill.steps:
                began = step
                self._seams.say(f"\n== {step.id}")
                self._record.add("begin", step=step.id)
                self._step(step)
        except _Stop as stop:
            self._record.add("stop", step=began.id if began else None, text=str(stop))
            self._seams.say(f"stopped: {stop}")
        except KeyboardInterrupt:
            self._record.add("stop", step=began.id if began else None, text="stopped by a person", aborted=True)
            self._seams.say("stopped by a person")
        finally:
            self._updates.close()
        self._record.add("finished")

    def _step(self, step: DrillStep) -> None:
        match step:
            case ExperimentStep():
                self._experiment(step)
            case Say():
                if step.template is not None:
                    self._updates.write(step.template, step.who, step.text)
                self._end(step.id, self._ask(step.id, step.who, (f"{step.who} says: {step.text}",), step.expect_ns))
            case Ask():
                self._end(step.id, self._ask(step.id, step.who, (f"{step.who} is asked: {step.text}",), step.expect_ns))
            case RunbookStep():
                self._runbook(step)

    def _ask(self, step: str, who: str, lines: tuple[str, ...], expect_ns: int | None) -> Answer:
        holder = self._plan.drill.people.get(who, "")
        told = f"{who} ({holder})" if holder and holder != who else who
        return self._seams.answers.answer(Question(step=step, who=told, lines=lines, expect_ns=expect_ns))

    def _end(self, step: str, answer: Answer, output: str = "") -> None:
        self._record.add(
            "end",
            step=step,
            outcome=answer.outcome,
            by=answer.by,
            note=answer.note,
            text=output,
            finding=answer.finding,
            severity=answer.severity if answer.finding else None,
        )

    # ---- runbook steps ---------------------------------------------------------------------------------------------

    def _runbook(self, step: RunbookStep) -> None:
        action = step.action
        lines = [f"{step.who}: {action.title}", f"  do: {command_words(action.run)}"]
        if action.verify is not None:
            lines.append(f"  then look: {command_words(action.verify)}")
        output = ""
        if self._mode == "tabletop" or isinstance(action.run, str):
            answer = self._ask(step.id, step.who, tuple(lines), step.expect_ns)
            if answer.outcome == "done" and self._mode != "tabletop" and isinstance(action.verify, Command):
                answer, output = self._carried_out(action, verify_only=True)
        else:
            for line in lines:
                self._seams.say(line)
            answer, output = self._carried_out(action)
            if answer.outcome == "done" and isinstance(action.verify, str):
                answer = self._ask(step.id, step.who, (f"  look: {action.verify}",), step.expect_ns)
        self._end(step.id, answer, output)
        if answer.outcome == "failed":
            self._failed(step, action)

    def _carried_out(self, action: RunbookAction, *, verify_only: bool = False) -> tuple[Answer, str]:
        """Run its command, then look until it has worked; what the commands printed."""
        output = ""
        if not verify_only and isinstance(action.run, Command):
            done = attempt(action.run)
            output = done.output
            if not done.worked:
                return Answer(outcome="failed", by="tool", note=done.why), output
        if isinstance(action.verify, Command):
            seen = attempt_until(action.verify)
            output = f"{output}\n{seen.output}".strip()
            if not seen.worked:
                return Answer(outcome="failed", by="tool", note=f"not verified: {seen.why}"), output
        return Answer(outcome="done", by="tool"), output

    def _failed(self, step: RunbookStep, action: RunbookAction) -> None:
        """What the runbook says of a failure. In a tabletop it is talked through, and the drill goes on."""
        if self._mode == "tabletop" or action.on_fail == "continue":
            return
        if action.on_fail == "rollback" and action.rollback is not None:
            if isinstance(action.rollback, Command):
                back = attempt(action.rollback)
                if not back.worked:
                    raise _Stop(f"{step.id} failed, and its rollback too: {back.why}: {command_words(action.rollback)}")
            else:
                question = (f"{step.who}: take it back: {action.rollback}",)
                answer = self._ask(f"{step.id}.rollback", step.who, question, None)
                if answer.outcome != "done":
                    raise _Stop(f"{step.id} failed, and its rollback is {answer.outcome}: {action.rollback}")
            raise _Stop(f"{step.id} failed and was rolled back")
        raise _Stop(f"{step.id} failed")

    # ---- experiments -----------------------------------------------------------------------------------------------

    def _experiment(self, step: ExperimentStep) -> None:
        variants = self._plan.runs[step.id]
        if self._mode == "tabletop":
            self._read_aloud(step, variants[0][0])
            return
        for variant, plans in zip(step.variants, variants, strict=True):
            runs = self._series(step, variant.value, plans)
            verdicts = [run.verdict for run in runs]
            if not ENDS_SERIES.isdisjoint(verdicts) and not all(run.wanted for run in runs):
                self._end(step.id, Answer(outcome="failed", by="tool"))
                raise _Stop(f"{step.id} ended {overall(verdicts, 'all')}: the stack may not be what it was")
            if step.sweep is not None and overall(verdicts, step.require) is not Verdict.PASS:
                break
        self._end(step.id, Answer(outcome="done", by="tool"))

    def _series(self, step: ExperimentStep, value: str | None, plans: tuple[Plan, ...]) -> list[DrillRun]:
        runs: list[DrillRun] = []
        for number, plan in enumerate(plans, start=1):
            of = "" if value is None else f" with {step.sweep}={value}"
            self._seams.say(f"run {number} of {len(plans)}{of}: {plan.experiment.title}")
            self._record.add("begin-run", step=step.id, number=number)
            follower = _Follower(step.id, plan, self._record, self._updates)
            run = self._one(step, value, plan, follower)
            self._record.add("run", step=step.id, run=run)
            self._seams.say(f"{run.verdict}: {run.sentence}")
            if follower.broke and run.recovered and run.verdict not in ENDS_SERIES:
                self._updates.follow("resolved")
            runs.append(run)
            if run.verdict in ENDS_SERIES:
                break
        return runs

    def _one(self, step: ExperimentStep, value: str | None, plan: Plan, follower: _Follower) -> DrillRun:
        try:
            result, run_dir = self._seams.run(plan, follower.event)
        except StoreError:
            raise
        except HarnessError as exc:
            verdict = _VERDICTS.get(type(exc), Verdict.ERROR)
            return DrillRun(run_id=None, value=value, verdict=verdict, wanted=False, sentence=str(exc))
        wanted = result.verdict is Verdict.PASS if step.expect is None else matches_expectation(result, step.expect)
        return _told(result, run_dir.run_id, value, wanted)

    def _read_aloud(self, step: ExperimentStep, plan: Plan) -> None:
        """The injects at their moments, on the same clock as a real run, and nothing touched."""
        moments = [(fault.at_ns, f"{fault.what}. Clients see: {fault.clients_see}") for fault in plan.faults]
        moments += [
            (fault.at_ns + fault.for_ns, f"it ends: {fault.on_revert}")
            for fault in plan.faults
            if fault.for_ns is not None
        ]
        moments += [(one.at_ns, f"step: {' '.join(one.argv)}") for one in plan.steps]
        began_ns = self._record.now_ns()
        for at_ns, words in sorted(moments):
            left_ns = began_ns + at_ns - self._record.now_ns()
            if left_ns > 0:
                self._seams.sleep(left_ns / 1e9)
            self._seams.say(f"  T+{format_duration(at_ns)}  {words}")
        people = tuple(self._plan.drill.people)
        lines = (f"everyone: what would happen, and who would do what? ({plan.experiment.hypothesis})",)
        self._end(step.id, self._ask(step.id, people[0] if people else self._plan.drill.owner, lines, None))


class _Follower:
    """Hears one run's events: notes its first fault, and lets updates follow."""

    def __init__(self, step: str, plan: Plan, record: Record, updates: Updates) -> None:
        self._step, self._record, self._updates = step, record, updates
        self._words = {fault.id: f"{fault.what[:1].upper()}{fault.what[1:]}." for fault in plan.faults}
        self._seen: set[str] = set()

    @property
    def broke(self) -> bool:
        """Whether the run broke anything."""
        return "fault" in self._seen

    def event(self, event: Event) -> None:
        match event:
            case FaultEvent(stage="applied") if self._once("fault"):
                self._record.add("fault", step=self._step, text=self._words.get(event.id, event.id))
                self._updates.follow("investigating")
            case FaultEvent(stage="witnessed") if self.broke and self._once("witnessed"):
                self._updates.follow("identified")
            case PhaseEvent(phase="settle") if self.broke and self._once("settle"):
                self._updates.follow("monitoring")

    def _once(self, what: str) -> bool:
        first = what not in self._seen
        self._seen.add(what)
        return first


_VERDICTS: dict[type[HarnessError], Verdict] = {
    UnsafeError: Verdict.REFUSED,
    SpecError: Verdict.REFUSED,
    RevertError: Verdict.DIRTY,
}


def _told(result: Result, run_id: str, value: str | None, wanted: bool) -> DrillRun:
    """What the drill keeps of a run: enough to judge, and to tell people, without its directory."""
    recovery, loss = result.measures.recovery, result.measures.loss
    stated = next((one for one in result.objectives if one.measure == "recovery_time"), None)
    return DrillRun(
        run_id=run_id,
        value=value,
        verdict=result.verdict,
        wanted=wanted,
        sentence=result.sentence,
        recovery=_span(recovery.interval) if recovery.state in ("recovered", "none") else "not known",
        recovered=recovery.state in ("recovered", "none") and not result.safety.unresolved,
        harmed=result.measures.counts.bad,
        lost=loss.lost if loss.known else None,
        title=result.run.title,
        started_utc=result.run.started_utc,
        limit="" if stated is None else stated.limit,
        recovery_ratio=None if stated is None or stated.margin_ratio is None else 1 - stated.margin_ratio,
        budget=_cost(result),
        failures=tuple(
            RunFailure(kind=fault.kind, service=service)
            for fault in result.faults
            if fault.effect is not None and fault.witnessed
            for service in fault.services
        ),
        evidence=evidence_of(result),
        objectives=tuple(
            RunObjective(text=one.text, status=one.status, observed=one.observed) for one in result.objectives
        ),
        findings=tuple(
            RunFinding(severity=one.severity, text=one.text) for one in result.findings if one.severity != "strength"
        ),
    )


def _cost(result: Result) -> str:
    """What the run cost the SLO that it cost most: "availability 0.16 % of 30 d, notional"; empty without SLOs."""
    cost = worst_budget(result)
    if cost is None:
        return ""
    notional = ", notional" if cost.notional else ""
    return f"{cost.slo} {format_ratio(cost.cost_share_ratio)} of {format_duration(cost.window_ns)}{notional}"


def _span(interval: Interval | None) -> str:
    if interval is None:
        return "not known"
    if interval.hi_ns is None:
        return f"more than {format_duration(interval.lo_ns)}"
    low, high, unit = format_bounds(interval.lo_ns, interval.hi_ns)
    return f"{low} to {high} {unit}".strip()
