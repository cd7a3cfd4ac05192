"""pause: an instance is alive and silent. Connects still succeed, requests hang: the gray failure that fools health checks."""

from __future__ import annotations

from harness.errors import InjectError
from harness.faults.instance import HOSTS, InstanceFaultState, look, named, still_there, who_runs
from harness.faults.link import connects
from harness.model.catalog import FaultKind
from harness.model.fields import Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World

__all__ = ["KIND", "Pause", "PauseParams"]


class PauseParams(Params):
    """No parameters."""


class Pause:
    """Freezes an instance's tree. `apply` cut half-way leaves some of it stopped; `revert` continues whatever is."""

    state_type = InstanceFaultState

    def __init__(self, params: PauseParams) -> None:
        self.params = params

    async def prepare(self, target: Target, world: World) -> InstanceFaultState:
        state = await who_runs(target, world)
        if await world.host(state.instance).frozen(state.identity):
            raise InjectError(
                f"instance {state.instance}: {named(state.identity)} is stopped already, not by this fault"
            )
        return state

    async def apply(self, state: InstanceFaultState, world: World) -> None:
        await still_there(state, world)
        await world.host(state.instance).freeze(state.identity)

    async def witness(self, state: InstanceFaultState, world: World) -> Evidence:
        async def once() -> tuple[bool, str]:
            frozen = await world.host(state.instance).frozen(state.identity)
            return frozen, f"{named(state.identity)} and all its descendants are {'' if frozen else 'not all '}stopped"

        evidence = await look(once, world, 500_000_000)  # a freeze has waited already
        if not evidence.present:
            found = await world.host(state.instance).find()
            what = evidence.what if found == state.identity else f"{named(state.identity)} does not run any more"
            return Evidence(present=False, at_ns=evidence.at_ns, what=what)
        accepting = [place for place in state.ports if await connects(place)]
        also = f"; {', '.join(accepting)} still accepts connections" if accepting else ""
        return Evidence(present=True, at_ns=evidence.at_ns, what=evidence.what + also)

    async def revert(self, state: InstanceFaultState, world: World) -> None:
        await world.host(state.instance).thaw(state.identity)

    async def verify(self, state: InstanceFaultState, world: World) -> Evidence:
        """Thawed. One that ended meanwhile is not frozen either: whether it must be there is for readiness to judge."""
        frozen = await world.host(state.instance).frozen(state.identity)
        found = await world.host(state.instance).find()
        if frozen:
            what = f"{named(state.identity)} is still stopped"
        elif found == state.identity:
            what = f"{named(state.identity)} runs again"
        else:
            what = f"{named(state.identity)} ended while it was paused"
        return Evidence(present=frozen, at_ns=world.clock.now_ns(), what=what)


KIND = FaultKind(
    name="pause",
    doc="an instance is alive and silent: every process of it is stopped (SIGSTOP)",
    params=PauseParams,
    code="harness.faults.pause:Pause",
    example="{fault: pause, on: {instance: db-eu}, for: 10s}",
    targets=frozenset({"instance"}),
    hosts=HOSTS,
    holds=("process",),
    what="SIGSTOP every process of {target}, parents first",
    clients_see="connects still succeed, but open and new connections get no answer",
    on_revert="SIGCONT: open connections resume, and what clients sent meanwhile is worked off",
    witness="all of its processes are stopped",
)
