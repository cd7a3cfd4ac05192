"""Faults: the injector, what it is given and what it must show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from harness.model.fields import Params
from harness.model.plan import Target
from harness.model.ports.clock import Clock
from harness.model.ports.hosts import Host
from harness.model.ports.links import LinkControl
from harness.model.wiring import Wiring

__all__ = ["Deadlined", "Evidence", "FaultState", "Injector", "Layered", "LoadControl", "Patient", "World"]


class FaultState(Params):
    """Base of what an injector must know to undo itself; journaled as JSON before `apply`, read back by the reaper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One look at whether a fault's effect is there. `at_ns` is when it was seen; `what` one sentence for the report."""

    present: bool
    at_ns: int
    what: str


class LoadControl(Protocol):
    """The load while it is offered, as a fault sees it. Rates count ops that were started, or due and dropped."""

    async def surge(self, name: str, factor: float, until_ns: int) -> None:
        """Offer `factor` times the planned rate from now on. Raises InjectError when the engine cannot."""
        ...

    async def calm(self, name: str) -> None:
        """End that surge now. Legal when there is none."""
        ...

    def offered_per_s(self, over_ns: int) -> float:
        """Ops offered in the last `over_ns`, as a rate."""
        ...

    def planned_per_s(self, over_ns: int) -> float:
        """Arrivals planned in the last `over_ns` without any surge, as a rate."""
        ...


class World(Protocol):
    """All that an injector may touch. Built by the conductor, and rebuilt from the journal by the reaper."""

    @property
    def run_id(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def wiring(self) -> Wiring: ...
    def host(self, instance: str) -> Host:
        """The host of one instance. Raises HarnessBug for a name outside the plan."""
        ...

    @property
    def links(self) -> LinkControl:
        """The fault proxy. Raises InjectError when the stack has no link."""
        ...

    @property
    def load(self) -> LoadControl:
        """The load. Raises InjectError when none is offered: before it begins, and in the reaper, which ends it."""
        ...


class Injector(Protocol):
    """Carries out one fault on one target. Made by calling a FaultKind's code with its params: `code(params)`.

    A cut-short `apply` leaves at most what `revert(state)` undoes. `witness` and `verify` look from outside.
    """

    state_type: type[FaultState]

    async def prepare(self, target: Target, world: World) -> Any:
        """The target's state before anything is touched (a `state_type`). Raises InjectError or UnsafeError to refuse."""
        ...

    async def apply(self, state: Any, world: World) -> None:
        """Break it. Raises InjectError when that fails; `revert` follows in any case."""
        ...

    async def witness(self, state: Any, world: World) -> Evidence:
        """Whether the effect is there now; polls for a short bounded time until it is, then says no."""
        ...

    async def revert(self, state: Any, world: World) -> None:
        """Put it back. Idempotent, legal when nothing was applied, tolerant of a vanished or replaced target."""
        ...

    async def verify(self, state: Any, world: World) -> Evidence:
        """Whether the effect is *gone* and the target is as `prepare` found it: `present=False` is the good answer."""
        ...


@runtime_checkable
class Layered(Protocol):
    """An injector of which several, with different parameters, may stand on one target: each adds its layer to the original."""

    def over(self, below: Any) -> Any:
        """This fault's state when it stands on another of its kind: the same original, seen with its own parameters."""
        ...

    async def compose(self, state: Any, layers: Sequence[Any], world: World) -> None:
        """Bring about what `layers` (all of this kind, at least one, oldest first) do together to the original in `state`."""
        ...


@runtime_checkable
class Deadlined(Protocol):
    """An injector whose effect ends by itself at the fault's deadline, even when all of Blackstart is dead."""

    def with_deadline(self, state: Any, deadline_ns: int) -> Any:
        """The state with the deadline in it (ns since the run's origin), as it is journaled and then applied."""
        ...


@runtime_checkable
class Patient(Protocol):
    """An injector that runs other people's code, which may take longer than ours is given."""

    @property
    def patience_ns(self) -> int:
        """How long one call of it may take, where that is more than the usual limit."""
        ...


# ---- probes, signals -------------------------------------------------------------------------------------------------
