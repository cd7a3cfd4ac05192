"""Who the two sides of a cut inside network namespaces are now, and how they reach each other. Not here: what is done to them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.errors import HarnessError, InjectError, UnsafeError
from harness.faults import nft
from harness.faults.inside import namespace_of, require_programs, run
from harness.faults.sockets import ANY, sockets
from harness.model.fields import Params
from harness.model.plan import Target
from harness.model.ports import FaultState, Identity, World

__all__ = ["Box", "NetnsCutState", "Way", "attempts", "boxed_sides", "reachable"]

CONNECT_LIMIT_S = 0.4
_PORTS_MOST = 6
_REACH = str(Path(__file__).with_name("netns_reach.py"))


class Box(Params):
    """A network namespace with instances of one side in it; entered through the first of them.

    `inode` is the kernel's number of it, `addresses` are its own, `ports` those of its servers that alone are meant (none: all).
    """

    instances: tuple[str, ...]
    pid: int | None
    start_ticks: int | None
    container: str | None = None
    started: str | None = None
    inode: int
    addresses: tuple[str, ...]
    ports: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The instance through which it is entered."""
        return self.instances[0]

    @property
    def identity(self) -> Identity:
        """Who that instance was."""
        return Identity(pid=self.pid, start_ticks=self.start_ticks, container=self.container, started=self.started)


class Way(Params):
    """A way that was open before: from a client's namespace (None: from here) to where a server accepts."""

    client: str | None
    server: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.client or 'here'} to {self.server} ({self.address}:{self.port})"


class NetnsCutState(FaultState):
    """The name that the tables have, both sides as they were (no second one: everybody), and the ways that were open."""

    table: str
    first: tuple[Box, ...]
    second: tuple[Box, ...] = ()
    ways: tuple[Way, ...] = ()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Every namespace that is touched."""
        return (*self.first, *self.second)


async def boxed_sides(kind: str, target: Target, ports: tuple[str, ...], world: World) -> NetnsCutState:
    """Who the sides are now. `ports`: only the ports of these names; none: everything.

    Raises InjectError when one does not run, or no way across is open: then there is nothing to cut. Raises UnsafeError when
    a namespace is this machine's own, is shared with somebody who is not on that side, or holds rules of somebody else.
    """
    nft.require_nft()
    require_programs("nsenter", "ip")
    names = [[end.instance for end in side] for side in target.sides] if target.kind == "cut" else [[target.name], []]
    first, second = [await _boxes(side, ports, world) for side in names]
    await _refuse_shared(first, second, world)
    state = NetnsCutState(table=nft.own_table(world.run_id, kind), first=first, second=second)
    possible = list(_ways(state))
    outcomes = await attempts(state, possible, world)
    found = tuple(way for way, outcome in zip(possible, outcomes, strict=True) if outcome == "accepted")
    if not found:
        tried = "; ".join(map(str, possible)) or "nobody listens"
        raise InjectError(f"{target.name}: no way there is open, so there is nothing to cut (tried {tried})")
    return state.model_copy(update={"ways": found})


async def _boxes(names: Iterable[str], ports: tuple[str, ...], world: World) -> tuple[Box, ...]:
    boxes: dict[int, Box] = {}
    for name in names:
        found = await world.host(name).find()
        if found is None:
            raise InjectError(f"instance {name}: nothing runs, so nothing can be cut off")
        with namespace_of(world, name, found) as netns:
            if netns is None:
                raise InjectError(f"instance {name}: its network namespace is gone")
            inode = os.fstat(netns).st_ino
            if inode == os.stat("/proc/self/ns/net").st_ino:
                raise UnsafeError(
                    f"instance {name}: it is on this machine's own network, where rules would cut off everybody",
                    remedy="give it a network of its own (`network_mode: bridge`)",
                )
            wanted = _numbers(name, ports, found, world)
            known = boxes.get(inode)
            if known is not None:
                more = {"instances": (*known.instances, name), "ports": tuple(sorted({*known.ports, *wanted}))}
                boxes[inode] = known.model_copy(update=more)
                continue
            strangers = await nft.foreign(world.run_id, netns)
            if strangers:
                raise UnsafeError(
                    f"instance {name}: rules that are not ours stand in its network: {', '.join(strangers)}",
                    remedy="end what put them there; `blackstart recover --all` removes what a dead run left",
                )
            addresses = await _addresses(netns)
        boxes[inode] = Box(
            instances=(name,),
            pid=found.pid,
            start_ticks=found.start_ticks,
            container=found.container,
            started=found.started,
            inode=inode,
            addresses=addresses,
            ports=wanted,
        )
    return tuple(boxes.values())


def _numbers(name: str, ports: tuple[str, ...], found: Identity, world: World) -> tuple[int, ...]:
    """The numbers of the named ports inside the instance's own network."""
    own = world.wiring.ports.get(name, {})
    wanted = {port: own[port] for port in ports if port in own}
    listening = _listening(found.pid)
    for port, number in wanted.items():
        if number not in listening:
            raise InjectError(
                f"instance {name}: nobody listens on port {port} ({number}) inside its own network: rules there know"
                " its own numbers, not those that it is published on"
            )
    return tuple(sorted(wanted.values()))


