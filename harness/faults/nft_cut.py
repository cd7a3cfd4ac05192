"""The rules of a cut: which packets pass between two sides of ends, and no others. Pure; `nft` puts them in place.

An end is known by its own address, by its uid, or both. Between two addresses every packet is meant. A uid is known only
where it sends (on loopback the kernel does not look up the receiver before the input hook), so what a uid's client sockets
open towards a server of the other side is remembered in a set as it is sent; both ways of a connection are then told by
its addresses and ports, also when the process has closed the socket and the kernel still delivers what was written.
Servers of an end without an address of its own are the ports that it listens on (`places`). Packets are dropped where they
arrive, never where they are sent: there a sender over UDP would be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.faults.nft import Chain, Table

__all__ = ["IN", "MET", "OUT", "Cut", "Direction", "End", "Flow", "Place", "cut_table", "verdict"]

OUT, IN = "packets_out", "packets_in"
"""Counters of what was hit: sent by the first side to the second, and back."""
MET = {OUT: "met_out", IN: "met_in"}
"""Counters of what passed the rules where only a share is hit."""
_SHARES = 10_000
_SET_SIZE = 1_000_000  # a cap, not an allocation
Direction = Literal["both", "in", "out"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where a server listens. `address` None: on every address of this machine; `port` None: every port of the address."""

    address: str | None
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One instance of a side. `address` and `uid` are its own, or None; `places` is where others reach it."""

    name: str
    address: str | None
    uid: int | None
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Flow:
    """A connection: the address and port of the client's end, then of the server's."""

    client: tuple[str, int]
    server: tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is cut. `flows_out` are connections already open from the first side's clients to the second, `flows_in` the others.

    `direction` counts from the first side: `out` is what it sends. `ratio` None: every packet, else that share by chance.
    """

    first: tuple[End, ...]
    second: tuple[End, ...]
    direction: Direction = "both"
    reject: bool = False
    ratio: float | None = None
    flows_out: tuple[Flow, ...] = ()
    flows_in: tuple[Flow, ...] = ()


def cut_table(name: str, cut: Cut) -> Table:
    """The whole table of a cut."""
    out, back = _Side(cut.first, cut.second, "from_first"), _Side(cut.second, cut.first, "from_second")
    hit = {
        OUT: [*out.sent(), *back.answered()] if cut.direction in ("both", "out") else [],
        IN: [*back.sent(), *out.answered()] if cut.direction in ("both", "in") else [],
    }
    met = tuple(f"{match} goto hit_{way}" for way, matches in hit.items() for match in dict.fromkeys(matches))
    noted = (*out.noted(), *back.noted())
    return Table(
        name=name,
        counters=(OUT, IN) if cut.ratio is None else (OUT, IN, *MET.values()),
        sets=out.sets(cut.flows_out) | back.sets(cut.flows_in),
        chains=(
            *(Chain(name=f"hit_{way}", rules=verdict(way, reject=cut.reject, ratio=cut.ratio)) for way in hit),
            *((Chain(name="sent", hook="output", rules=noted),) if noted else ()),
            Chain(name="arrived", hook="input", rules=met),
        ),
    )


def verdict(counter: str, *, reject: bool = False, ratio: float | None = None) -> tuple[str, ...]:
    """What becomes of a packet that is met, once and for all: two rules that meet it must not draw its lot twice."""
    if ratio is not None:
        lot = f"numgen random mod {_SHARES} < {round(ratio * _SHARES)}"
        return (f"counter name {MET[counter]}", f"{lot} counter name {counter} drop", "accept")
    if not reject:
        return (f"counter name {counter} drop",)
    # A rejection's own answer comes back through the cut: resets must pass, and so must what tells a sender over UDP.
    told = ("icmp type destination-unreachable accept", "icmpv6 type destination-unreachable accept")
    resets, others = "tcp flags & rst == rst accept", f"counter name {counter} meta l4proto != tcp reject"
    return (resets, *told, others, "meta l4proto tcp reject with tcp reset")


