"""kill: every process of an instance ends at once, as after a crash or an OOM kill; nothing of it gets to say goodbye."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from harness.errors import InjectError
from harness.faults.instance import (
    CONTAINERS,
    HOSTS,
    InstanceFaultState,
    back_as,
    bring_back,
    keeps_its_address,
    look,
    named,
    seen_back,
    seen_gone,
    still_there,
    who_runs,
)
from harness.model.catalog import FaultKind, Words
from harness.model.fields import JsonObject, Params
from harness.model.plan import Target
from harness.model.ports import Crashable, Evidence, Powered, World
from harness.model.stack import Instance

__all__ = ["KIND", "Kill", "KillParams", "KillState"]


POWERED = frozenset({"process", "python"})


class KillParams(Params):
    """`mode: process` is SIGKILL of the whole tree: what reached the page cache survives it, so that it cannot show an
    acknowledgement that came before the fsync. `mode: power` is that and the loss of all that was not synced: the instance
    must have a file system of its own (`disk: 64MB` in the stack file), or say that it keeps nothing on disk (`disk: none`).

    `via`: a container is killed by its `engine` (which then does not restart it), or by its first process's `pid`, a crash on
    which restart policies and supervisors act: what they bring back is part of it.
    """

    mode: Literal["process", "power"] = "process"
    via: Literal["engine", "pid"] | None = None

    @model_validator(mode="after")
    def _power_has_no_way(self) -> KillParams:
        if self.mode == "power" and self.via is not None:
            raise ValueError("`via` is how a container is killed; `mode: power` takes none")
        return self


class KillState(InstanceFaultState):
    """Also whether it was stopped already (by a pause that stands): then it is not ours to continue."""

    was_frozen: bool = False


class Kill:
    """Kills an instance's tree. `apply` cut half-way leaves some of it stopped or dead; `revert` starts what does not run."""

    state_type = KillState

    def __init__(self, params: KillParams) -> None:
        self.params = params

    async def prepare(self, target: Target, world: World) -> KillState:
        state = await who_runs(target, world)
        await keeps_its_address(state, world)
        frozen = await world.host(state.instance).frozen(state.identity)
        return KillState(**state.model_dump(), was_frozen=frozen)

    async def apply(self, state: KillState, world: World) -> None:
        await still_there(state, world)
        host = world.host(state.instance)
        if self.params.mode == "power":
            if not isinstance(host, Powered):
                raise InjectError(f"instance {state.instance}: its host cannot cut its power")
            await host.cut_power(state.identity)
        elif self.params.via == "pid" and isinstance(host, Crashable):
            await host.crash(state.identity)
        else:
            await host.kill(state.identity)

    async def witness(self, state: KillState, world: World) -> Evidence:
        if self.params.mode == "power":
            return self._seen_cut(await seen_gone(state, world), state, world)
        if self.params.via != "pid":
            return await seen_gone(state, world)

        async def once() -> tuple[bool, str]:
            found = await world.host(state.instance).find()
            who = named(state.identity)
            if found == state.identity:
                return False, f"{who} still runs"
            return True, f"{who} died" + ("" if found is None else f"; {back_as(found, state.identity)} already")

        return await look(once, world)

    def _seen_cut(self, gone: Evidence, state: KillState, world: World) -> Evidence:
        host = world.host(state.instance)
        took = host.power_took(state.identity) if isinstance(host, Powered) else None
        what = f"{gone.what}; {took or 'but its power was not cut'}"
        return Evidence(present=gone.present and took is not None, at_ns=gone.at_ns, what=what)

    async def revert(self, state: KillState, world: World) -> None:
        if not state.was_frozen:  # a kill stops first: cut in between, it is only stopped
            await world.host(state.instance).thaw(state.identity)
        await bring_back(state, world)

    async def verify(self, state: KillState, world: World) -> Evidence:
        return await seen_back(state, world)


def _unfit(params: JsonObject, host: str) -> str | None:
    if params.get("via") == "engine" and host not in CONTAINERS:
        return f"via: engine works on: {', '.join(sorted(CONTAINERS))}"
    if params.get("mode") == "power" and host not in POWERED:
        return f"mode: power works on: {', '.join(sorted(POWERED))}"
    return None


def _lacks(params: JsonObject, instance: Instance) -> str | None:
    if params.get("mode") != "power" or instance.disk_bytes is not None:
        return None
    return (
        f"give {instance.name} a file system of its own in the stack file (`disk: 64MB`, root), or say that it keeps"
        " nothing on disk (`disk: none`): what it has not synced must be lost with its power"
    )


KIND = FaultKind(
    name="kill",
    doc="every process of an instance ends at once (SIGKILL), as after a crash",
    params=KillParams,
    code="harness.faults.kill:Kill",
    example="{fault: kill, on: {region: eu-west}, for: 20s}",
    targets=frozenset({"instance"}),
    hosts=HOSTS,
    holds=("process",),
    needs_start=True,
    unfit=_unfit,
    lacks=_lacks,
    what="SIGKILL every process of {target}",
    clients_see="open connections are reset; new ones are refused",
    on_revert="{target} is started again as the stack file says; clients must connect anew",
    witness="its process is gone and its ports refuse connections",
    words={
        "instance via power": Words(
            what="SIGKILL every process of {target}, and let its disk forget what was not synced",
            clients_see="open connections are reset; new ones are refused",
            on_revert="{target} is started again on what its disk holds; clients must connect anew",
            witness="its process is gone, its ports refuse connections, and what was on its disk unsynced was there and is gone",
        )
    },
)