def _listening(pid: int | None) -> dict[int, str]:
    """TCP port -> the address on which somebody listens, in the network of a process; what is open to itself alone left out."""
    rows = sockets(pid) if pid is not None else ()
    return {row.local[1]: row.local[0] for row in rows if row.listens and not row.local[0].startswith(("127.", "::1"))}


async def _addresses(netns: int) -> tuple[str, ...]:
    code, out, err = await run(["ip", "-j", "addr", "show"], "", netns)
    if code != 0:
        raise InjectError(f"ip cannot list addresses: {err}")
    rows = [info for link in json.loads(out or "[]") for info in link.get("addr_info", ())]
    return tuple(sorted(str(row["local"]) for row in rows if row.get("scope") == "global"))


async def _refuse_shared(first: Sequence[Box], second: Sequence[Box], world: World) -> None:
    """Raise UnsafeError when rules in one of the namespaces would also hit somebody who is not on that side."""
    both = {box.inode for box in first} & {box.inode for box in second}
    for box in first:
        if box.inode in both:
            raise UnsafeError(
                f"{', '.join(box.instances)}: both sides share one network namespace, in which nothing lies between them",
                remedy="give each a network of its own",
            )
    named = {name for box in (*first, *second) for name in box.instances}
    for other in (name for name in world.wiring.addresses if name not in named):
        inode = await _inode_of(other, world)
        hit = next((box for box in (*first, *second) if box.inode == inode), None)
        if hit is not None:
            raise UnsafeError(
                f"instance {other} shares the network namespace of {', '.join(hit.instances)}, and would be cut off too",
                remedy="name it on the same side",
            )


async def _inode_of(name: str, world: World) -> int | None:
    """The namespace of an instance that is not meant; None where it has none that we could be in."""
    try:
        found = await world.host(name).find()
        if found is None:
            return None
        with namespace_of(world, name, found) as netns:
            return None if netns is None else os.fstat(netns).st_ino
    except HarnessError:
        return None


def _ways(state: NetnsCutState) -> Iterator[Way]:
    """Every way that could be open: each namespace to each port on which somebody of the other side listens."""
    pairs: list[tuple[str | None, Box]] = [(None, box) for box in state.first] if not state.second else []
    for clients, servers in ((state.first, state.second), (state.second, state.first)):
        pairs += [(client.name, server) for server in servers for client in clients]
    by_port = any(box.ports for box in state.boxes)
    for client, server in pairs:
        chosen = [
            (port, at) for port, at in sorted(_listening(server.pid).items()) if not by_port or port in server.ports
        ]
        for port, at in chosen[:_PORTS_MOST]:
            for address in server.addresses if at in ANY else (at,):
                if at != "0.0.0.0" or ":" not in address:
                    yield Way(client=client, server=server.name, address=address, port=port)


async def attempts(state: NetnsCutState, ways: Sequence[Way], world: World, datagrams: int = 0) -> list[str]:
    """What becomes of a connect along each way now: accepted, refused, silent, or "gone" with its client's namespace.

    Before it, so many empty datagrams to the same number, where no UDP socket would hear them.
    """
    outcomes = dict.fromkeys(ways, "gone")
    boxes = {box.name: box for box in state.boxes}
    for client in dict.fromkeys(way.client for way in ways):
        own = [way for way in ways if way.client == client]
        if client is None:
            outcomes |= zip(own, await _attempt(own, _quiet(own, boxes, datagrams), None), strict=True)
            continue
        with namespace_of(world, client, boxes[client].identity) as netns:
            if netns is not None:
                outcomes |= zip(own, await _attempt(own, _quiet(own, boxes, datagrams), netns), strict=True)
    return [outcomes[way] for way in ways]


def _quiet(ways: Sequence[Way], boxes: Mapping[str, Box], datagrams: int) -> list[int]:
    """So many for each way, none to a number at which somebody hears datagrams."""
    pids = {way.server: boxes[way.server].pid for way in ways}
    heard = {
        (name, row.local[1])
        for name, pid in pids.items()
        if datagrams and pid is not None
        for row in sockets(pid)
        if row.protocol == "udp"
    }
    return [0 if (way.server, way.port) in heard else datagrams for way in ways]


async def _attempt(ways: Sequence[Way], datagrams: Sequence[int], netns: int | None) -> list[str]:
    listed = [[way.address, way.port, many] for way, many in zip(ways, datagrams, strict=True)]
    text = json.dumps({"ways": listed, "limit_s": CONNECT_LIMIT_S})
    code, out, err = await run([sys.executable, "-I", "-S", _REACH], text, netns)
    if code != 0:
        raise InjectError(f"cannot connect from inside a network namespace: {err[-300:]}")
    answer: list[str] = json.loads(out)
    return answer


def reachable(box: Box, now: Identity | None) -> tuple[Identity, ...]:
    """As whom its namespace may still be entered: as who it was, and as who runs now, if that is another."""
    return (box.identity,) if now is None or now == box.identity else (box.identity, now)
