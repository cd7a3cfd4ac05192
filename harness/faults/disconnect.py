"""`partition via: disconnect`: a container off its networks, and back on them under the same address. Not a kind itself."""

from __future__ import annotations

import asyncio

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.instance import InstanceFaultState, look, named, still_there, who_runs
from harness.faults.link import connects
from harness.model.plan import Target
from harness.model.ports import Attachment, Evidence, Networked, World

__all__ = ["Disconnect", "DisconnectState"]

_BACK_LIMIT_NS = 5_000_000_000


class DisconnectState(InstanceFaultState):
    """Also the networks that it is taken off, with its address on each."""

    attachments: tuple[Attachment, ...]


class Disconnect:
    """Takes a container off its networks, all of them or the named ones. `apply` cut half-way leaves it on some; `revert` puts
    it back on each that it is not on, under its old address, which stays laid down for it from then on.
    """

    state_type = DisconnectState

    def __init__(self, networks: tuple[str, ...] = ()) -> None:
        self._networks = networks

    async def prepare(self, target: Target, world: World) -> DisconnectState:
        """Raises UnsafeError when an address could not be the same afterwards: then nothing else would find it again."""
        state = await who_runs(target, world)
        host = _networked(state, world)
        there = await host.attachments(str(state.container)) or ()
        missing = sorted(set(self._networks) - {one.name for one in there})
        if missing or not there:
            on = ", ".join(one.name for one in there) or "none"
            what = f"it is not on network {', '.join(missing)}" if missing else "it is on no network of its own"
            raise InjectError(f"instance {state.instance}: {what}, so nothing can be cut off (it is on: {on})")
        chosen = tuple(one for one in there if not self._networks or one.name in self._networks)
        for one in chosen:
            why = await host.unpinnable(state.identity, one)
            if why is not None:
                raise UnsafeError(
                    f"instance {state.instance}: its address on network {one.name} could not be the same after a disconnect: {why}",
                    remedy="give the network a subnet of its own (`ipam: {config: [{subnet: 10.99.0.0/24}]}` in Compose)",
                )
        return DisconnectState(**state.model_dump(exclude={"attachments"}), attachments=chosen)

    async def apply(self, state: DisconnectState, world: World) -> None:
        await still_there(state, world)
        host = _networked(state, world)
        for one in state.attachments:
            await host.detach(state.identity, one)

    async def witness(self, state: DisconnectState, world: World) -> Evidence:
        async def once() -> tuple[bool, str]:
            if await world.host(state.instance).find() != state.identity:
                return False, f"{named(state.identity)} does not run any more"
            left = await self._on(state, world)
            open_ = [place for place in state.ports if await connects(place)]
            # A published port may be accepted on by the engine itself, which finds nobody behind it.
            across = [
                place for place in open_ if place.rpartition(":")[0] in {one.address for one in state.attachments}
            ]
            if left or across:
                return (
                    False,
                    f"{named(state.identity)} is still on {', '.join(left)}; answers at {', '.join(across) or 'no port'}",
                )
            return True, f"{named(state.identity)} runs, off network {_names(state)}"

        return await look(once, world)

    async def _on(self, state: DisconnectState, world: World) -> list[str]:
        """Which of the networks it is on now."""
        there = await _networked(state, world).attachments(str(state.container)) or ()
        return [one.name for one in there if one.network in {was.network for was in state.attachments}]

    async def revert(self, state: DisconnectState, world: World) -> None:
        """By container id: a container that was made anew meanwhile has networks of its own, which stay as they are."""
        host = _networked(state, world)
        results = await asyncio.gather(
            *(host.attach(str(state.container), one) for one in state.attachments), return_exceptions=True
        )
        failures = [(one, result) for one, result in zip(state.attachments, results, strict=True) if result is not None]
        for _, failure in failures:
            if not isinstance(failure, InjectError):
                raise failure
        if failures:
            raise RevertError(
                f"instance {state.instance}: " + "; ".join(str(failure) for _, failure in failures),
                commands=tuple(_command(state, one) for one, _ in failures),
            )

    async def verify(self, state: DisconnectState, world: World) -> Evidence:
        async def once() -> tuple[bool, str]:
            there = await _networked(state, world).attachments(str(state.container))
            if there is None:
                return True, f"{named(state.identity)} does not exist any more"
            now = {one.network: one.address for one in there}
            off = [one.name for one in state.attachments if one.network not in now]
            # One that does not run has no address until it starts.
            moved = [one for one in state.attachments if now.get(one.network) not in (one.address, None)]
            if off or moved:
                elsewhere = "; ".join(f"{now[one.network]} on {one.name}, it was {one.address}" for one in moved)
                return (
                    False,
                    f"{named(state.identity)} is off {', '.join(off) or 'nothing'}; has {elsewhere or 'its addresses'}",
                )
            closed = [place for place in state.ports if not await connects(place)]
            runs = await world.host(state.instance).find() == state.identity
            if closed and runs:
                return (
                    False,
                    f"{named(state.identity)} is on its networks, but {', '.join(closed)} accepts no connection",
                )
            return True, f"{named(state.identity)} is on network {_names(state)} again, under its old address"

        evidence = await look(once, world, _BACK_LIMIT_NS)
        return Evidence(present=not evidence.present, at_ns=evidence.at_ns, what=evidence.what)


def _networked(state: InstanceFaultState, world: World) -> Networked:
    host = world.host(state.instance)
    if not isinstance(host, Networked) or state.container is None:
        raise InjectError(f"instance {state.instance} is no container: it is on no network that it could be taken off")
    return host


def _names(state: DisconnectState) -> str:
    return ", ".join(one.name for one in state.attachments)


def _command(state: DisconnectState, one: Attachment) -> str:
    address = f"--ip {one.address} " if one.address else ""
    return f"docker network connect {address}{one.name} {str(state.container)[:12]}"