@dataclass(frozen=True, slots=True)
class _Side:
    """One side as clients of the other; `set_name` holds the connections that its uids open."""

    clients: tuple[End, ...]
    servers: tuple[End, ...]
    set_name: str

    def places(self) -> tuple[Place, ...]:
        return tuple(sorted({place for one in self.servers for place in one.places}, key=str))

    def by_uid(self) -> bool:
        return any(one.uid is not None for one in self.clients)

    def noted(self) -> list[str]:
        """Rules that remember a connection as its client sends."""
        uids = sorted({one.uid for one in self.clients if one.uid is not None})
        return [
            f"meta skuid {uid} {match} update @{self._set(family)} {{ {_key(family)} }}"
            for uid in uids
            for place in self.places()
            for family, match in _to(place)
        ]

    def sent(self) -> Iterator[str]:
        """What the clients send to the servers, at the input hook."""
        for address in self._addresses():
            for place in self.places():
                yield from _between(address, place, "d")
        if self.by_uid():
            yield from (f"{_PORTED} {_key(family)} @{self._set(family)}" for family in _FAMILIES)

    def answered(self) -> Iterator[str]:
        """What the servers send back on connections that the clients opened, at the input hook."""
        for address in self._addresses():
            for place in self.places():
                yield from _between(address, place, "s")
        if self.by_uid():
            yield from (f"{_PORTED} {_key(family, back=True)} @{self._set(family)}" for family in _FAMILIES)

    def sets(self, flows: tuple[Flow, ...]) -> dict[str, tuple[str, ...]]:
        """Its sets, with the connections that are open already."""
        return {self._set(family): _set_body(family, flows) for family in _FAMILIES} if self.by_uid() else {}

    def _set(self, family: str) -> str:
        return f"{self.set_name}_{family[-1]}"

    def _addresses(self) -> list[str]:
        return sorted({one.address for one in self.clients if one.address is not None})


_FAMILIES = ("ip4", "ip6")
_PORTED = "meta l4proto { tcp, udp }"


def _word(family: str) -> str:
    return "ip" if family == "ip4" else "ip6"


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip4"


def _key(family: str, *, back: bool = False) -> str:
    """Client address and port, then the server's, as a packet shows them; `back`: a packet of the server's."""
    ip, (client, server) = _word(family), ("d", "s") if back else ("s", "d")
    return f"{ip} {client}addr . th {client}port . {ip} {server}addr . th {server}port"


def _to(place: Place) -> Iterator[tuple[str, str]]:
    """(family, match) of what is sent to a place, at the output hook."""
    port = "" if place.port is None else f" th dport {place.port}"
    if place.address is not None:
        family = _family(place.address)
        yield family, f"{_word(family)} daddr {place.address} {_PORTED}{port}"
        return
    for family in _FAMILIES:
        yield family, f"meta nfproto ipv{family[-1]} fib daddr type local {_PORTED}{port}"


def _between(client: str, place: Place, server_is: str) -> Iterator[str]:
    """What passes between a client's own address and a place; `server_is` d: towards the place, s: from it."""
    family, client_is = _family(client), "s" if server_is == "d" else "d"
    if place.address is not None and _family(place.address) != family:
        return
    addresses = {client_is: client, server_is: place.address}
    ip = _word(family)
    matches = [f"{ip} {way}addr {addresses[way]}" for way in "sd" if addresses[way] is not None]
    if place.port is not None:
        matches.append(f"{_PORTED} th {server_is}port {place.port}")
    yield " ".join(matches)


def _set_body(family: str, flows: tuple[Flow, ...]) -> tuple[str, ...]:
    address = f"ipv{family[-1]}_addr"
    body = (f"type {address} . inet_service . {address} . inet_service", f"size {_SET_SIZE}", "flags dynamic")
    ours = sorted(flow for flow in flows if _family(flow.client[0]) == family)
    if not ours:
        return body
    elements = ", ".join(f"{f.client[0]} . {f.client[1]} . {f.server[0]} . {f.server[1]}" for f in ours)
    return (*body, f"elements = {{ {elements} }}")
