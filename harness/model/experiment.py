"""One hypothesis, complete: stack, load, timeline of faults, rules and objectives. What `spec` returns and `plan` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from harness.model.fields import JsonObject
from harness.model.predicate import Predicate
from harness.model.stack import Blackout, Stack

__all__ = [
    "SLO",
    "ArrivalSpec",
    "At",
    "BlastRadius",
    "CheckSpec",
    "Experiment",
    "FaultEntry",
    "FinalSpec",
    "LoadSpec",
    "LocustCrew",
    "Origin",
    "ProberSpec",
    "Repeat",
    "RunsSpec",
    "Selector",
    "Sine",
    "Spikes",
    "Stage",
    "StatedPredicate",
    "SteadyState",
    "StepEntry",
    "TimelineEntry",
    "Traffic",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of load: from the rate before it to `rate_per_s` at its end, linearly, over `for_ns`."""

    rate_per_s: float
    for_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sine:
    """A rate that swings by `swing_ratio` (0..1) of itself up and down, once per `period_ns`, rising first."""

    swing_ratio: float
    period_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spikes:
    """Short stretches of another rate: the last `for_ns` of every `every_ns` run at `rate_per_s`."""

    rate_per_s: float
    for_ns: int
    every_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalSpec:
    """When ops are due. Exactly one of `rate_per_s`, `stages`, `trace` (a CSV of seconds), `users` (closed loop) is set.

    `sine` or `spikes`, at most one, change a `rate_per_s` over time.
    """

    shape: Literal["even", "poisson", "gamma"] = "poisson"
    rate_per_s: float | None = None
    sine: Sine | None = None
    spikes: Spikes | None = None
    stages: tuple[Stage, ...] = ()
    trace: str | None = None
    users: int | None = None

    @property
    def lowest_rate_per_s(self) -> float | None:
        """The lowest planned rate, which sets the window; None when arrivals do not say (a trace, a closed loop)."""
        if self.rate_per_s is not None and self.sine is not None:
            return self.rate_per_s * (1 - self.sine.swing_ratio)
        if self.rate_per_s is not None:
            return self.rate_per_s if self.spikes is None else min(self.rate_per_s, self.spikes.rate_per_s)
        return min((stage.rate_per_s for stage in self.stages), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProberSpec:
    """One small op per region and group, beside the users, never in an SLI."""

    every_ns: int
    timeout_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocustCrew:
    """Locust over a master: so many workers of our own on this machine, so many that join from elsewhere at `bind`.

    `bind` is "host:port" of the master; None: a free port of loopback, which no other machine can join.
    """

    workers: int = 0
    remote: int = 0
    bind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """The synthetic load. `groups` maps a group to its share (they sum to 1); empty means one unnamed group.

    `profile` is a built-in name or an absolute "path.py:ClassName"; `options` are the profile's `with:` keys.
    """

    profile: str
    arrival: ArrivalSpec
    timeout_ns: int
    prober: ProberSpec | None = None
    groups: Mapping[str, float] = field(default_factory=dict)
    options: JsonObject = field(default_factory=dict)
    users: int = 1
    users_max: int | None = None
    workers: int = 1
    warmup_ns: int = 2_000_000_000
    deadline_ns: int | None = None
    engine: str = "asyncio"
    crew: LocustCrew | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SLO:
    """A service level objective. `under_ns` makes it a latency SLO (on TTFT for name "ttft"); `on` cuts it to a slice."""

    name: str
    target_ratio: float
    window_ns: int
    under_ns: int | None = None
    on: Mapping[str, str] = field(default_factory=dict)
    excludes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Production traffic, to which the budget's cost is projected."""

    at_drill_per_s: float
    mean_per_s: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """What must hold before anything is broken, judged over `for_ns`, and again afterwards when `after`."""

    for_ns: int
    require: tuple[Predicate, ...]
    after: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BlastRadius:
    """Caps on what one run may touch: so many regions, and such a share of the drillable instances."""

    regions: int = 1
    share_ratio: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Names of targets. `by` says what `names` are; `pick` is "all", a count or a share, drawn from the seed."""

    by: Literal["region", "service", "instance", "role", "link"]
    names: tuple[str, ...]
    pick: str = "all"
    only_drillable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """A moment: `offset_ns` after T0, or after another entry's start or end."""

    offset_ns: int
    entry: str | None = None
    edge: Literal["start", "end"] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Flapping: the fault again and again, `times` in all, starts `every_ns` apart."""

    every_ns: int
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEntry:
    """A fault on the timeline. `on` for targets, or `between` for the two sides of a partition; `for_ns` None: until heal."""

    id: str
    kind: str
    params: JsonObject
    at: At
    on: Selector | None = None
    between: tuple[tuple[Selector, ...], tuple[Selector, ...]] | None = None
    for_ns: int | None = None
    jitter_ns: int = 0
    repeat: Repeat | None = None
    ends_itself: bool = False
    expect_no_impact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEntry:
    """Part of the scenario and not a fault: a command that must end with 0 within its time. Recorded, never reverted."""

    id: str
    argv: tuple[str, ...]
    cwd: str
    at: At
    within_ns: int
    jitter_ns: int = 0
    own: bool = False


TimelineEntry = FaultEntry | StepEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalSpec:
    """The final reads: within this long, of these regions (None: all that have an entry); `evidence` regions are read too."""

    within_ns: int = 30_000_000_000
    regions: tuple[str, ...] | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPredicate:
    """A predicate and the place that states it, for annotations: file and 1-based line, None when from `--set`."""

    predicate: Predicate
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """A data check to make. `name` is the check kind unless the document renamed it; `on` cuts the history to a slice."""

    name: str
    kind: str
    params: JsonObject = field(default_factory=dict)
    on: Mapping[str, str] = field(default_factory=dict)
    within_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSpec:
    """How often the experiment runs, and whether all or any must pass."""

    times: int = 1
    require: Literal["all", "any"] = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an experiment was made of. In memory alone: no plan, result or hash has it.

    `secrets` are the values taken from the environment. `documents` are the experiment and its stack as resolved, in YAML,
    by file name, with the placeholders of those values as they were written.
    """

    secrets: frozenset[str] = frozenset()
    documents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment document, complete: stack embedded, every default filled in, every predicate parsed."""

    name: str
    title: str
    hypothesis: str
    owner: str | None = None
    tags: tuple[str, ...] = ()
    source: str
    base_dir: str
    profile: str | None = None
    stack: Stack
    seed: int
    load: LoadSpec
    slos: tuple[SLO, ...] = ()
    traffic: Traffic | None = None
    budget_left: Mapping[str, float] = field(default_factory=dict)
    steady_state: SteadyState
    blast_radius: BlastRadius = BlastRadius()
    timeline: tuple[TimelineEntry, ...] = ()
    recovered_when: Predicate
    recovery_from: str | None = None
    abort_when: tuple[Predicate, ...] = ()
    observe_ns: int = 10_000_000_000
    settle_ns: int = 60_000_000_000
    settled_when: tuple[Predicate, ...] = ()
    final: FinalSpec = FinalSpec()
    objectives: tuple[StatedPredicate, ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    runs: RunsSpec = RunsSpec()
    covers: tuple[str, ...] = ()
    origin: Annotated[Origin, Field(exclude=True)] = field(default_factory=Origin, repr=False, compare=False)
    blackouts: tuple[Blackout, ...] = ()
