"""`result.json`: everything measured, checked and judged of one run. Its JSON Schema is published: `blackstart schema result`.

All instants are ns since the run's origin, all ratios 0..1, absent is null. What cannot be known is said so, with why.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.model.verdict import CheckVerdict, Status, Verdict

__all__ = [
    "RESULT_SCHEMA",
    "AlertRow",
    "Availability",
    "BudgetCost",
    "BurnAlert",
    "CheckResult",
    "Counts",
    "Disruption",
    "EvidenceRow",
    "Exposure",
    "FaultResult",
    "Finding",
    "Instants",
    "Interval",
    "LatencyRow",
    "Loss",
    "Measures",
    "ObjectiveResult",
    "PhaseSpan",
    "ProbeSummary",
    "Provenance",
    "Reason",
    "Recovery",
    "Result",
    "RunFacts",
    "Safety",
    "Series",
    "SliceMeasures",
    "StepResult",
    "TimelineMark",
    "Validity",
]

RESULT_SCHEMA = "blackstart/result/1"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Value):
    """A span known to contain the truth. `hi_ns` null: no upper bound (right-censored)."""

    lo_ns: int
    hi_ns: int | None


class Counts(_Value):
    """Ops of phase load, warm-up left out. valid = good + bad; offered = valid + cut + dropped + excluded. `harmed` = bad."""

    offered: int = 0
    valid: int = 0
    good: int = 0
    bad: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0
    cut: int = 0
    dropped: int = 0
    excluded: int = Field(default=0, description="ended with a status that an SLO excludes: neither good nor bad")
    slow: int = Field(default=0, description="ok, but beyond a latency SLO: bad")
    wrong: int = Field(default=0, description="ok, but content not as expected: bad")
    mid_stream: int = Field(default=0, description="broken after the first byte")
    by_error: dict[str, int] = Field(
        default_factory=dict, description="bad ops by error class, `slow` and `wrong` among them"
    )


class Availability(_Value):
    """[good/(valid+dropped), good/valid], never an average of buckets. Null when nothing was offered."""

    lo_ratio: float
    hi_ratio: float
    wire_ratio: float | None = Field(default=None, description="good wire attempts over all wire attempts")


class Disruption(_Value):
    """A maximal span of violating windows: from the first bad op's intended start to the end of its last bad op's interval."""

    start_ns: int
    end_ns: int | None
    cause: str | None = Field(
        default=None, description="id of the fault or step it is attributed to; null: nothing of ours"
    )
    edge: Literal["inject", "revert", "step"] | None = None
    incident: str | None = Field(default=None, description="document id of the fault whose incident this is")
    bad: int
    valid: int
    last_bad_ns: int


class Recovery(_Value):
    """How long service was disrupted by injects (or, for the return, by reverts). See DESIGN 9 for the definition.

    `state`: `recovered` (interval is exact within its bounds), `none` (no disruption: 0), `censored` (only a lower
    bound), `unknown` (no fault, no data). `masked`: no disruption, but latency or retries moved.
    """

    state: Literal["recovered", "none", "censored", "unknown"]
    interval: Interval | None = None
    masked: bool = False
    recovered_by: Literal["stack", "step", "revert", "unclear"] | None = None
    from_fault: str | None = None
    effect: Interval | None = None
    last_bad_op: int | None = None
    first_good_op: int | None = None
    why: str = ""


class LatencyRow(_Value):
    """Percentiles of one population, from intended start; null where fewer than 20 ops stand behind it."""

    measure: Literal["latency", "ttft", "chunk_gap"] = Field(
        description="`chunk_gap`: each stream's longest wait from one chunk to the next, of streams that broke too"
    )
    population: str = Field(description="`calm` (outside every disruption), `all`, or a phase name")
    f: str | None = None
    group: str | None = None
    count: int
    p50_ns: int | None = None
    p90_ns: int | None = None
    p95_ns: int | None = None
    p99_ns: int | None = None
    p999_ns: int | None = None
    max_ns: int | None = None


class BurnAlert(_Value):
    """A multi-window burn-rate alert, simulated: had this run happened to production traffic, when would it have paged?

    `page_ns` counts from the first effect; null: it would not have paged. `outage_needed_ns`: a full outage as long would.
    """

    share_ratio: float
    long_ns: int
    short_ns: int
    threshold: float = Field(description="share x SLO window / long window")
    peak_burn: float = Field(description="of the long window, at its highest within the run")
    pages: bool
    page_ns: int | None = None
    outage_needed_ns: int | None = None


class BudgetCost(_Value):
    """What the run cost one SLO. `outage_s` = sum over time of bad share x dt, outage-equivalent seconds at offered load."""

    slo: str
    target_ratio: float
    window_ns: int
    bad: int
    valid: int
    outage_s: float
    cost_share_ratio: float
    burn_rate: float | None = Field(default=None, description="bad ratio over the run divided by 1 - target")
    affordable: float | None = Field(
        default=None, description="drills of this cost per window; null when it cost nothing"
    )
    left_before_ratio: float | None = None
    left_source: str | None = None
    notional: bool
    basis: str
    pages: tuple[BurnAlert, ...] = Field(default=(), description="burn-rate alerts, simulated")


class Loss(_Value):
    """Acknowledged ops absent from final reads. The headline is the worst region; `regions` has each one's count."""

    known: bool
    why: str = ""
    lost: int | None = None
    acknowledged: int = 0
    share_ratio: float | None = None
    bound_ratio: float | None = Field(default=None, description="95 % upper bound of the share: 3/n at 0 lost")
    span_ns: int | None = None
    until_ns: int | None = Field(default=None, description="last lost acknowledgement minus effect; negative before it")
    holes: int | None = None
    recoverable: int = 0
    regions: dict[str, int] = Field(default_factory=dict)


