"""restart: an instance goes away and comes back by itself, as under a supervisor. The return is the scenario, not a revert."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import field_validator

from harness.faults.instance import (
    HOSTS,
    InstanceFaultState,
    back_as,
    bring_back,
    keeps_its_address,
    look,
    named,
    seen_back,
    still_there,
    who_runs,
)
from harness.faults.stop import GRACE_MOST_NS
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World

__all__ = ["KIND", "Restart", "RestartParams"]


class RestartParams(Params):
    """`mode: kill` (SIGKILL) or `stop` (SIGTERM, 5 s, SIGKILL); `down`: how long it stays away, at most 20 s."""

    mode: Literal["kill", "stop"] = "kill"
    down: Duration = 500_000_000

    @field_validator("down")
    @classmethod
    def _bounded(cls, value: int) -> int:
        if value > GRACE_MOST_NS:
            raise ValueError(f"expected at most '20s' (for longer: fault kill with `for`), got '{value / 1e9:g}s'")
        return value


class Restart:
    """Takes an instance out for `down`, then starts it. `apply` cut half-way leaves it dead; `revert` starts it then."""

    state_type = InstanceFaultState
    _grace_ns = 5_000_000_000

    def __init__(self, params: RestartParams) -> None:
        self.params = params
        self._gone_ns: int | None = None

    async def prepare(self, target: Target, world: World) -> InstanceFaultState:
        state = await who_runs(target, world)
        await keeps_its_address(state, world)
        return state

    async def apply(self, state: InstanceFaultState, world: World) -> None:
        await still_there(state, world)
        host = world.host(state.instance)
        if self.params.mode == "kill":
            await host.kill(state.identity)
        else:
            await host.stop(self._grace_ns)
        self._gone_ns = world.clock.now_ns()
        await world.clock.sleep_until(self._gone_ns + self.params.down)
        await host.start()

    async def witness(self, state: InstanceFaultState, world: World) -> Evidence:
        """That another runs in its place now; seen to have gone when it went, which is when the effect began."""

        async def once() -> tuple[bool, str]:
            found = await world.host(state.instance).find()
            if found is None:
                return False, f"{named(state.identity)} is gone, nothing runs in its place"
            if found == state.identity:
                return False, f"{named(state.identity)} still runs"
            return True, back_as(found, state.identity)

        evidence = await look(once, world)
        return replace(evidence, at_ns=self._gone_ns) if evidence.present and self._gone_ns is not None else evidence

    async def revert(self, state: InstanceFaultState, world: World) -> None:
        await bring_back(state, world)

    async def verify(self, state: InstanceFaultState, world: World) -> Evidence:
        return await seen_back(state, world)


KIND = FaultKind(
    name="restart",
    doc="an instance goes away for a moment and comes back, as under a supervisor",
    params=RestartParams,
    code="harness.faults.restart:Restart",
    example="{fault: restart, mode: kill, down: 500ms, on: {service: gateway}}",
    targets=frozenset({"instance"}),
    hosts=HOSTS,
    holds=("process",),
    instant=True,
    needs_start=True,
    lasts="down",
    what="end every process of {target} and start it again after a pause",
    clients_see="open connections are reset; new ones are refused until it listens again",
    on_revert="nothing: its return is part of the scenario; {target} is started only if that was cut short",
    witness="another process runs in its place",
)
