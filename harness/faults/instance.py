"""What every fault on an instance shares: who it is, where it serves, whether it is gone, how it comes back. Not a kind itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.link import connects
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, Identity, Networked, World

__all__ = [
    "CONTAINERS",
    "HOSTS",
    "PROCESS_HOSTS",
    "InstanceFaultState",
    "back_as",
    "bring_back",
    "keeps_its_address",
    "look",
    "named",
    "seen_back",
    "seen_gone",
    "still_there",
    "who_runs",
]

CONTAINERS = frozenset({"container", "compose"})
PROCESS_HOSTS = frozenset({"process", "python", "pid"})
HOSTS = PROCESS_HOSTS | CONTAINERS
WITNESS_LIMIT_NS = 5_000_000_000
BACK_LIMIT_NS = 8_000_000_000
"""Below the conductor's and the reaper's limits for a revert, so that what is wrong is said and not cut off."""
_POLL_S = 0.02

Look = Callable[[], Awaitable[tuple[bool, str]]]


class InstanceFaultState(FaultState):
    """Who ran when nothing had been touched, and which of its addresses ("host:port") accepted connections."""

    instance: str
    pid: int | None
    start_ticks: int | None
    container: str | None = None
    started: str | None = None
    ports: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        """Who it was."""
        return Identity(pid=self.pid, start_ticks=self.start_ticks, container=self.container, started=self.started)


async def who_runs(target: Target, world: World) -> InstanceFaultState:
    """The target as it is. Raises InjectError when it is no instance, or nothing runs there to be broken."""
    if target.kind != "instance":
        raise InjectError(f"{target.name} is a {target.kind}, expected an instance")
    found = await world.host(target.name).find()
    if found is None:
        raise InjectError(f"instance {target.name}: nothing runs, so nothing can be broken")
    address = world.wiring.addresses.get(target.name, "127.0.0.1")
    places = [f"{address}:{port}" for port in world.wiring.ports.get(target.name, {}).values()]
    accept = await asyncio.gather(*(connects(place) for place in places))
    return InstanceFaultState(
        instance=target.name,
        pid=found.pid,
        start_ticks=found.start_ticks,
        container=found.container,
        started=found.started,
        ports=tuple(place for place, accepts in zip(places, accept, strict=True) if accepts),
    )


async def keeps_its_address(state: InstanceFaultState, world: World) -> None:
    """Return when it will serve where it does now once it has ended and been started again.

    Raises UnsafeError for a container that is reached at an address which its engine gives out anew at each start: two that
    start at once may get each other's.
    """
    host = world.host(state.instance)
    if not isinstance(host, Networked) or state.container is None:
        return
    used = {place.rpartition(":")[0] for place in state.ports}
    for one in await host.attachments(state.container) or ():
        if one.address in used and not one.pinned:
            raise UnsafeError(
                f"instance {state.instance}: its address {one.address} on network {one.name} may be another when it starts again",
                remedy="publish its ports (127.0.0.1:8080:8080), or give it a fixed address (`ipv4_address` in Compose)",
            )


async def still_there(state: InstanceFaultState, world: World) -> None:
    """Return when who was prepared for still runs. Raises InjectError when it is gone or replaced."""
    found = await world.host(state.instance).find()
    if found != state.identity:
        now = "nothing runs" if found is None else f"{named(found)} does"
        raise InjectError(f"instance {state.instance}: {named(state.identity)} does not run any more, {now}")


async def look(once: Look, world: World, limit_ns: int = WITNESS_LIMIT_NS, *, wanted: bool = True) -> Evidence:
    """What `once` says as soon as it is `wanted`, else its last answer when the time is up."""
    deadline_ns = time.monotonic_ns() + limit_ns
    while True:
        present, what = await once()
        if present is wanted or time.monotonic_ns() > deadline_ns:
            return Evidence(present=present, at_ns=world.clock.now_ns(), what=what)
        await asyncio.sleep(_POLL_S)


async def seen_gone(state: InstanceFaultState, world: World) -> Evidence:
    """Whether the instance is gone: its process, and what answered at its ports. At once no, when something replaced it."""
    replaced: str | None = None

    async def once() -> tuple[bool, str]:
        nonlocal replaced
        found = await world.host(state.instance).find()
        if found is not None and found != state.identity:
            replaced = (
                f"{named(state.identity)} is gone, but {named(found)} runs in its place: something started it again"
            )
            return True, replaced  # ends the look: what was started again will not go away by waiting
        if found is not None:
            return False, f"{named(found)} still runs"
        open_ = [place for place in state.ports if await connects(place)]
        if open_:
            return False, f"{named(state.identity)} is gone, but {', '.join(open_)} still accepts connections"
        closed = f"; {', '.join(state.ports)} refuses connections" if state.ports else ""
        return True, f"{named(state.identity)} is gone{closed}"

    evidence = await look(once, world)
    if replaced is not None:
        return Evidence(present=False, at_ns=evidence.at_ns, what=replaced)
    return evidence


async def bring_back(state: InstanceFaultState, world: World) -> None:
    """Start the instance unless something runs there, and wait a bounded time until what accepted before accepts again.

    Raises RevertError when it cannot be started. Ports that stay closed are for `verify` to tell.
    """
    host = world.host(state.instance)
    try:
        if await host.find() is None:
            await host.start()
    except (UnsafeError, InjectError) as exc:
        raise RevertError(
            f"instance {state.instance}: cannot be started again: {exc}", commands=("blackstart recover",)
        ) from exc
    await look(lambda: _is_back(state, world), world, BACK_LIMIT_NS)


async def seen_back(state: InstanceFaultState, world: World) -> Evidence:
    """Whether the outage is gone: something runs, and what accepted connections does. `present` False is the good answer."""
    evidence = await look(lambda: _is_back(state, world), world, 500_000_000)
    return Evidence(present=not evidence.present, at_ns=evidence.at_ns, what=evidence.what)


async def _is_back(state: InstanceFaultState, world: World) -> tuple[bool, str]:
    found = await world.host(state.instance).find()
    if found is None:
        return False, f"nothing runs as {state.instance}"
    closed = [place for place in state.ports if not await connects(place)]
    if closed:
        return False, f"{named(found)} runs, but {', '.join(closed)} does not accept connections"
    accepts = f" and accepts connections at {', '.join(state.ports)}" if state.ports else ""
    return True, f"{named(found)} runs{accepts}"


def back_as(found: Identity, before: Identity) -> str:
    """What runs in place of what ran before, in words."""
    if found.container is not None and found.container == before.container:
        return f"{named(found)} runs anew since {found.started}"
    return f"{named(found)} runs in place of {named(before)}"


def named(identity: Identity) -> str:
    """What a person would call it."""
    return f"container {identity.container[:12]}" if identity.container is not None else f"pid {identity.pid}"
