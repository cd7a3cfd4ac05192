"""What every fault on a link shares: state, toxic names, the look from outside. Not a kind of its own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Any, Literal

from harness.errors import InjectError
from harness.faults.ladder import climb
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, LinkState, Toxic, World

__all__ = [
    "GONE",
    "STREAMS",
    "Direction",
    "LinkFaultState",
    "ToxicFault",
    "at_least_a_millisecond",
    "connects",
    "evidence_of",
    "link_of",
    "own_name",
]

CONNECT_LIMIT_S = 1.0
WITNESS_LIMIT_S = 3.0
GONE = "the fault proxy of this run is gone, and all that stood on it"

Direction = Literal["both", "in", "out"]
STREAMS: Mapping[Direction, tuple[str, ...]] = {
    "both": ("upstream", "downstream"),
    "out": ("upstream",),
    "in": ("downstream",),
}
"""Which streams a direction hits: to the link's server (out), back from it (in), or both."""


def at_least_a_millisecond(delay_ns: int) -> int:
    """The delay itself. Raises ValueError for one below the fault proxies' unit, which they would take for none."""
    if delay_ns < 1_000_000:
        raise ValueError(f"expected at least '1ms', the fault proxy's unit, got '{delay_ns}ns'")
    return delay_ns


class LinkFaultState(FaultState):
    """A link as it was: whether it was open, where it listens, and the toxics (by name) that this fault adds."""

    link: str
    listen: str
    was_enabled: bool
    toxics: tuple[str, ...] = ()


async def link_of(target: Target, world: World) -> LinkState:
    """The link as it is before anything is touched. Raises InjectError for a target that is none, or one already down."""
    if target.kind != "link":
        raise InjectError(f"{target.name} is no link")
    state = await world.links.get(target.name)
    if not state.enabled:
        raise InjectError(f"link {target.name} is down already")
    return state


def own_name(world: World, kind: str) -> str:
    """A toxic name that is ours, this run's and this fault's alone."""
    return f"blackstart-{world.run_id}-{kind}-{secrets.token_hex(3)}"


async def connects(listen: str) -> bool:
    """Whether a TCP connect is accepted there; nothing is sent. A time-out counts as no."""
    host, _, port = listen.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


class ToxicFault:
    """Base of faults that are toxics on one or both streams. Cut half-way, `apply` leaves some of `state.toxics`."""

    state_type = LinkFaultState
    kind: str

    def toxics(self, state: LinkFaultState, world: World) -> tuple[Toxic, ...]:
        """The toxics to add, in the order of `state.toxics`: by default one of `toxic()` on each of `streams()`."""
        kind, attributes = self.toxic()
        return tuple(
            Toxic(name=name, type=kind, stream=stream, attributes=attributes)
            for name, stream in zip(state.toxics, self.streams(), strict=True)
        )

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        """The toxic's type and attributes, as the fault proxy names them."""
        raise NotImplementedError

    def streams(self) -> tuple[str, ...]:
        """The streams that are hit."""
        return STREAMS["both"]

    async def prepare(self, target: Target, world: World) -> LinkFaultState:
        state = await link_of(target, world)
        names = tuple(own_name(world, f"{self.kind}-{stream}") for stream in self.streams())
        return LinkFaultState(link=state.name, listen=state.listen, was_enabled=True, toxics=names)

    async def apply(self, state: LinkFaultState, world: World) -> None:
        for toxic in self.toxics(state, world):
            await world.links.add(state.link, toxic)

    async def witness(self, state: LinkFaultState, world: World) -> Evidence:
        """Read back, and on the embedded server: traffic that the toxic has touched."""
        deadline_ns = world.clock.now_ns() + int(WITNESS_LIMIT_S * 1e9)
        while True:
            there = {toxic.name for toxic in (await world.links.get(state.link)).toxics}
            standing = set(state.toxics) <= there
            touched, what = await self._touched(state, world) if standing else (0, "the fault proxy does not show it")
            at_ns = world.clock.now_ns()
            if (standing and touched != 0) or not standing or at_ns > deadline_ns:
                what = f"{self.kind} on link {state.link}: {what}"
                return Evidence(present=standing and touched != 0, at_ns=at_ns, what=what)
            await asyncio.sleep(0.02)

    async def _touched(self, state: LinkFaultState, world: World) -> tuple[int | None, str]:
        """How much the toxics have hit so far, None where the server cannot tell, and that in words."""
        if not world.links.embedded:
            return None, "read back from the fault proxy"
        evidence = await evidence_of(world, state.link)
        felt = sum(int(toxic["affected"]) for toxic in evidence["toxics"] if toxic["name"] in state.toxics)
        return felt, f"{felt or 'no'} connection{'' if felt <= 1 else 's'} felt it"

    async def revert(self, state: LinkFaultState, world: World) -> None:
        """Remove every toxic of ours, up the ladder if need be. Raises RevertError with what would do it by hand."""

        async def remove() -> None:
            results = await asyncio.gather(
                *(world.links.remove(state.link, name) for name in state.toxics), return_exceptions=True
            )
            for failure in results:
                if isinstance(failure, BaseException):
                    raise failure

        proxy = f"{world.links.url}/proxies/{state.link}"
        commands = [f"curl -X DELETE {proxy}/toxics/{name}" for name in state.toxics]
        await climb(world.links, state.link, remove, commands)

    async def verify(self, state: LinkFaultState, world: World) -> Evidence:
        if await world.links.gone():
            return Evidence(present=False, at_ns=world.clock.now_ns(), what=GONE)
        there = {toxic.name for toxic in (await world.links.get(state.link)).toxics}
        left = sorted(set(state.toxics) & there)
        what = (
            f"link {state.link} still has {', '.join(left)}" if left else f"link {state.link} is clear of {self.kind}"
        )
        return Evidence(present=bool(left), at_ns=world.clock.now_ns(), what=what)


async def evidence_of(world: World, link: str) -> Any:
    """The embedded server's account of a link, beyond the `LinkControl` port that every server can keep."""
    return await world.links.evidence(link)  # type: ignore[attr-defined]
