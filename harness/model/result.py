"""`result.json`: everything measured, checked and judged of one run. Its JSON Schema is published: `blackstart schema result`.

All instants are ns since the run's origin, all ratios 0..1, absent is null. What cannot be known is said so, with why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from harness.model.measured import Interval, Measures, Recovery, Value
from harness.model.verdict import CheckVerdict, Status, Verdict

__all__ = [
    "RESULT_SCHEMA",
    "CheckResult",
    "EvidenceRow",
    "Exposure",
    "FaultResult",
    "Finding",
    "ObjectiveResult",
    "PhaseSpan",
    "Provenance",
    "Reason",
    "Result",
    "RunFacts",
    "Safety",
    "Series",
    "StepResult",
    "TimelineMark",
    "Validity",
    "zero_of",
]

RESULT_SCHEMA = "blackstart/result/1"


class EvidenceRow(Value):
    """One row that a judgement rests on: an op, in words that need no other file.

    For the picture, where known: `lane` (whose it was), `label` (what, in short), when it began and when it ended.
    """

    op: int
    text: str
    at_ns: int | None = None
    lane: str | None = None
    label: str | None = None
    began_ns: int | None = None
    ended_ns: int | None = Field(default=None, description="null: nobody knows, if ever")


class CheckResult(Value):
    """A data check's verdict. `counts` are what predicates may name (`lost`, `duplicates`); `volume` how much it saw."""

    name: str
    kind: str
    verdict: CheckVerdict
    sentence: str
    counts: dict[str, int] = Field(default_factory=dict)
    volume: dict[str, int] = Field(default_factory=dict)
    evidence: tuple[EvidenceRow, ...] = ()
    why_unknown: str | None = None


class ObjectiveResult(Value):
    """An objective judged. `observed` is in words; `lo`, `hi` in the limit's unit (hi null: unbounded above)."""

    text: str
    measure: str
    status: Status
    limit: str
    observed: str
    lo: float | None = None
    hi: float | None = None
    margin_ratio: float | None = Field(
        default=None, description="room left to the limit, as a share of it; negative: missed by"
    )
    evidence: tuple[EvidenceRow, ...] = ()
    why: str = ""
    file: str | None = None
    line: int | None = None
    kind: Literal["objective", "check"] = "objective"


class Exposure(Value):
    """Good ops served through the target in the 5 s before the effect; 30 are needed."""

    good: int | None
    needed: int
    met: bool | None
    how: str


class FaultResult(Value):
    """One planned fault as it really went. Intervals bracket the true instant."""

    id: str
    entry: str
    kind: str
    targets: tuple[str, ...]
    services: tuple[str, ...] = Field(
        default=(), description="whose failure it was: services, or what has none by name"
    )
    what: str
    clients_see: str
    on_revert: str
    effect: Interval | None = None
    end: Interval | None = None
    witnessed: bool
    held: bool | None = Field(default=None, description="seen again just before revert; null: not looked at")
    reverted: bool
    verified: bool
    exposure: Exposure | None = None
    expect_no_impact: bool = False
    error: str | None = None


def zero_of(recovery: Recovery, faults: Sequence[FaultResult]) -> tuple[int, str | None] | None:
    """T+0 of a run and the fault whose it is: the effect from which recovery counts, else the first; None without any.

    An effect of several faults together, or of a load, has no fault's name.
    """
    if recovery.effect is not None:
        return recovery.effect.lo_ns, recovery.from_fault
    return min(((fault.effect.lo_ns, fault.id) for fault in faults if fault.effect is not None), default=None)


class StepResult(Value):
    """A scenario step."""

    id: str
    started_ns: int | None
    ended_ns: int | None
    exit_code: int | None
    output: str = ""


class PhaseSpan(Value):
    """A phase of the run, half-open."""

    phase: str
    start_ns: int
    end_ns: int | None


class TimelineMark(Value):
    """A moment worth a marker: faults, steps, detection, promotion, recovery, abort."""

    at_ns: int
    kind: str
    text: str


class Reason(Value):
    """One reason for a verdict. `code` is stable (`not-witnessed`, `no-exposure`, `steady-state`, ...)."""

    verdict: Verdict
    code: str
    text: str


