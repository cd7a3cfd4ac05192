"""What every fault on a cut shares: who the two sides are now, the table between them, the look from each side. Not a kind itself.

A side's end is its own address or its own user (`nft_cut`). Clients and probes are neither, and keep access.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.errors import InjectError, UnsafeError
from harness.faults import nft
from harness.faults.inside import require_programs
from harness.faults.nft_cut import Cut, End, Flow, Place, cut_table
from harness.faults.sockets import ANY, Identity, Outcome, Socket, inodes, reach, sockets, uid_of
from harness.model.fields import JsonObject
from harness.model.plan import CutEnd, Target
from harness.model.ports import Evidence, FaultState, World

__all__ = [
    "ENDS",
    "CutState",
    "Path",
    "open_flows",
    "put_cut",
    "require_kernel",
    "sides_of",
    "still_cut",
    "witness_cut",
]

ENDS = frozenset({"process", "python", "pid"})
"""Hosts whose instances are processes of this machine, so that the kernel knows them by address and uid."""
CONNECT_LIMIT_S = 0.4
"""A connect between processes of one machine takes well under a millisecond: what takes longer is cut."""
_WITNESS_LIMIT_S = 3.0
_BACK_LIMIT_S = 4.0
_BACK_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A way across that was open before: from a client (by address or by uid) to where a server accepts."""

    client: str
    server: str
    source: str | None
    uid: int | None
    address: str
    port: int

    def __str__(self) -> str:
        by = self.source if self.source is not None else f"uid {self.uid}"
        return f"{self.client} ({by}) to {self.server} ({self.address}:{self.port})"

    async def attempt(self, limit_s: float) -> Outcome:
        """What becomes of a connect along it now."""
        return await reach(Identity(address=self.source, uid=self.uid), self.address, self.port, limit_s)


class CutState(FaultState):
    """The table's name, both sides as they were, and the ways across that were open."""

    table: str
    first: tuple[End, ...]
    second: tuple[End, ...]
    paths: tuple[Path, ...]


def require_kernel(target: Target, params: JsonObject) -> None:
    """Return when rules for this target can be set here. Raises UnsafeError: no root, no nft, a user that is ours.

    An instance needs them when it is broken `via: nftables`, or is by a kind that knows no other way (no `via` at all).
    """
    alone = target.kind in ("instance", "role") and params.get("via", "nftables") == "nftables"
    if target.kind != "cut" and not alone:
        return
    nft.require_nft()
    if target.boxed or alone:
        require_programs("nsenter", "ip")
    for end in (end for side in target.sides for end in side if end.user is not None):
        if _uid_named(str(end.user)) == os.geteuid():
            raise UnsafeError(
                f"rules in the kernel cannot tell {end.instance} from us: its user {end.user} is who Blackstart runs as",
                remedy="give it a user of its own",
            )


async def sides_of(kind: str, target: Target, ports: tuple[str, ...], world: World) -> CutState:
    """Who the sides are now, and how they reach each other. `ports`: only the ports of these names; none: all.

    Raises InjectError when one does not run, is not who the plan says, talks from where rules cannot see it, or when no
    way across is open: then there is nothing to cut.
    """
    if target.kind != "cut":
        raise InjectError(f"{target.name} is no cut between two sides")
    first, second = target.sides
    there = {end.instance: await _there(end, world) for end in (*first, *second)}
    table = await asyncio.to_thread(sockets, next(iter(there.values())))  # a busy machine has long lists
    sides = tuple(tuple(_end(end, there[end.instance], ports, world, table) for end in side) for side in target.sides)
    for clients, servers in (sides, sides[::-1]):
        for one in clients:
            _refuse_strays(one, there[one.name], servers, table)
    ways = [*_ways(sides[0], sides[1], ports, world), *_ways(sides[1], sides[0], ports, world)]
    outcomes = await asyncio.gather(*(way.attempt(CONNECT_LIMIT_S) for way in ways))
    paths = tuple(way for way, outcome in zip(ways, outcomes, strict=True) if outcome == "accepted")
    if not paths:
        tried = "; ".join(map(str, ways)) or "neither side has a port"
        raise InjectError(f"{target.name}: no way across is open, so there is nothing to cut (tried {tried})")
    return CutState(table=nft.own_table(world.run_id, kind), first=sides[0], second=sides[1], paths=paths)


async def _there(end: CutEnd, world: World) -> int:
    found = await world.host(end.instance).find()
    if found is None or found.pid is None:
        raise InjectError(f"instance {end.instance}: nothing runs, so nothing can be cut off")
    return found.pid


def _end(end: CutEnd, pid: int, ports: tuple[str, ...], world: World, table: tuple[Socket, ...]) -> End:
    uid = None if end.user is None else _uid(end, pid, table)
    own_ports = world.wiring.ports.get(end.instance, {})
    wanted = [own_ports[name] for name in ports if name in own_ports]
    places: list[Place] = []
    if end.address is not None:
        places += [Place(address=end.address, port=port) for port in wanted] if ports else [_all_of(end.address)]
    if uid is not None:
        listening = {row.local for row in table if row.listens and row.uid == uid}
        declared = {(world.wiring.addresses[end.instance], port) for port in own_ports.values()}
        open_ = sorted(listening | declared)
        chosen = [place for place in open_ if place[1] in wanted] if ports else open_
        places += [Place(address=None if address in ANY else address, port=port) for address, port in chosen]
    covered = {place.address for place in places if place.port is None}
    kept = [place for place in dict.fromkeys(places) if place.port is None or place.address not in covered]
    return End(name=end.instance, address=end.address, uid=uid, places=tuple(kept))


def _all_of(address: str) -> Place:
    return Place(address=address, port=None)


