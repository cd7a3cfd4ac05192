"""Drills and runbooks as they are written: one pydantic model for each mapping, field for field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from harness.model.gate import FRESH_NS
from harness.spec.documents import BlackoutDoc, RunsDoc
from harness.spec.scalars import Doc, Free, Moment, Name, Span, Text, by_shape, never

__all__ = [
    "STEP_DOCS",
    "AskDoc",
    "CommandDoc",
    "Deed",
    "DrillDoc",
    "DrillExperimentDoc",
    "DrillRunbookDoc",
    "EscalationDoc",
    "GateDoc",
    "GateExperimentDoc",
    "RunbookActionDoc",
    "RunbookDoc",
    "SayDoc",
    "UnverifiedDoc",
]

StatusName = Literal["announced", "investigating", "identified", "monitoring", "resolved"]
ExerciseName = Literal["tabletop", "walkthrough", "component", "functional", "full-scale"]


class CommandDoc(Doc):
    exec: Annotated[list[Text], Field(min_length=1)] = Field(
        description="the command; a path with a slash is relative to this document"
    )
    within: Span = Field(30_000_000_000, description="how long it may take to end with 0")


class UnverifiedDoc(Doc):
    none: Text = Field(description="why nothing can be looked at")


if TYPE_CHECKING:
    Deed = str | CommandDoc
    Look = str | CommandDoc | UnverifiedDoc
    Channels = list[Free]
else:
    _WORDS = Annotated[Text, Tag("one")]
    _COMMAND = "words for a person, or a command such as {exec: [./ops/promote]}"
    Deed = Annotated[
        _WORDS | Annotated[CommandDoc, Tag("map")] | never(_COMMAND, "list"),
        Discriminator(by_shape),
    ]

    def _look(value: object) -> str:
        shape = by_shape(value)
        return "none" if isinstance(value, UnverifiedDoc) or (isinstance(value, dict) and "none" in value) else shape

    Look = Annotated[
        _WORDS
        | Annotated[CommandDoc, Tag("map")]
        | Annotated[UnverifiedDoc, Tag("none")]
        | never(f"{_COMMAND}, or {{none: WHY}}", "list"),
        Discriminator(_look),
    ]


# ---- runbook ---------------------------------------------------------------------------------------------------------


class DetectionDoc(Doc):
    signal: Text = Field(description="what is watched")
    threshold: Text = Field(description='the rule that it crosses, as in "good < 95% for 10s"')
    alert: Text | None = Field(None, description="the alert that says so")
    within: Span | None = Field(None, description="how long until it is noticed, at most")


class EscalationDoc(Doc):
    after: Span = Field(description="time without an end")
    to: Text = Field(description="who is called then: one of `people`")


class TemplateDoc(Doc):
    internal: Text | None = Field(None, description="the wording for colleagues")
    customer: Text | None = Field(None, description="the wording for customers")


class RunbookActionDoc(Doc):
    id: Name = Field(description="its name, as drills cite it")
    title: Text = Field(description="what it does, in a few words")
    who: Text = Field(description="who does it: one of `people`")
    run: Deed = Field(description="what is done: words for a person, or {exec: [argv], within: 30s}")
    verify: Look | None = Field(None, description="how one sees that it worked: words, a command, or {none: WHY}")
    changes: bool = Field(True, description="false: it only looks")
    rollback: Deed | None = Field(None, description="how it is taken back")
    irreversible: Text | None = Field(None, description="why it cannot be taken back")
    on_fail: Literal["stop", "continue", "rollback"] = Field(
        "stop", description="what follows when it fails: stop the drill, go on, or roll back and stop"
    )
    expect: Span | None = Field(None, description="how long it should take")


class RunbookDoc(Doc):
    """A runbook document."""

    version: Literal[1] = Field(description="the version of the document format")
    kind: Literal["runbook"] = Field(description="what this document is")
    name: Name = Field(description="the runbook's name")
    title: Text = Field(description="what it is for, in a few words")
    owner: Text = Field(description="who answers for it")
    extends: Text | None = Field(None, description="another runbook that this one is laid on")
    profiles: dict[str, Free] | None = Field(None, description="changes by name, for --profile NAME")
    reviewed: Moment = Field(description="the day it was last read through")
    review_every: Span = Field(7_776_000_000_000_000, description="how long a review holds")
    recovery_objective: Span = Field(description="how long recovery may take: what its steps must fit into")
    people: Annotated[dict[str, Text], Field(min_length=1)] = Field(description="roles, and who holds them")
    triggers: list[Text] = Field(default=[], description="when it is begun")
    detection: list[DetectionDoc] = Field(default=[], description="how the trouble is noticed")
    escalation: list[EscalationDoc] = Field(default=[], description="who is called when, soonest first")
    steps: Annotated[list[RunbookActionDoc], Field(min_length=1)] = Field(description="what is done, in order")
    exit_criteria: list[Text] = Field(default=[], description="when it is over")
    comms: dict[StatusName, TemplateDoc] = Field(default={}, description="wordings of status updates, by status")


# ---- drill -----------------------------------------------------------------------------------------------------------


class ScheduleDoc(Doc):
    cron: Text = Field(description='when it is due, five fields: "0 10 * * 2"')
    timezone: Text = Field("UTC", description="the time zone of the cron line, as in Europe/Berlin")
    blackout: list[BlackoutDoc] = Field(default=[], description="times in which it is not due")


class ApprovalsDoc(Doc):
    required: int = Field(1, ge=0, le=20, description="how many people must approve the plan before it runs live")


class ChannelDoc(Doc):
    webhook: Text | None = Field(None, description="URL that updates are posted to, as JSON")
    apprise: Text | None = Field(None, description='an apprise URL, as "slack://..."; needs the extra `notify`')
    audience: Literal["internal", "customer"] = Field("internal", description="which wording it gets")


class CommsDoc(Doc):
    first_update: Span | None = Field(None, description="from the first fault to the first update, at most")
    cadence: Span | None = Field(None, description="from one update to the next until resolved, at most")
    follow: bool = Field(True, description="write updates from the run's own events")
    channels: list[ChannelDoc] = Field(default=[], description="where updates go besides the outbox")
    templates: Text | None = Field(None, description="the runbook whose wordings are used")


class FindingsDoc(Doc):
    high: Span = Field(604_800_000_000_000, description="how long a serious finding may stay open")
    medium: Span = Field(2_592_000_000_000_000, description="how long a finding may stay open")
    low: Span = Field(7_776_000_000_000_000, description="how long a small finding may stay open")


class _StepDoc(Doc):
    id: Name | None = Field(None, description="its name, as answers cite it")


class DrillExperimentDoc(_StepDoc):
    experiment: Text = Field(description="name or path of an experiment")
    runs: RunsDoc | None = Field(None, description="how often it runs, and whether all or any must pass")
    sweep: Annotated[dict[str, list[str | int | float]], Field(min_length=1, max_length=1)] | None = Field(
        None, description="one path and its values, as in {load.arrival.rate: [20/s, 40/s]}"
    )
    find: Literal["highest passing"] | None = Field(None, description="what a sweep looks for")
    expect: Text | None = Field(None, description="the verdict and cause wanted instead of PASS, as in FAIL:durable")


class SayDoc(_StepDoc):
    say: Text = Field(description="what is told")
    who: Text = Field(description="who tells it: one of `people`")
    template: StatusName | None = Field(None, description="the status update that is written")
    expect: Span | None = Field(None, description="how long it should take")


class AskDoc(_StepDoc):
    ask: Text = Field(description="a question; done is yes, failed is no")
    who: Text = Field(description="who answers: one of `people`")
    expect: Span | None = Field(None, description="how long it should take")


class DrillRunbookDoc(_StepDoc):
    runbook: Text = Field(description='a runbook, or one step of it: "runbooks/region-loss.yaml#promote"')
    who: Text | None = Field(None, description="who does it: one of `people`; absent: whom the runbook names")
    expect: Span | None = Field(None, description="how long it should take; absent: what the runbook says")


STEP_DOCS: dict[str, type[Doc]] = {
    "experiment": DrillExperimentDoc,
    "say": SayDoc,
    "ask": AskDoc,
    "runbook": DrillRunbookDoc,
}
"""The four forms of a drill's step, by the key that tells them apart."""


