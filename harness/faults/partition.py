"""partition: nothing crosses: a link by the fault proxy, two sides or a container by rules in the kernel, or off its networks."""

from __future__ import annotations

import asyncio
from typing import Literal

from harness.errors import InjectError
from harness.faults.cut import ENDS, CutState, put_cut, require_kernel, sides_of, still_cut, witness_cut
from harness.faults.disconnect import Disconnect, DisconnectState
from harness.faults.instance import CONTAINERS
from harness.faults.link import LinkFaultState, ToxicFault, evidence_of
from harness.faults.netns_cut import drop_boxes, put_boxes, still_boxed, witness_boxes
from harness.faults.netns_sides import NetnsCutState, boxed_sides
from harness.faults.nft import drop_table
from harness.model.catalog import FaultKind, Words
from harness.model.fields import JsonObject, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, Toxic, World

__all__ = ["KIND", "LinkPartition", "Partition", "PartitionParams", "PartitionState"]

_QUIET_S = 0.02


class PartitionParams(Params):
    """`direction`: both ways, only what the first side (of a link: its client) sends (out), or only what comes back (in).

    `style`: packets vanish, or are refused so that the sender knows at once. `ports`: only those of these names. `via`:
    nftables cuts in the kernel also where links run between the sides (namespace: between regions that have one); without
    it, links that run there are cut. Of one container (`on:`), disconnect takes it off its networks, or off those named by
    `networks`, and nftables lets nothing in or out of it, whoever talks to it.
    """

    direction: Literal["both", "in", "out"] = "both"
    style: Literal["drop", "reject"] = "drop"
    ports: tuple[str, ...] = ()
    via: Literal["nftables", "namespace", "disconnect"] | None = None
    networks: tuple[str, ...] = ()


class PartitionState(FaultState):
    """What one of the four ways to cut must know; the others are None. `boxes`: rules inside network namespaces."""

    link: LinkFaultState | None = None
    cut: CutState | None = None
    container: DisconnectState | None = None
    boxes: NetnsCutState | None = None


class Partition:
    """A `partition` toxic on a link, tables of rules between two sides, or a container off its networks. `apply` cut half-way
    leaves a one-way cut of a link, a container on some of them, or some namespaces without their table; each table stands
    whole or not at all.
    """

    state_type = PartitionState

    def __init__(self, params: PartitionParams) -> None:
        self.params = params
        self._link = LinkPartition(params)
        self._container = Disconnect(params.networks)

    async def prepare(self, target: Target, world: World) -> PartitionState:
        if target.boxed or (target.kind == "instance" and self.params.via == "nftables"):
            return PartitionState(boxes=await boxed_sides("partition", target, self.params.ports, world))
        if target.kind == "cut":
            return PartitionState(cut=await sides_of("partition", target, self.params.ports, world))
        if target.kind == "instance":
            return PartitionState(container=await self._container.prepare(target, world))
        return PartitionState(link=await self._link.prepare(target, world))

    async def apply(self, state: PartitionState, world: World) -> None:
        params, reject = self.params, self.params.style == "reject"
        if state.boxes is not None:
            await put_boxes(state.boxes, world, direction=params.direction, reject=reject)
            return
        if state.cut is not None:
            await put_cut(state.cut, world, direction=params.direction, reject=reject)
            return
        if state.container is not None:
            await self._container.apply(state.container, world)
            return
        await self._link.apply(_link(state), world)

    async def witness(self, state: PartitionState, world: World) -> Evidence:
        if state.boxes is not None:
            return await witness_boxes(state.boxes, world)
        if state.cut is not None:
            return await witness_cut(state.cut, world)
        if state.container is not None:
            return await self._container.witness(state.container, world)
        return await self._link.witness(_link(state), world)

    async def revert(self, state: PartitionState, world: World) -> None:
        if state.boxes is not None:
            await drop_boxes(state.boxes, world)
            return
        if state.cut is not None:
            await drop_table(state.cut.table)
            return
        if state.container is not None:
            await self._container.revert(state.container, world)
            return
        await self._link.revert(_link(state), world)

    async def verify(self, state: PartitionState, world: World) -> Evidence:
        if state.boxes is not None:
            return await still_boxed(state.boxes, world)
        if state.cut is not None:
            present, what = await still_cut(state.cut)
            return Evidence(present=present, at_ns=world.clock.now_ns(), what=what)
        if state.container is not None:
            return await self._container.verify(state.container, world)
        return await self._link.verify(_link(state), world)


