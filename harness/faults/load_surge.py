"""load-surge: clients offer several times what was planned, open loop, for a while."""

from __future__ import annotations

import secrets

from pydantic import Field

from harness.errors import InjectError, RevertError
from harness.faults.instance import look
from harness.model.catalog import FaultKind
from harness.model.fields import Params
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, World

__all__ = ["KIND", "LoadSurge", "LoadSurgeParams"]

_LOOK_NS = 1_000_000_000
_BASE_NS = 3_000_000_000
_WITNESS_LIMIT_NS = 3_000_000_000
_UNTOLD_NS = 60_000_000_000


class LoadSurgeParams(Params):
    """`factor`: how many times the planned rate is offered, surge included; above 1, at most 100."""

    factor: float = Field(gt=1, le=100)


class LoadSurgeState(FaultState):
    """The surge's name; the rates (1/s) offered and planned before it; when it ends by itself (ns since the origin)."""

    name: str
    offered_per_s: float
    planned_per_s: float
    deadline_ns: int


class LoadSurge:
    """Adds arrivals to the plan. What a cut-short `apply` leaves is calmed by `revert`, and ends at the deadline anyway."""

    state_type = LoadSurgeState

    def __init__(self, params: LoadSurgeParams) -> None:
        self.params = params

    async def prepare(self, target: Target, world: World) -> LoadSurgeState:
        if target.kind != "load":
            raise InjectError(f"{target.name} is a {target.kind}, expected the load")
        offered = world.load.offered_per_s(_BASE_NS)
        planned = world.load.planned_per_s(_BASE_NS)
        if planned <= 0:
            raise InjectError("load-surge: no arrivals are planned now, so there is nothing to multiply")
        return LoadSurgeState(
            name=f"surge-{secrets.token_hex(4)}",
            offered_per_s=offered,
            planned_per_s=planned,
            deadline_ns=world.clock.now_ns() + _UNTOLD_NS,
        )

    def with_deadline(self, state: LoadSurgeState, deadline_ns: int) -> LoadSurgeState:
        """The state of a surge that has no arrivals after that."""
        return state.model_copy(update={"deadline_ns": deadline_ns})

    async def apply(self, state: LoadSurgeState, world: World) -> None:
        await world.load.surge(state.name, self.params.factor, state.deadline_ns)

    async def witness(self, state: LoadSurgeState, world: World) -> Evidence:
        return await look(lambda: self._there(state, world), world, _WITNESS_LIMIT_NS)

    async def revert(self, state: LoadSurgeState, world: World) -> None:
        """End it. Without a load there is no surge: the reaper ends all load workers after the faults."""
        try:
            load = world.load
        except InjectError:
            return
        try:
            await load.calm(state.name)
        except InjectError as exc:
            raise RevertError(f"load-surge: {exc}") from exc

    async def verify(self, state: LoadSurgeState, world: World) -> Evidence:
        try:
            world.load  # noqa: B018 - whether there is one
        except InjectError as exc:
            return Evidence(present=False, at_ns=world.clock.now_ns(), what=str(exc))
        return await look(lambda: self._there(state, world), world, _WITNESS_LIMIT_NS, wanted=False)

    async def _there(self, state: LoadSurgeState, world: World) -> tuple[bool, str]:
        """More than half of what the surge should add arrives, beyond what was offered before it for the same plan."""
        offered, planned = world.load.offered_per_s(_LOOK_NS), world.load.planned_per_s(_LOOK_NS)
        usual = state.offered_per_s * planned / state.planned_per_s
        added = planned * (self.params.factor - 1)
        what = f"{offered:.1f}/s offered, {usual:.1f}/s without the surge, {usual + added:.1f}/s with it"
        return offered - usual > added / 2, what


KIND = FaultKind(
    name="load-surge",
    doc="more load than was planned: several times as many arrivals, at once and open loop",
    params=LoadSurgeParams,
    code="harness.faults.load_surge:LoadSurge",
    example="{fault: load-surge, factor: 3, at: 5s, for: 20s}",
    targets=frozenset({"load"}),
    holds=("rate",),
    what="offer {factor} times the planned rate",
    clients_see="they are the fault: more of them arrive, whatever answers they get",
    on_revert="no more of the added arrivals are due; those under way end by themselves",
    witness="the offered rate, counted where ops are started",
)
