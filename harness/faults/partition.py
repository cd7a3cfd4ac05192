"""partition: nothing crosses a link. Connections stay open and hear nothing, as behind a cut cable."""

from __future__ import annotations

import asyncio

from harness.faults.link import STREAMS, Direction, LinkFaultState, ToxicFault, evidence_of
from harness.model.catalog import FaultKind
from harness.model.fields import Params
from harness.model.ports import Evidence, Toxic, World

__all__ = ["KIND", "Partition", "PartitionParams"]

_QUIET_S = 0.02


class PartitionParams(Params):
    """`direction`: both ways, only towards the link's server (out), or only back from it (in)."""

    direction: Direction = "both"


class Partition(ToxicFault):
    """`partition` toxics on the embedded proxy, `timeout` 0 on Toxiproxy. `apply` cut half-way leaves a one-way cut."""

    kind = "partition"

    def __init__(self, params: PartitionParams) -> None:
        self.params = params

    def streams(self) -> tuple[str, ...]:
        return STREAMS[self.params.direction]

    def toxics(self, state: LinkFaultState, world: World) -> tuple[Toxic, ...]:
        kind, attributes = ("partition", {}) if world.links.embedded else ("timeout", {"timeout": 0})
        return tuple(
            Toxic(name=name, type=kind, stream=stream, attributes=attributes)
            for name, stream in zip(state.toxics, self.streams(), strict=True)
        )

    async def witness(self, state: LinkFaultState, world: World) -> Evidence:
        """On the embedded proxy: nobody is accepted *and* not a byte is read that way for a while, whoever talks."""
        evidence = await super().witness(state, world)
        if not evidence.present or not world.links.embedded:
            return evidence
        before = await evidence_of(world, state.link)
        at_ns = world.clock.now_ns()
        await asyncio.sleep(_QUIET_S)
        after = await evidence_of(world, state.link)
        moved = [
            stream for stream in self.streams() if before["received_bytes"][stream] != after["received_bytes"][stream]
        ]
        if not (before["gated"] and after["gated"]):
            what = f"link {state.link} still accepts"
        elif moved:
            what = f"link {state.link} still reads {' and '.join(moved)}"
        else:
            what = f"link {state.link} reads nothing and accepts nobody"
            return Evidence(present=True, at_ns=at_ns, what=what)
        return Evidence(present=False, at_ns=at_ns, what=what)

    async def _touched(self, state: LinkFaultState, world: World) -> tuple[int | None, str]:
        return None, "read back from the fault proxy"  # a cut is there whether or not anybody talks


KIND = FaultKind(
    name="partition",
    doc="a cut: nothing crosses the link, nothing is closed",
    params=PartitionParams,
    code="harness.faults.partition:Partition",
    example="{fault: partition, between: [{region: eu-west}, {region: us-east}], for: 10s}",
    targets=frozenset({"link"}),
    two_sided=True,
    what="stop everything on {target}",
    clients_see="open connections hear nothing and are not closed; a new connect hangs or is accepted and hears nothing",
    on_revert="younger than 10 s: connections resume where they stood; older: they are reset (Toxiproxy closes them)",
    witness="the proxy reads nothing and accepts nobody (embedded), read back (Toxiproxy)",
)
