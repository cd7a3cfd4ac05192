"""loss: of what passes between two sides, a share of the packets vanishes, each by its own lot."""

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
from harness.faults.nft import Count, count, drop_table
from harness.faults.nft_cut import IN, MET, OUT
from harness.faults.sockets import Identity, sockets
from harness.model.catalog import FaultKind
from harness.model.fields import Params, Ratio
from harness.model.plan import Target
from harness.model.ports import Evidence, World
from harness.units import format_ratio

__all__ = ["KIND", "Loss", "LossParams"]

LEAST_RATIO = 0.0001
_WITNESS_LIMIT_S = 4.0
_BURST_MOST = 2000
_CONNECT_LIMIT_S = 0.1


class LossParams(Params):
    """`ratio`: the share of packets that is lost, at least 0.01 %. `direction`: both ways, only what the first side sends
    (out), or only what it is sent (in). `ports`: only those of these names.
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


class Loss:
    """A table whose rules draw for each packet. It stands whole or not at all, however `apply` ends."""

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
    doc="packets between two sides vanish, each with the same chance",
    params=LossParams,
    code="harness.faults.loss:Loss",
    example="{fault: loss, ratio: 5%, between: [{service: app}, {service: db}], for: 20s}",
    targets=frozenset({"cut"}),
    ends=ENDS,
    two_sided=True,
    able=require_kernel,
    what="lose {ratio} of the packets between {target}",
    clients_see="clients of either side: nothing; across, TCP sends again and slows down, connects may take seconds, UDP is lost",
    on_revert="the rules are dropped at once: connections go on at the pace at which they recover",
    witness="packets that the rules have lost, the stack's own or a burst of empty datagrams of ours",
)