class Instants(_Value):
    """Single moments relative to the first effect. Null: did not happen or cannot be known; `why` says which, by name."""

    first_success_ns: int | None = None
    error_period_ns: int | None = Field(
        default=None, description="from the first to the last bad operation's intended start, in disruptions by faults"
    )
    last_error_seen_ns: int | None = None
    detection_ns: int | None = None
    detection_source: str | None = None
    failover_ns: int | None = None
    failback_ns: int | None = None
    gap_ns: int | None = Field(default=None, description="longest time without any good completion")
    gray_ns: int | None = Field(default=None, description="clients suffered while every health signal was green")
    backlog_ns: int | None = Field(
        default=None, description="until no more ops were open than in calm; 0: there never were"
    )
    redundancy: Interval | None = Field(default=None, description="until all was ready and settled; open: it was not")
    attempts_before: float | None = Field(default=None, description="wire attempts per op in the steady state")
    attempts_during: float | None = Field(
        default=None, description="from the effect to the last disruption's or revert's end"
    )
    retry_amplification: float | None = Field(default=None, description="attempts during over attempts before")
    why: dict[str, str] = Field(default={}, description="why a moment has no value, as in {failover: unknown: ...}")


class SliceMeasures(_Value):
    """The main measures of one slice (`group=follow`, `region=eu-west`, `f=append`)."""

    slice: dict[str, str]
    counts: Counts
    availability: Availability | None
    recovery: Recovery
    recovery_return: Recovery | None = None
    loss: Loss | None = None
    instants: Instants | None = Field(default=None, description="those moments that a slice has of its own")
    budgets: tuple[BudgetCost, ...] = Field(default=(), description="as if all traffic were like this slice's")
    unplaced: int = Field(default=0, description="bad or dropped ops that do not say whether they belong to it")


class AlertRow(_Value):
    """An alert by name, counted from the first effect to when we were told. Null: `why` says whether it cannot be known.

    `series`: sets of labels seen; `firings` after the effect; `before`, `standing`: firing at the effect, at the end.
    """

    name: str
    series: int
    firings: int
    before: bool = False
    standing: bool = False
    fires: Interval | None = None
    clears: Interval | None = None
    why: dict[str, str] = {}


class ProbeSummary(_Value):
    """A probe over inject and later. Null without a good sample."""

    name: str
    samples: int
    failed: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    last: float | None = None
    by_phase: dict[str, dict[str, float]] = Field(default_factory=dict)


class Measures(_Value):
    """Every measure of the run. `window_ns` is the rule's trailing window; `smallest_outage_ns` what it surely sees."""

    counts: Counts
    availability: Availability | None
    window_ns: int
    smallest_outage_ns: int | None
    steady_bad_upper_ratio: float | None
    disruptions: tuple[Disruption, ...]
    recovery: Recovery
    recovery_return: Recovery
    recovery_prober: Recovery
    instants: Instants
    latency: tuple[LatencyRow, ...]
    budgets: tuple[BudgetCost, ...]
    loss: Loss
    slices: tuple[SliceMeasures, ...]
    worst: dict[str, dict[str, str]] = Field(
        default={}, description="the worst slice by measure: availability, recovery_time"
    )
    probes: tuple[ProbeSummary, ...]
    alerts: tuple[AlertRow, ...] = ()


class EvidenceRow(_Value):
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


class CheckResult(_Value):
    """A data check's verdict. `counts` are what predicates may name (`lost`, `duplicates`); `volume` how much it saw."""

    name: str
    kind: str
    verdict: CheckVerdict
    sentence: str
    counts: dict[str, int] = Field(default_factory=dict)
    volume: dict[str, int] = Field(default_factory=dict)
    evidence: tuple[EvidenceRow, ...] = ()
    why_unknown: str | None = None


class ObjectiveResult(_Value):
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


class Exposure(_Value):
    """Good ops served through the target in the 5 s before the effect; 30 are needed."""

    good: int | None
    needed: int
    met: bool | None
    how: str


class FaultResult(_Value):
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


class StepResult(_Value):
    """A scenario step."""

    id: str
    started_ns: int | None
    ended_ns: int | None
    exit_code: int | None
    output: str = ""


class PhaseSpan(_Value):
    """A phase of the run, half-open."""

    phase: str
    start_ns: int
    end_ns: int | None


class TimelineMark(_Value):
    """A moment worth a marker: faults, steps, detection, promotion, recovery, abort."""

    at_ns: int
    kind: str
    text: str


class Reason(_Value):
    """One reason for a verdict. `code` is stable (`not-witnessed`, `no-exposure`, `steady-state`, ...)."""

    verdict: Verdict
    code: str
    text: str


class Validity(_Value):
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


class Audited(_Value):
    """One sort of thing that the residue audit looked at: how many there were. None: it could not look, `blind` says why."""

    source: str
    before: int | None = None
    after: int | None = None
    blind: str = ""


class Safety(_Value):
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


class Series(_Value):
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


class Finding(_Value):
    """Something to act on or to know, in one sentence."""

    severity: Literal["high", "medium", "low", "strength"]
    text: str


class Provenance(_Value):
    """What the run was of: its plan less seed and limits, and the project's commit. `compare` and `gate` go by it."""

    comparable: str = Field(description="SHA-256 of all in the plan that its numbers depend on")
    commit: str | None = Field(default=None, description="null: not a git work tree")
    dirty: bool | None = Field(default=None, description="the work tree differed from the commit")


class RunFacts(_Value):
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


class Result(_Value):
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
