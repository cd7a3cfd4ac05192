"""The rules of a cut inside network namespaces: which packets stop where. Pure; `nft` puts them in place.

Between two sides a packet is stopped where it arrives, by its sender's address: each namespace of a side holds what the
other may not send it. Alone, one namespace holds both ways of its own, and lets its loopback be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.faults.nft import Chain, Table
from harness.faults.nft_cut import IN, MET, OUT, Direction, verdict

__all__ = ["BoxCut", "alone_table", "box_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxCut:
    """What a namespace is cut from. `mine` and `theirs` are the ports of which alone it is meant; both empty: everything.

    `is_first`: it belongs to the side from which `direction` counts. `ratio` None: every packet.
    """

    is_first: bool
    peers: tuple[str, ...] = ()
    mine: tuple[int, ...] = ()
    theirs: tuple[int, ...] = ()
    direction: Direction = "both"
    reject: bool = False
    ratio: float | None = None


def box_table(name: str, cut: BoxCut) -> Table:
    """The table of one namespace of a cut between two sides: what arrives there from the other side."""
    way = IN if cut.is_first else OUT
    wanted = cut.direction in ("both", "in" if cut.is_first else "out")
    rules = [f"{match}{ports} goto hit_{way}" for match in _from(cut.peers) for ports in _ports(cut)] if wanted else []
    return _table(name, cut, {way: ("input", tuple(rules))})


def alone_table(name: str, cut: BoxCut) -> Table:
    """The table of a namespace that is cut off from everybody. Packets that it sends stop as they leave."""
    inward = BoxCut(is_first=True, mine=cut.mine)
    ways = {}
    if cut.direction in ("both", "in"):
        ways[IN] = ("input", tuple(f'iifname != "lo"{ports} goto hit_{IN}' for ports in _ports(inward)))
    if cut.direction in ("both", "out"):
        outward = BoxCut(is_first=True, theirs=cut.mine)
        ways[OUT] = ("output", tuple(f'oifname != "lo"{ports} goto hit_{OUT}' for ports in _ports(outward)))
    return _table(name, cut, ways)


def _table(name: str, cut: BoxCut, ways: dict[str, tuple[str, tuple[str, ...]]]) -> Table:
    counters = [counter for way in ways for counter in ((way,) if cut.ratio is None else (way, MET[way]))]
    return Table(
        name=name,
        counters=tuple(counters),
        chains=(
            *(Chain(name=f"hit_{way}", rules=verdict(way, reject=cut.reject, ratio=cut.ratio)) for way in ways),
            *(Chain(name=f"at_{hook}", hook=hook, rules=rules) for hook, rules in ways.values()),
        ),
    )


def _from(addresses: Sequence[str]) -> Iterator[str]:
    """Matches of what comes from any of the addresses."""
    for word, ours in (
        ("ip", [one for one in addresses if ":" not in one]),
        ("ip6", [one for one in addresses if ":" in one]),
    ):
        if ours:
            yield f"{word} saddr {{ {', '.join(sorted(ours))} }}"


def _ports(cut: BoxCut) -> list[str]:
    """Further matches, one rule each: towards my ports, and from theirs."""
    if not cut.mine and not cut.theirs:
        return [""]
    towards = [("dport", cut.mine), ("sport", cut.theirs)]
    return [
        f" meta l4proto {{ tcp, udp }} th {word} {{ {', '.join(map(str, sorted(ports)))} }}"
        for word, ports in towards
        if ports
    ]
