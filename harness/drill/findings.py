"""What a drill leaves to act on, each with an owner and a day, and what earlier drills left until its step passes. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from harness.drill.plan import DrillPlan
from harness.drill.record import DrillEvent
from harness.model.drill_result import DrillFacts, DrillFinding, DrillObjective, DrillStepResult, Update
from harness.model.verdict import Status, Verdict
from harness.units import format_duration

__all__ = ["findings", "still_open"]

Severity = Literal["high", "medium", "low"]
_ORDER = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raised:
    """A finding before it has a number. `code` tells findings of one step apart, and is the same every time."""

    step: str | None
    code: str
    severity: Severity
    text: str

    @property
    def key(self) -> str:
        return f"{self.step or 'drill'}:{self.code}"


def still_open(earlier: Sequence[DrillFinding]) -> tuple[DrillFinding, ...]:
    """Those of an earlier drill's findings that follow into the next one."""
    return tuple(one for one in earlier if one.state != "retested")


def findings(  # noqa: PLR0913
    plan: DrillPlan,
    facts: DrillFacts,
    steps: Sequence[DrillStepResult],
    objectives: Sequence[DrillObjective],
    updates: Sequence[Update],
    events: Sequence[DrillEvent],
    earlier: Sequence[DrillFinding],
) -> tuple[DrillFinding, ...]:
    """New ones, then carried ones, then those whose step passed this time; by severity. Due days do not slide when raised again."""
    raised: dict[str, _Raised] = {}
    for one in [
        *(found for step in steps for found in _of_step(step)),
        *_of_people(events),
        *_of_comms(objectives, updates),
    ]:
        raised.setdefault(one.key, one)
    known = {one.key: one for one in still_open(earlier)}
    today = datetime.fromisoformat(facts.started_utc).date() if facts.started_utc else date.min
    made = [_new(one, known.get(one.key), plan, facts, today) for one in raised.values()]
    passed = {step.id for step in steps if step.verdict is Verdict.PASS and facts.mode != "tabletop"}
    met = facts.mode != "tabletop" and all(one.status is Status.MET for one in objectives)
    for key, left in known.items():
        if key not in raised:
            retested = left.step in passed or (left.step is None and met)
            late = not retested and date.fromisoformat(left.due) < today
            made.append(left.model_copy(update={"state": "retested" if retested else "carried", "overdue": late}))
    states = {"open": 0, "carried": 1, "retested": 2}
    made.sort(key=lambda one: (states[one.state], _ORDER[one.severity]))
    return tuple(one.model_copy(update={"number": f"F{number}"}) for number, one in enumerate(made, start=1))


def _new(one: _Raised, known: DrillFinding | None, plan: DrillPlan, facts: DrillFacts, today: date) -> DrillFinding:
    within_ns = plan.drill.findings_due_ns.get(one.severity, 0)
    due = (today + timedelta(microseconds=within_ns / 1_000)).isoformat()
    return DrillFinding(
        number="F0",
        key=one.key,
        severity=one.severity,
        text=one.text,
        step=one.step,
        owner=_owner(plan, one.step),
        due=due if known is None else known.due,
        state="open",
        overdue=known is not None and date.fromisoformat(known.due) < today,
        first_run=facts.run_id if known is None else known.first_run,
        first_seen_utc=facts.started_utc if known is None else known.first_seen_utc,
    )


def _owner(plan: DrillPlan, step_id: str | None) -> str:
    """The experiment's owner, or who holds the role that the step is for, else the drill's owner."""
    drill = plan.drill
    step = next((one for one in drill.steps if one.id == step_id), None)
    who = getattr(step, "who", None)
    if who is not None:
        return drill.people.get(who, who)
    if step in drill.experiments:
        return next(one for one in drill.experiments if one.id == step_id).variants[0].experiment.owner or drill.owner
    return drill.owner


def _of_step(step: DrillStepResult) -> list[_Raised]:
    made: list[_Raised] = []
    note = f": {step.note}" if step.note else ""
    if step.kind == "experiment" and step.runs:
        made += _of_runs(step)
    elif step.outcome == "failed":
        made.append(_Raised(step=step.id, code="failed", severity="high", text=f"{step.text}: failed{note}"))
    elif step.outcome in ("skipped", "not-performed"):
        words = "was skipped" if step.outcome == "skipped" else "was not performed"
        made.append(_Raised(step=step.id, code=step.outcome, severity="medium", text=f"{step.text}: {words}{note}"))
    elif step.outcome == "not-begun":
        made.append(_Raised(step=step.id, code="not-begun", severity="medium", text=f"{step.text}: was not begun"))
    if step.expect_ns is not None and step.started_ns is not None and step.ended_ns is not None:
        took = step.ended_ns - step.started_ns
        if took > step.expect_ns:
            text = f"{step.text}: took {format_duration(took)}, {format_duration(step.expect_ns)} was expected"
            made.append(_Raised(step=step.id, code="slow", severity="low", text=text))
    return made


def _of_runs(step: DrillStepResult) -> list[_Raised]:
    made: list[_Raised] = []
    if step.flaky:
        text = f"{step.text}: flaky, some runs passed and some failed"
        made.append(_Raised(step=step.id, code="flaky", severity="high", text=text))
    for run in step.runs:
        if step.verdict is not Verdict.PASS and not run.wanted:
            severity: Severity = "medium" if run.verdict in (Verdict.INCONCLUSIVE, Verdict.REFUSED) else "high"
            text = f"{step.text}: {run.verdict}: {run.sentence}"
            made.append(_Raised(step=step.id, code=str(run.verdict).lower(), severity=severity, text=text))
        if step.verdict is Verdict.PASS or not run.wanted:
            made += [
                _Raised(step=step.id, code=_code(one.text), severity=one.severity, text=f"{step.text}: {one.text}")
                for one in run.findings
            ]
    return made


def _code(text: str) -> str:
    """The same for one finding in every run: its numbers differ from run to run."""
    words = re.sub(r"[\d.,]+\s*(ns|us|ms|s|m|h|d|%)?\b", "#", text)
    return hashlib.blake2b(words.encode(), digest_size=4).hexdigest()


def _of_people(events: Sequence[DrillEvent]) -> list[_Raised]:
    return [
        _Raised(step=event.step, code="said", severity=event.severity or "medium", text=event.finding)
        for event in events
        if event.t == "end" and event.finding
    ]


def _of_comms(objectives: Sequence[DrillObjective], updates: Sequence[Update]) -> list[_Raised]:
    made = []
    for one in objectives:
        what = one.text.partition(" <=")[0]
        if what in ("first update", "time between updates") and one.status is Status.MISSED:
            text = f"status updates: {one.text}, it was {one.observed}"
            made.append(_Raised(step=None, code=what.replace(" ", "-"), severity="medium", text=text))
    lost = {(post.host, post.error) for update in updates for post in update.posted if not post.ok}
    made += [
        _Raised(step=None, code=f"channel-{host}", severity="medium", text=f"updates did not reach {host}: {error}")
        for host, error in sorted(lost)
    ]
    return made