class DrillDoc(Doc):
    """A drill document."""

    version: Literal[1] = Field(description="the version of the document format")
    kind: Literal["drill"] = Field(description="what this document is")
    name: Name = Field(description="the drill's name")
    title: Text | None = Field(None, description="what is rehearsed, in a few words; absent: the name")
    owner: Text = Field(description="who answers for it, and for findings that nobody else owns")
    extends: Text | None = Field(None, description="another drill that this one is laid on")
    profiles: dict[str, Free] | None = Field(None, description="changes by name, for --profile NAME")
    exercise: ExerciseName = Field("functional", description="how much of the real thing it is")
    objectives: list[Text] = Field(default=[], description="what every experiment must meet besides its own objectives")
    schedule: ScheduleDoc | None = Field(None, description="when it is due")
    people: dict[str, Text] = Field(default={}, description="roles, and who holds them")
    approvals: ApprovalsDoc = Field(ApprovalsDoc(required=0), description="who must agree before it runs live")
    comms: CommsDoc | None = Field(None, description="status updates")
    findings: FindingsDoc = Field(FindingsDoc(), description="how long findings may stay open, by severity")
    steps: Annotated[list[Any], Field(min_length=1)] = Field(description="what is done, in order")


# ---- gate ------------------------------------------------------------------------------------------------------------


class GateExperimentDoc(Doc):
    experiment: Text = Field(description="name or path of an experiment")
    freshness: Span | None = Field(None, description="how old its last PASS may be; absent: the gate's")
    passes: int = Field(1, ge=1, le=20, description="how many of its newest runs must all be a PASS")
    profile: Text | None = Field(None, description="the profile with which it was run")
    set: list[Text] = Field(
        default=[], description="the overrides with which it was run, as in [load.arrival.rate=20/s]"
    )


if TYPE_CHECKING:
    GateEntry = str | GateExperimentDoc
else:
    GateEntry = Annotated[
        Annotated[Text, Tag("one")]
        | Annotated[GateExperimentDoc, Tag("map")]
        | never("an experiment, or {experiment: ..., freshness: 7d}", "list"),
        Discriminator(by_shape),
    ]


class GateDoc(Doc):
    """A gate document."""

    version: Literal[1] = Field(description="the version of the document format")
    kind: Literal["gate"] = Field(description="what this document is")
    name: Name = Field(description="the gate's name")
    title: Text | None = Field(None, description="what may pass it, in a few words; absent: the name")
    owner: Text | None = Field(None, description="who answers for it")
    extends: Text | None = Field(None, description="another gate that this one is laid on")
    profiles: dict[str, Free] | None = Field(None, description="changes by name, for --profile NAME")
    freshness: Span = Field(FRESH_NS, description="how old the last PASS of an experiment may be")
    flaky: Literal["block", "allow"] = Field(
        "block", description="what a PASS is worth after a FAIL of the very same files and plan"
    )
    regression: Literal["off", "warn", "block"] = Field(
        "off", description="what follows when the newest runs are worse than the accepted baseline"
    )
    experiments: Annotated[list[GateEntry], Field(min_length=1)] = Field(description="what must have passed")
