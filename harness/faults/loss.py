"""loss: of what passes between two sides, or in and out of a container, a share of the packets vanishes, each by its own lot."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Iterable
from typing import Literal

from pydantic import field_validator

from harness.errors import InjectError
from harness.faults.cut import ENDS, CutState, Path, put_cut, require_kernel, sides_of, still_cut
from harness.faults.instance import CONTAINERS
from harness.faults.netns_cut import drop_boxes, put_boxes, still_boxed, witness_boxes_loss
from harness.faults.netns_sides import NetnsCutState, boxed_sides
from harness.faults.nft import Count, count, drop_table
from harness.faults.nft_cut import IN, MET, OUT
from harness.faults.sockets import Identity, sockets
from harness.model.catalog import FaultKind, Words
from harness.model.fields import Params, Ratio
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, World
from harness.units import format_ratio

__all__ = ["KIND", "CutLoss", "Loss", "LossParams", "LossState"]

LEAST_RATIO = 0.0001
_WITNESS_LIMIT_S = 4.0
_BURST_MOST = 2000
_CONNECT_LIMIT_S = 0.1


class LossParams(Params):
    """`ratio`: the share of packets that is lost, at least 0.01 %. `direction`: both ways, only what the first side (or the
    container) sends (out), or only what it is sent (in). `ports`: only those of these names.
    """

    ratio: Ratio
    direction: Literal["both", "in", "out"] = "both"
    ports: tuple[str, ...] = ()

    @field_validator("ratio")
    @classmethod
    def _some(cls, value: float) -> float:
        if value < LEAST_RATIO:
            raise ValueError(f"expected at least '0.01%', got '{format_ratio(value)}'")
        return value


class CutLoss:
    """Between processes: a table whose rules draw for each packet. It stands whole or not at all, however `apply` ends."""

    state_type = CutState

    def __init__(self, params: LossParams) -> None:
        self.params = params

    async def prepare(self, target: Target, world: World) -> CutState:
        return await sides_of("loss", target, self.params.ports, world)

    async def apply(self, state: CutState, world: World) -> None:
        await put_cut(state, world, direction=self.params.direction, ratio=self.params.ratio)

    async def witness(self, state: CutState, world: World) -> Evidence:
        """Packets that were lost, among the stack's own and a burst of ours from each side, to ports where nobody hears them."""
        deadline = time.monotonic() + _WITNESS_LIMIT_S
        while True:
            seen = await count(state.table)
            if not seen:
                what, lost = f"table {state.table} is not there", 0
            else:
                lost, met = _total(seen, (OUT, IN)), _total(seen, MET.values())
                what = f"{lost} of {met} packets between the sides were lost"
            if lost or not seen or time.monotonic() > deadline:
                return Evidence(present=lost > 0, at_ns=world.clock.now_ns(), what=what)
            await self._stir(state, world)

    async def _stir(self, state: CutState, world: World) -> None:
        each = math.ceil(min(_BURST_MOST, 10 / self.params.ratio) / len(state.paths))
        found = await world.host(state.first[0].name).find()
        heard = await asyncio.to_thread(sockets, found.pid) if found is not None and found.pid is not None else ()
        bound = {row.local[1] for row in heard if row.protocol == "udp"}
        for path in state.paths:
            if path.port not in bound:
                _burst(path, each)
        await asyncio.gather(*(path.attempt(_CONNECT_LIMIT_S) for path in state.paths))  # answers go the other way

    async def revert(self, state: CutState, world: World) -> None:
        await drop_table(state.table)

    async def verify(self, state: CutState, world: World) -> Evidence:
        present, what = await still_cut(state)
        return Evidence(present=present, at_ns=world.clock.now_ns(), what=what)


class LossState(FaultState):
    """What one of the two ways must know; the other is None. `boxes`: rules inside network namespaces."""

    cut: CutState | None = None
    boxes: NetnsCutState | None = None


class Loss:
    """Rules that draw for each packet: between processes in one table, of containers and regions with a network namespace in
    one table each. `apply` cut half-way leaves some of them; each stands whole or not at all.
    """

    state_type = LossState

    def __init__(self, params: LossParams) -> None:
        self.params = params
        self._cut = CutLoss(params)

    async def prepare(self, target: Target, world: World) -> LossState:
        if target.boxed or target.kind == "instance":
            return LossState(boxes=await boxed_sides("loss", target, self.params.ports, world))
        return LossState(cut=await self._cut.prepare(target, world))

    async def apply(self, state: LossState, world: World) -> None:
        if state.boxes is not None:
            await put_boxes(state.boxes, world, direction=self.params.direction, ratio=self.params.ratio)
        else:
            await self._cut.apply(_cut(state), world)

    async def witness(self, state: LossState, world: World) -> Evidence:
        if state.boxes is not None:
            return await witness_boxes_loss(state.boxes, world, self.params.ratio)
        return await self._cut.witness(_cut(state), world)

    async def revert(self, state: LossState, world: World) -> None:
        if state.boxes is not None:
            await drop_boxes(state.boxes, world)
        else:
            await self._cut.revert(_cut(state), world)

    async def verify(self, state: LossState, world: World) -> Evidence:
        if state.boxes is not None:
            return await still_boxed(state.boxes, world)
        return await self._cut.verify(_cut(state), world)


def _cut(state: LossState) -> CutState:
    if state.cut is None:
        raise InjectError("the state of this loss names neither a cut nor a network namespace")
    return state.cut


def _total(seen: dict[str, Count], names: Iterable[str]) -> int:
    return sum(seen[name].packets for name in names if name in seen)


def _burst(path: Path, datagrams: int) -> None:
    """Empty datagrams along a path, to the number of a TCP port at which no UDP socket is."""
    family = socket.AF_INET6 if ":" in path.address else socket.AF_INET
    try:
        with Identity(address=path.source, uid=path.uid).make(family, socket.SOCK_DGRAM) as sender:
            for _ in range(datagrams):
                sender.sendto(b"", (path.address, path.port))
    except BlockingIOError:
        return  # the queue is full: enough for one look
    except OSError as exc:
        raise InjectError(f"cannot send along {path}: {exc.strerror}") from exc


KIND = FaultKind(
    name="loss",
    doc="packets between two sides, or of a container, vanish, each with the same chance",
    params=LossParams,
    code="harness.faults.loss:Loss",
    example="{fault: loss, ratio: 5%, between: [{service: app}, {service: db}], for: 20s}",
    targets=frozenset({"cut", "instance"}),
    hosts=CONTAINERS,
    ends=ENDS,
    boxed=CONTAINERS | {"netns"},
    two_sided=True,
    alone={},
    able=require_kernel,
    what="lose {ratio} of the packets between {target}",
    clients_see="clients of either side: nothing; across, TCP sends again and slows down, connects may take seconds, UDP is lost",
    on_revert="the rules are dropped at once: connections go on at the pace at which they recover",
    witness="packets that the rules have lost, the stack's own or a burst of empty datagrams of ours",
    words={
        "instance": Words(
            what="lose {ratio} of the packets of {target}",
            clients_see="TCP sends again and slows down, connects may take seconds, UDP is lost; what it sends over UDP and is"
            " lost, its sender is told of",
            on_revert="the rules are dropped at once: connections go on at the pace at which they recover",
            witness="packets that the rules have lost, its own or a burst of empty datagrams of ours",
        )
    },
)
