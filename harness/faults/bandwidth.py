"""bandwidth: a link carries, or a container sends, so many bytes a second and no more."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import field_validator

from harness.errors import InjectError
from harness.faults.inside import require_programs
from harness.faults.instance import CONTAINERS
from harness.faults.link import LinkFaultState, ToxicFault
from harness.faults.tbf import BucketState, TokenBucket
from harness.model.catalog import FaultKind
from harness.model.fields import JsonObject, Params, Size
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, World

__all__ = ["KIND", "Bandwidth", "BandwidthParams", "BandwidthState", "NarrowLink"]


class BandwidthParams(Params):
    """`rate` in bytes per second: of a link each way, of a container what it sends.

    The fault proxy counts in KB of 1000 bytes, so at least "1KB/s".
    """

    rate: Size

    @field_validator("rate")
    @classmethod
    def _at_least_a_kilobyte(cls, rate: int) -> int:
        if rate < 1000:
            raise ValueError(f"expected at least '1KB/s', the fault proxy's unit, got '{rate}B/s'")
        return rate


class NarrowLink(ToxicFault):
    """Adds `bandwidth` toxics; `apply` cut half-way leaves at most one direction narrow, which `revert` removes."""

    kind = "bandwidth"

    def __init__(self, params: BandwidthParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "bandwidth", {"rate": round(self.params.rate / 1000)}


class BandwidthState(FaultState):
    """What one of the two ways must know; the other is None."""

    link: LinkFaultState | None = None
    container: BucketState | None = None


class Bandwidth:
    """Toxics on a link, a token bucket in a container's network namespace. What a cut `apply` leaves is said there."""

    state_type = BandwidthState

    def __init__(self, params: BandwidthParams) -> None:
        self.params = params
        self._link = NarrowLink(params)
        self._bucket = TokenBucket(params.rate)

    async def prepare(self, target: Target, world: World) -> BandwidthState:
        if target.kind == "link":
            return BandwidthState(link=await self._link.prepare(target, world))
        return BandwidthState(container=await self._bucket.prepare(target, world))

    async def apply(self, state: BandwidthState, world: World) -> None:
        if state.link is not None:
            await self._link.apply(state.link, world)
        else:
            await self._bucket.apply(_container(state), world)

    async def witness(self, state: BandwidthState, world: World) -> Evidence:
        if state.link is not None:
            return await self._link.witness(state.link, world)
        return await self._bucket.witness(_container(state), world)

    async def revert(self, state: BandwidthState, world: World) -> None:
        if state.link is not None:
            await self._link.revert(state.link, world)
        else:
            await self._bucket.revert(_container(state), world)

    async def verify(self, state: BandwidthState, world: World) -> Evidence:
        if state.link is not None:
            return await self._link.verify(state.link, world)
        return await self._bucket.verify(_container(state), world)


def _container(state: BandwidthState) -> BucketState:
    if state.container is None:
        raise InjectError("the state of this bandwidth fault names neither a link nor a container")
    return state.container


def _able(target: Target, params: JsonObject) -> None:
    if target.kind in ("instance", "role"):
        require_programs("tc", "nsenter")


KIND = FaultKind(
    name="bandwidth",
    doc="a narrow way: a link carries, or a container sends, at most so many bytes a second",
    params=BandwidthParams,
    code="harness.faults.bandwidth:Bandwidth",
    example="{fault: bandwidth, rate: 64KB/s, on: {link: eu-db}}",
    targets=frozenset({"link", "instance"}),
    hosts=CONTAINERS,
    able=_able,
    what="let {target} carry (a container: send) {rate} and no more",
    clients_see="connects succeed, small answers are whole, large ones trickle",
    on_revert="the toxics (in a container: the token bucket) are removed; open connections go on at full speed",
    witness="connections that the toxic slowed (embedded), read back (Toxiproxy); the bucket's own counters (containers)",
)