class Validity(Value):
    """Whether the instrument can be trusted."""

    started: int
    ended: int
    accounted: bool = Field(description="started = sum of outcomes")
    dropped: int
    late_p50_ns: int | None = None
    late_p99_ns: int | None = None
    late_max_ns: int | None = None
    resolution_ns: int | None = None
    workers: int = 0
    dead_workers: int = 0
    gc_pause_max_ns: int | None = None
    run_delay_ns: int | None = None
    closed_loop: bool = False
    clock_error_ns: int | None = Field(
        default=None, description="how far ops' instants may be off; null: the run's own clock"
    )
    unread: tuple[str, ...] = ()
    final_reads: int = 0
    steady_state_met: bool | None = None
    steady_state_after: bool | None = None
    notes: tuple[str, ...] = ()


class Audited(Value):
    """One sort of thing that the residue audit looked at: how many there were. None: it could not look, `blind` says why."""

    source: str
    before: int | None = None
    after: int | None = None
    blind: str = ""


class Safety(Value):
    """Proof that everything was put back. `audited`, `changed`: the fingerprint before and after, and what of it differs."""

    journaled: int = 0
    reverted: int = 0
    verified: int = 0
    unresolved: tuple[str, ...] = ()
    residue: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    reaper: str = "not needed"
    audited: tuple[Audited, ...] = ()
    changed: tuple[str, ...] = Field(default=(), description="differences that are not surely ours, in words")


class Series(Value):
    """Time series in equal half-open buckets by intended start; all lists have the length of `t_ns` (bucket starts)."""

    bucket_ns: int
    t_ns: tuple[int, ...] = ()
    offered: tuple[int, ...] = ()
    good: tuple[int, ...] = ()
    errors: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    latency_p50_ns: tuple[int | None, ...] = ()
    latency_p99_ns: tuple[int | None, ...] = ()
    ttft_p50_ns: tuple[int | None, ...] = ()
    ttft_p95_ns: tuple[int | None, ...] = ()
    regions: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="good ops by the region that served them"
    )
    prober_good: tuple[int, ...] = ()
    prober_bad: tuple[int, ...] = ()
    begun_per_100ms: tuple[int, ...] = Field(
        default=(), description="ops begun in each 100 ms from the first bucket on; closed loops only"
    )


class Finding(Value):
    """Something to act on or to know, in one sentence."""

    severity: Literal["high", "medium", "low", "strength"]
    text: str


class Provenance(Value):
    """What the run was of: its plan less seed and limits, and the project's commit. `compare` and `gate` go by it."""

    comparable: str = Field(description="SHA-256 of all in the plan that its numbers depend on")
    commit: str | None = Field(default=None, description="null: not a git work tree")
    dirty: bool | None = Field(default=None, description="the work tree differed from the commit")


class RunFacts(Value):
    """Which run this was. `provenance` null: recorded by a version that did not note it."""

    run_id: str
    name: str
    title: str
    hypothesis: str
    owner: str | None = None
    tags: tuple[str, ...] = ()
    stack: str
    environment: str
    started_utc: str
    duration_ns: int
    seed: int
    plan_hash: str
    version: str
    profile: str
    load: str
    source: str
    banners: tuple[str, ...] = ()
    provenance: Provenance | None = None


class Result(Value):
    """One run, judged."""

    schema_: Literal["blackstart/result/1"] = Field(default="blackstart/result/1", alias="schema")
    run: RunFacts
    verdict: Verdict
    exit_code: int
    sentence: str
    reasons: tuple[Reason, ...]
    objectives: tuple[ObjectiveResult, ...]
    checks: tuple[CheckResult, ...]
    measures: Measures
    faults: tuple[FaultResult, ...]
    steps: tuple[StepResult, ...]
    phases: tuple[PhaseSpan, ...]
    marks: tuple[TimelineMark, ...]
    series: Series
    validity: Validity
    safety: Safety
    findings: tuple[Finding, ...]
    not_shown: tuple[str, ...] = Field(default=(), description="what this run does not show")
    t0_ns: int | None = None

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
