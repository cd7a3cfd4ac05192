"""What was measured of a run: the values that `measure` makes, which become part of `result.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AlertRow",
    "Availability",
    "BudgetCost",
    "BurnAlert",
    "Counts",
    "Disruption",
    "Instants",
    "Interval",
    "LatencyRow",
    "Loss",
    "LostWrite",
    "Measures",
    "ProbeSummary",
    "Recovery",
    "SliceMeasures",
    "Value",
]


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(Value):
    """A span known to contain the truth. `hi_ns` null: no upper bound (right-censored)."""

    lo_ns: int
    hi_ns: int | None


class Counts(Value):
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


class Availability(Value):
    """[good/(valid+dropped), good/valid], never an average of buckets. Null when nothing was offered."""

    lo_ratio: float
    hi_ratio: float
    wire_ratio: float | None = Field(default=None, description="good wire attempts over all wire attempts")


class Disruption(Value):
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


class Recovery(Value):
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


class LatencyRow(Value):
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


class BurnAlert(Value):
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


class BudgetCost(Value):
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


class LostWrite(Value):
    """One acknowledged write that a final read should hold and does not."""

    op: int
    key: str | None
    value: str | None
    acked_ns: int | None


class Loss(Value):
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
    writes: tuple[LostWrite, ...] = Field(
        default=(),
        description="the lost writes of the worst region by acknowledgement, the first 10,000 of them; not in slices",
    )


class Instants(Value):
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


class SliceMeasures(Value):
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


class AlertRow(Value):
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


class ProbeSummary(Value):
    """A probe over inject and later. Null without a good sample."""

    name: str
    samples: int
    failed: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    last: float | None = None
    by_phase: dict[str, dict[str, float]] = Field(default_factory=dict)


class Measures(Value):
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
