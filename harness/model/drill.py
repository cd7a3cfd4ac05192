"""A rehearsal as its documents say it: ordered experiments and human steps, people, comms, schedule. What `spec` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from harness.model.experiment import Experiment, Origin, StatedPredicate
from harness.model.stack import Blackout

__all__ = [
    "AUDIENCES",
    "STATUSES",
    "TEMPLATE_WORDS",
    "Approvals",
    "Ask",
    "Audience",
    "Channel",
    "Command",
    "CommsSpec",
    "Detection",
    "Drill",
    "DrillStep",
    "Escalation",
    "Exercise",
    "ExperimentStep",
    "OnFail",
    "Runbook",
    "RunbookAction",
    "RunbookStep",
    "Say",
    "Schedule",
    "Status",
    "Template",
    "Variant",
]

Exercise = Literal["tabletop", "walkthrough", "component", "functional", "full-scale"]
OnFail = Literal["stop", "continue", "rollback"]
Status = Literal["announced", "investigating", "identified", "monitoring", "resolved"]
Audience = Literal["internal", "customer"]
STATUSES: tuple[Status, ...] = ("announced", "investigating", "identified", "monitoring", "resolved")
AUDIENCES: tuple[Audience, ...] = ("internal", "customer")
TEMPLATE_WORDS = (
    "drill",
    "title",
    "owner",
    "status",
    "stack",
    "environment",
    "now",
    "elapsed",
    "what",
    "recovery",
    "harmed",
    "lost",
    "verdict",
    "text",
)
"""What a template of a status update may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program and how long it may take; it has worked when it ends with 0. `cwd` is the folder of its document."""

    argv: tuple[str, ...]
    cwd: str
    within_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookAction:
    """One step of a runbook. `run`, `verify` and `rollback` are a command, or words for a person.

    Exactly one of `verify` and `unverified` (why there is nothing to look at) is set; of a step that `changes` something,
    exactly one of `rollback` and `irreversible` (why it cannot be taken back).
    """

    id: str
    title: str
    who: str
    run: Command | str
    verify: Command | str | None = None
    unverified: str | None = None
    changes: bool = True
    rollback: Command | str | None = None
    irreversible: str | None = None
    on_fail: OnFail = "stop"
    expect_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How the trouble is noticed: a signal, the rule that it crosses, the alert, and the longest that may take."""

    signal: str
    threshold: str
    alert: str | None = None
    within_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Whom to call when so much time has passed without an end."""

    after_ns: int
    to: str


Template = Mapping[Audience, str]
"""The wording of a status update for each audience; one that is absent is the built-in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """A runbook document. `people` maps a role to who holds it."""

    name: str
    title: str
    owner: str
    source: str
    reviewed: str
    review_every_ns: int
    recovery_objective_ns: int
    people: Mapping[str, str]
    triggers: tuple[str, ...] = ()
    detection: tuple[Detection, ...] = ()
    escalation: tuple[Escalation, ...] = ()
    steps: tuple[RunbookAction, ...]
    exit_criteria: tuple[str, ...] = ()
    comms: Mapping[Status, Template] = field(default_factory=dict)
    origin: Annotated[Origin, Field(exclude=True)] = field(default_factory=Origin, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One setting of an experiment: of a sweep its value, else None."""

    value: str | None
    experiment: Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentStep:
    """Experiments in a drill. Several variants are a sweep over `sweep` (a path), in order, until one does not pass.

    `expect` is the one verdict, with its cause, that this step wants: "FAIL:durable". None: PASS.
    """

    kind: Literal["experiment"] = "experiment"
    id: str
    variants: tuple[Variant, ...]
    times: int
    require: Literal["all", "any"] = "all"
    sweep: str | None = None
    expect: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Something that a person tells others; with a `template` the words are rendered from the drill's facts."""

    kind: Literal["say"] = "say"
    id: str
    text: str
    who: str
    template: Status | None = None
    expect_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question that a person answers: done is yes, failed is no."""

    kind: Literal["ask"] = "ask"
    id: str
    text: str
    who: str
    expect_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookStep:
    """A step of a runbook carried out in a drill, by this person and in this time if the drill says so."""

    kind: Literal["runbook"] = "runbook"
    id: str
    runbook: str
    action: RunbookAction
    who: str
    expect_ns: int | None = None


DrillStep = ExperimentStep | Say | Ask | RunbookStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When the drill is due. `cron` has five fields, read in `timezone` (an IANA name); blackout windows are left out."""

    cron: str
    timezone: str = "UTC"
    blackouts: tuple[Blackout, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Where updates for one audience go: posted to a webhook as JSON, or handed to apprise. One of the two is set."""

    webhook: str | None = None
    apprise: str | None = None
    audience: Audience = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommsSpec:
    """Status updates: what must be kept to, where they go besides the outbox, and the runbook's wordings.

    `follow`: an update is written by itself when a fault is applied, witnessed, undone, and when the run is judged.
    """

    first_update_ns: int | None = None
    cadence_ns: int | None = None
    channels: tuple[Channel, ...] = ()
    follow: bool = True
    templates: Mapping[Status, Template] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """How many people must approve the plan, by its hash, before the drill may be carried out live."""

    required: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A drill document, complete: every experiment loaded with the drill's objectives added, every runbook step resolved.

    `lines` says where each step is in `source`; no part of what is agreed to, and not of a plan that was stored.
    """

    name: str
    title: str
    owner: str
    source: str
    base_dir: str
    exercise: Exercise
    people: Mapping[str, str]
    objectives: tuple[StatedPredicate, ...] = ()
    approvals: Approvals = Approvals()
    schedule: Schedule | None = None
    comms: CommsSpec | None = None
    findings_due_ns: Mapping[str, int] = field(default_factory=dict)
    steps: tuple[DrillStep, ...]
    lines: Annotated[Mapping[str, int], Field(exclude=True)] = field(default_factory=dict, repr=False, compare=False)
    origin: Annotated[Origin, Field(exclude=True)] = field(default_factory=Origin, repr=False, compare=False)

    @property
    def experiments(self) -> tuple[ExperimentStep, ...]:
        """Its experiment steps, in order."""
        return tuple(step for step in self.steps if isinstance(step, ExperimentStep))
