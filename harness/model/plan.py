"""What a run will do, resolved and frozen before anything is touched. What `plan` returns and `run` carries out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.model.experiment import Experiment
from harness.model.fields import JsonObject

__all__ = ["BudgetForecast", "CutEnd", "Plan", "PlannedFault", "PlannedStep", "Target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEnd:
    """One instance of a side of a cut. `address` and `user` are its own, shared with nobody outside its side, or None.

    `netns`: it is known by its network namespace instead: "its own" (a container), or the region that has one, by name.
    `role`: it is one of the candidates for that role, and belongs to the side if it holds the role at apply.
    """

    instance: str
    address: str | None = None
    user: str | None = None
    netns: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing that a fault touches: an instance, a link, or a cut between two sides of instances, by name; or the stack, or
    the load, as a whole.

    A `role` is asked for its holder at apply; then `name` is the role and `candidates` the frozen set of instances that
    may hold it. A `cut` has `sides`, the first and the second.
    """

    kind: Literal["instance", "link", "role", "cut", "stack", "load"]
    name: str
    region: str | None = None
    host: str | None = None
    candidates: tuple[str, ...] = ()
    sides: tuple[tuple[CutEnd, ...], tuple[CutEnd, ...]] = ((), ())

    @property
    def cut_off(self) -> tuple[str, ...]:
        """The instances on either side of a cut."""
        return tuple(end.instance for side in self.sides for end in side)

    @property
    def boxed(self) -> bool:
        """Whether it is a cut between network namespaces, not between processes of this machine's own."""
        return any(end.netns is not None for side in self.sides for end in side)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles whose holders must be asked for before it can be applied."""
        if self.kind == "role":
            return (self.name,)
        return tuple(dict.fromkeys(end.role for side in self.sides for end in side if end.role is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One application of a fault. A repeated entry becomes several, ids "flap#1", "flap#2"; `entry` keeps the document's id.

    `at_ns` counts from T0 with the jitter drawn. `side` are the instances of a partition's first side.
    """

    id: str
    entry: str
    kind: str
    params: JsonObject
    targets: tuple[Target, ...]
    at_ns: int
    for_ns: int | None
    jitter_ns: int = 0
    ends_itself: bool = False
    expect_no_impact: bool = False
    what: str
    clients_see: str
    on_revert: str
    side: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One scenario step at `at_ns` after T0."""

    id: str
    argv: tuple[str, ...]
    cwd: str
    at_ns: int
    within_ns: int
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetForecast:
    """What the run is expected to cost one SLO: outage-equivalent seconds at most, and the share of its budget."""

    slo: str
    outage_s: float
    cost_share_ratio: float
    notional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run to be. `hash` is the SHA-256 (hex) of everything else in canonical JSON.

    `window_ns` is the trailing window of the disruption rule; `smallest_outage_ns` the shortest full outage that it
    surely sees; None when arrivals do not say their rate.
    """

    experiment: Experiment
    faults: tuple[PlannedFault, ...]
    steps: tuple[PlannedStep, ...] = ()
    window_ns: int
    smallest_outage_ns: int | None = None
    longest_ns: int
    forecasts: tuple[BudgetForecast, ...] = ()
    protected: bool = False
    warnings: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    hash: str = ""
