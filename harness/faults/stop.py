"""stop: an instance is asked to end, as in a rolling deploy or a drain; what does not end in time is killed."""

from __future__ import annotations

from pydantic import field_validator

from harness.faults.instance import (
    HOSTS,
    InstanceFaultState,
    bring_back,
    keeps_its_address,
    seen_back,
    seen_gone,
    still_there,
    who_runs,
)
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World
from harness.units import format_duration

__all__ = ["GRACE_MOST_NS", "KIND", "Stop", "StopParams"]

GRACE_MOST_NS = 20_000_000_000
"""An apply must be over in 30 s, the kill after the grace included."""


class StopParams(Params):
    """`grace`: how long it may take to end by itself, at most 20 s."""

    grace: Duration = 10_000_000_000

    @field_validator("grace")
    @classmethod
    def _bounded(cls, value: int) -> int:
        if value > GRACE_MOST_NS:
            raise ValueError(f"expected at most '20s', got '{value / 1e9:g}s'")
        return value


class Stop:
    """Stops an instance gracefully. `apply` cut half-way leaves it ending or dead; `revert` starts what does not run."""

    state_type = InstanceFaultState

    def __init__(self, params: StopParams) -> None:
        self.params = params
        self._how: str | None = None

    async def prepare(self, target: Target, world: World) -> InstanceFaultState:
        state = await who_runs(target, world)
        await keeps_its_address(state, world)
        return state

    async def apply(self, state: InstanceFaultState, world: World) -> None:
        await still_there(state, world)
        by_itself = await world.host(state.instance).stop(self.params.grace)
        grace = format_duration(self.params.grace)
        self._how = "it ended by itself" if by_itself else f"it had to be killed after {grace}"

    async def witness(self, state: InstanceFaultState, world: World) -> Evidence:
        evidence = await seen_gone(state, world)
        if self._how is None or not evidence.present:
            return evidence
        return Evidence(present=True, at_ns=evidence.at_ns, what=f"{evidence.what}; {self._how}")

    async def revert(self, state: InstanceFaultState, world: World) -> None:
        await bring_back(state, world)

    async def verify(self, state: InstanceFaultState, world: World) -> Evidence:
        return await seen_back(state, world)


KIND = FaultKind(
    name="stop",
    doc="an instance is asked to end (SIGTERM) and killed if it does not in time",
    params=StopParams,
    code="harness.faults.stop:Stop",
    example="{fault: stop, grace: 10s, on: {instance: gateway-eu}, for: 20s}",
    targets=frozenset({"instance"}),
    hosts=HOSTS,
    holds=("process",),
    needs_start=True,
    what="SIGTERM to {target}, and SIGKILL if it has not ended within the grace",
    clients_see="open connections end as {target} ends them; new ones are refused once it has stopped listening",
    on_revert="{target} is started again as the stack file says; clients must connect anew",
    witness="its process is gone and its ports refuse connections",
)