def _link(state: PartitionState) -> LinkFaultState:
    if state.link is None:
        raise InjectError("the state of this partition names neither a link, nor a cut, nor a container")
    return state.link


class LinkPartition(ToxicFault):
    """`partition` toxics on the embedded proxy, `timeout` 0 on Toxiproxy. `apply` cut half-way leaves a one-way cut."""

    kind = "partition"

    def __init__(self, params: PartitionParams) -> None:
        self.params = params

    def streams(self) -> tuple[str, ...]:
        return {"both": ("upstream", "downstream"), "out": ("upstream",), "in": ("downstream",)}[self.params.direction]

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


def _unfit(params: JsonObject, host: str) -> str | None:
    given = PartitionParams.model_validate(params)
    keys = ("networks",) if given.via == "nftables" else ("direction", "style", "ports")
    wanted = [f"`{key}`" for key in keys if key in _changed(given)]
    if not wanted:
        return None
    if given.via == "nftables":
        return (
            "via: nftables cuts a container off whatever network it is on: leave `networks` out, or say via: disconnect"
        )
    return f"via: disconnect cuts everything, both ways: leave {' and '.join(wanted)} out, or say via: nftables"


def _changed(params: PartitionParams) -> set[str]:
    return {name for name, field in PartitionParams.model_fields.items() if getattr(params, name) != field.default}


KIND = FaultKind(
    name="partition",
    doc="a cut: nothing crosses, nothing is closed",
    params=PartitionParams,
    code="harness.faults.partition:Partition",
    example="{fault: partition, between: [{role: leader}, {service: db}], for: 10s}",
    targets=frozenset({"link", "cut", "instance"}),
    hosts=CONTAINERS,
    ends=ENDS,
    boxed=CONTAINERS | {"netns"},
    two_sided=True,
    alone={"via": ("disconnect", "nftables")},
    unfit=_unfit,
    able=require_kernel,
    what="stop everything on {target}",
    clients_see="open connections hear nothing and are not closed; a new connect hangs or is accepted and hears nothing",
    on_revert="younger than 10 s: connections resume where they stood; older: they are reset (Toxiproxy closes them)",
    witness="the proxy reads nothing and accepts nobody (embedded), read back (Toxiproxy)",
    words={
        "cut": Words(
            what="stop what passes between {target}",
            clients_see="clients of either side: nothing; across, packets vanish and connects hang (reject: they are refused,"
            " and open connections reset)",
            on_revert="the rules are dropped at once: open connections resume with what the kernel kept, unless a side gave up",
            witness="a connect from each side to each port of the other, stopped by the rules",
        ),
        "instance": Words(
            what="take {target} off its networks",
            clients_see="its addresses and names vanish: open connections hear nothing, connects hang or find no host;"
            " at published ports they are accepted and closed",
            on_revert="{target} is put back on each under its old address, which stays laid down for it; open connections resume",
            witness="it runs, its engine shows it on none of them, and its own address accepts nothing",
        ),
        "instance via nftables": Words(
            what="let nothing in or out of {target}",
            clients_see="its addresses stay, packets to them vanish: open connections hear nothing, connects hang (reject: they are"
            " refused, and open connections reset); at published ports they are accepted and hear nothing",
            on_revert="the rules are dropped at once: open connections resume with what the kernel kept, unless a side gave up",
            witness="a connect to each of its ports, stopped by the rules",
        ),
    },
)
