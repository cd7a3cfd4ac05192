"""`result.json` of a drill: every step as it went, what it came to, the updates sent and the findings to act on.

All instants are ns since the drill's origin. Absent is null.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.model.verdict import Status, Verdict

__all__ = [
    "DRILL_RESULT_SCHEMA",
    "MODES",
    "Approval",
    "Covered",
    "DrillFacts",
    "DrillFinding",
    "DrillObjective",
    "DrillResult",
    "DrillRun",
    "DrillStepResult",
    "Mode",
    "Outcome",
    "Posted",
    "RunFailure",
    "RunFinding",
    "RunObjective",
    "Update",
]

DRILL_RESULT_SCHEMA = "blackstart/drill-result/1"
Mode = Literal["tabletop", "rehearse", "live"]
MODES: tuple[Mode, ...] = ("tabletop", "rehearse", "live")
Outcome = Literal["done", "failed", "skipped", "not-performed", "not-begun"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Approval(_Value):
    """Who agreed to a plan, by its hash. The name is as it was given: nobody checked it."""

    by: str
    at_utc: str
    plan_hash: str
    note: str = ""


class RunObjective(_Value):
    """An objective of one run, as that run judged it."""

    text: str
    status: Status
    observed: str


class RunFinding(_Value):
    """A finding of one run."""

    severity: Literal["high", "medium", "low"]
    text: str


class RunFailure(_Value):
    """A failure that a run really caused: the kind of fault, and whose failure it was."""

    kind: str
    service: str


class Covered(_Value):
    """The last run that caused one kind of failure in one service. `ratio`: recovery as a share of its objective's limit."""

    failure: str
    service: str
    run_id: str
    name: str
    verdict: Verdict
    started_utc: str
    ratio: float | None = None


class DrillRun(_Value):
    """One run of an experiment in a drill. `run_id` is null when it was refused before anything of it existed."""

    run_id: str | None
    value: str | None = Field(default=None, description="of a sweep, the value that was tried")
    verdict: Verdict
    wanted: bool = Field(description="whether it came out as the step wants: PASS, or what it says under `expect`")
    sentence: str
    recovery: str = "not known"
    recovered: bool = False
    harmed: int | None = None
    lost: int | None = None
    title: str = ""
    started_utc: str = ""
    limit: str = Field(default="", description="of its recovery objective")
    recovery_ratio: float | None = Field(
        default=None, description="the upper bound of recovery as a share of its limit"
    )
    budget: str = Field(default="", description="what the run cost, in words")
    failures: tuple[RunFailure, ...] = ()
    evidence: tuple[str, ...] = Field(default=(), description="the sorts of evidence that its record holds")
    objectives: tuple[RunObjective, ...] = ()
    findings: tuple[RunFinding, ...] = ()


class DrillStepResult(_Value):
    """One step. `verdict` is what it adds to the drill's: done is PASS, failed FAIL, everything else INCONCLUSIVE."""

    id: str
    kind: Literal["experiment", "say", "ask", "runbook"]
    text: str
    who: str | None = None
    outcome: Outcome
    verdict: Verdict
    started_ns: int | None = None
    ended_ns: int | None = None
    expect_ns: int | None = None
    by: str = Field(default="", description="who said so: a name from the answers, or `tool`")
    note: str = ""
    output: str = ""
    runs: tuple[DrillRun, ...] = ()
    flaky: bool = False
    found: str | None = Field(default=None, description="of a sweep, the highest value that passed")


class Posted(_Value):
    """One attempt to post an update; `host` alone is kept of its address."""

    host: str
    ok: bool
    error: str = ""


class Update(_Value):
    """One status update. `files` are its wordings in the outbox."""

    number: int
    status: str
    at_ns: int
    by: str
    files: tuple[str, ...]
    posted: tuple[Posted, ...] = ()


class DrillObjective(_Value):
    """What the drill as a whole must meet: its stated objectives over all runs, and the comms limits."""

    text: str
    status: Status
    observed: str


class DrillFinding(_Value):
    """Something to act on. `key` is the same in the next drill's report, so that what stays open is followed.

    `state`: `open` (raised in this drill), `carried` (open since an earlier one), `retested` (its step passed this time).
    """

    number: str
    key: str
    severity: Literal["high", "medium", "low"]
    text: str
    step: str | None
    owner: str
    due: str
    state: Literal["open", "carried", "retested"]
    overdue: bool = False
    first_run: str
    first_seen_utc: str


class DrillFacts(_Value):
    """Which drill this was."""

    run_id: str
    name: str
    title: str
    owner: str
    exercise: str
    mode: Mode
    started_utc: str
    duration_ns: int
    plan_hash: str
    version: str
    source: str


class DrillResult(_Value):
    """One drill, judged."""

    schema_: Literal["blackstart/drill-result/1"] = Field(default="blackstart/drill-result/1", alias="schema")
    run: DrillFacts
    verdict: Verdict
    exit_code: int
    sentence: str
    steps: tuple[DrillStepResult, ...]
    objectives: tuple[DrillObjective, ...] = ()
    updates: tuple[Update, ...] = ()
    approvals: tuple[Approval, ...] = ()
    findings: tuple[DrillFinding, ...] = ()
    not_shown: tuple[str, ...] = ()
    coverage: tuple[Covered, ...] = Field(
        default=(), description="of this drill and of runs before it, the last of each"
    )
    services: tuple[str, ...] = Field(default=(), description="every service of the stacks that it drills")
    first_update_ns: int | None = Field(
        default=None, description="the worst run's time from its first fault to an update"
    )
    longest_gap_ns: int | None = Field(default=None, description="the longest time without an update, until resolved")

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