def _uid_named(user: str) -> int | None:
    """The uid of a user given by name or number; None for a name that nobody has."""
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def _uid(end: CutEnd, pid: int, table: tuple[Socket, ...]) -> int:
    uid = _uid_named(str(end.user))
    if uid is None:
        raise InjectError(f"instance {end.instance}: no such user {end.user!r}")
    runs_as = uid_of(pid)
    if runs_as != uid and not any(row.uid == uid for row in table):
        raise InjectError(f"instance {end.instance}: runs as uid {runs_as}, not as its user {end.user} (uid {uid})")
    return uid


def _refuse_strays(client: End, pid: int, servers: tuple[End, ...], table: tuple[Socket, ...]) -> None:
    """Raise InjectError when an end that rules know by address alone is connected across from another address."""
    if client.uid is not None:
        return
    ours = inodes(pid)
    for row in table:
        if row.inode in ours and row.connected and row.local[0] != client.address:
            server = next((one for one in servers if _serves(one, row.remote)), None)
            if server is not None:
                raise InjectError(
                    f"instance {client.name} talks to {server.name} from {row.local[0]}, not from its own address"
                    f" {client.address}, so rules would miss it: let it bind its outgoing address, or give it a `user:`"
                )


def _serves(end: End, remote: tuple[str, int]) -> bool:
    return any(place.address in (None, remote[0]) and place.port in (None, remote[1]) for place in end.places)


def _ways(clients: tuple[End, ...], servers: tuple[End, ...], ports: tuple[str, ...], world: World) -> Iterator[Path]:
    """Every way that could be open: each client by each of its identities, to each declared port of each server."""
    for server in servers:
        address = world.wiring.addresses[server.name]
        for name, port in world.wiring.ports.get(server.name, {}).items():
            if ports and name not in ports:
                continue
            for client in clients:
                if client.address is not None:
                    yield Path(
                        client=client.name,
                        server=server.name,
                        source=client.address,
                        uid=None,
                        address=address,
                        port=port,
                    )
                if client.uid is not None:
                    yield Path(
                        client=client.name, server=server.name, source=None, uid=client.uid, address=address, port=port
                    )


def open_flows(clients: tuple[End, ...], servers: tuple[End, ...], table: tuple[Socket, ...]) -> tuple[Flow, ...]:
    """Connections that uids of the clients have open now to servers of the other side."""
    uids = {one.uid for one in clients if one.uid is not None}
    return tuple(
        Flow(client=row.local, server=row.remote)
        for row in table
        if row.connected and row.uid in uids and any(_serves(one, row.remote) for one in servers)
    )


async def put_cut(
    state: CutState,
    world: World,
    *,
    direction: Literal["both", "in", "out"] = "both",
    reject: bool = False,
    ratio: float | None = None,
) -> None:
    """Put the table in place. Cut short it is there whole or not at all. Raises InjectError."""
    found = await world.host(state.first[0].name).find()
    pid = found.pid if found is not None else None
    table = await asyncio.to_thread(sockets, pid) if pid is not None else ()
    cut = Cut(
        first=state.first,
        second=state.second,
        direction=direction,
        reject=reject,
        ratio=ratio,
        flows_out=open_flows(state.first, state.second, table),
        flows_in=open_flows(state.second, state.first, table),
    )
    await nft.load_table(cut_table(state.table, cut))


async def witness_cut(state: CutState, world: World) -> Evidence:
    """Whether every way across is closed by our rules: nobody connects, and the rules have met the attempts."""
    deadline = time.monotonic() + _WITNESS_LIMIT_S
    while True:
        lasting, present, what = await _look_across(state)
        if present or lasting or time.monotonic() > deadline:
            return Evidence(present=present, at_ns=world.clock.now_ns(), what=what)


async def _look_across(state: CutState) -> tuple[bool, bool, str]:
    """Whether looking again is of no use; whether it is cut; what was seen."""
    before = await nft.count(state.table)
    if not before:
        return True, False, f"table {state.table} is not there"
    outcomes = await asyncio.gather(*(path.attempt(CONNECT_LIMIT_S) for path in state.paths))
    open_ = [str(path) for path, outcome in zip(state.paths, outcomes, strict=True) if outcome == "accepted"]
    if open_:
        return False, False, f"still open: {'; '.join(open_)}"
    after = await nft.count(state.table)
    if sum(after[name].packets - before[name].packets for name in before if name in after) <= 0:
        return False, False, "nobody connects across, but the rules met none of the attempts"
    total = sum(one.packets for one in after.values())
    return (
        False,
        True,
        f"no connect crosses on any of {len(state.paths)} ways; the rules stopped {total} packets so far",
    )


async def still_cut(state: CutState) -> tuple[bool, str]:
    """Whether anything of it is left: the table, or silence on a way that was open. Looks again for a few seconds.

    Silence while another table of ours stands is that fault's, not this one's. A refusal is an answer: the way is open.
    """
    if await nft.exists(state.table):
        return True, f"table {state.table} still stands"
    deadline = time.monotonic() + _BACK_LIMIT_S
    while True:
        outcomes = await asyncio.gather(*(path.attempt(CONNECT_LIMIT_S) for path in state.paths))
        silent = [str(path) for path, outcome in zip(state.paths, outcomes, strict=True) if outcome == "silent"]
        if not silent:
            return False, f"table {state.table} is gone, and {len(state.paths)} ways across answer"
        if await nft.ours():
            return False, f"table {state.table} is gone; another one of ours still closes {'; '.join(silent)}"
        if time.monotonic() > deadline:
            return True, f"table {state.table} is gone, but nothing answers from {'; '.join(silent)}"
        await asyncio.sleep(_BACK_LOOK_S)
