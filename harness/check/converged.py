"""Check `converged`: in the end all regions hold the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, counted, listed
from harness.check.index import FOREVER
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow
from harness.units import format_duration

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="converged",
    doc="After the drain all regions' final reads become equal (contents, not offsets), and are equal again 2 s later.",
    params=Params,
    code="harness.check.converged:check",
    example="checks: [{converged: {within: 10s}}]",
    counts=("diverged", "late"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """One key's final reads over all regions asked. `equal_ns`: since when they are equal, to the end; None: they are not.

    `again_ns`: how much later every region was read again; None when it was not. `last`: the last read of each region.
    `missing`: regions that were not read. `rounds`: how often the region read least was read.
    """

    name: int
    equal_ns: int | None
    again_ns: int | None
    last: tuple[int, ...]
    missing: int
    rounds: int


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether every key (else session) reads the same in all regions asked, from some moment on to the last read.

    Same is: the same list for a log, the same values for a set, jobs or a queue, the same value for a register or counter.
    `within` counts from the start of the final phase to that moment. Where any key was read in more than one round, every
    key must be equal over two, else it is unknown; with one round only, the sentence says that no second look was taken.
    Uncertain writes are
    in all regions or in none. Evidence regions are left aside. Unknown: fewer than two regions, nothing acknowledged, no op
    open during a fault, anything not read, a key equal only in its last round. Linear in all that was read.
    Source: correctness.md V1.
    """
    ground = Ground(history=history, spec=spec, context=context)
    places = list(_places(ground)) if len(ground.regions) > 1 else []
    begun_ns = _begun_ns(ground)
    diverged = [place for place in places if place.equal_ns is None and not place.missing]
    late = [
        place
        for place in places
        if place.equal_ns is not None and spec.within_ns is not None and place.equal_ns - begun_ns > spec.within_ns
    ]
    volume = ground.volume() | {"keys": len(places), "regions": len(ground.regions)}
    return ground.rule(
        Ruling(
            broken=_sentence(ground, diverged, late, begun_ns) if diverged or late else None,
            unknown=tuple(_unknown(ground, places)),
            holds=_holds(ground, places, begun_ns),
            counts={"diverged": len(diverged), "late": len(late)},
            volume=volume,
            evidence=tuple(_evidence(ground, diverged or late)),
        )
    )


def _begun_ns(ground: Ground) -> int:
    """When the final phase began: its event, else the first final read."""
    span = ground.history.phase("final")
    sent = ground.reads.lo_ns[ground.reads.phase == 2]
    return span[0] if span else int(sent.min(initial=FOREVER))


def _places(ground: Ground) -> Iterator[_Place]:
    reads, index = ground.reads, ground.index
    codes = [index.regions.index(name) for name in ground.regions if name in index.regions]
    chosen = np.flatnonzero((reads.phase == 2) & np.isin(reads.region, codes))
    chosen = chosen[np.lexsort((reads.done_ns[chosen], reads.name[chosen]))]
    edges = [0, *(np.flatnonzero(np.diff(reads.name[chosen])) + 1).tolist(), len(chosen)]
    for begin, end in pairwise(edges):
        if begin < end:
            yield _place(ground, chosen[begin:end].tolist())


def _place(ground: Ground, group: Sequence[int]) -> _Place:
    """Follow one key's final reads in time: each replaces what its region held; equality counts while it lasts."""
    reads = ground.reads
    held: dict[int, int] = {}
    contents: dict[int, object] = {}
    equal_ns: int | None = None
    last_ns: dict[int, int] = {}
    for read in group:
        region = int(reads.region[read])
        held[region], contents[region] = read, _content(ground, read)
        last_ns[region] = int(reads.done_ns[read])
        alike = len(held) == len(ground.regions) and all(content == contents[region] for content in contents.values())
        equal_ns = (last_ns[region] if equal_ns is None else equal_ns) if alike else None
    again_ns = None if equal_ns is None else min(last_ns.values()) - equal_ns
    return _Place(
        name=int(reads.name[group[0]]),
        equal_ns=equal_ns,
        again_ns=again_ns if again_ns is not None and again_ns > 0 else None,
        last=tuple(held.values()),
        missing=len(ground.regions) - len(held),
        rounds=min(Counter(int(ground.reads.region[read]) for read in group).values()),
    )


def _content(ground: Ground, read: int) -> object:
    values = ground.reads.values(read)
    match ground.context.model:
        case "counter":
            return ground.index.table.rows([int(ground.reads.row[read])])[0].result
        case "log" | "register":
            return values
        case _:
            return Counter(values)


def _unknown(ground: Ground, places: list[_Place]) -> list[str]:
    why = [*ground.gaps(), *ground.unread()]
    if len(ground.regions) < 2:
        why.append("fewer than two regions were asked: there is nothing to compare")
        return why
    missing = sum(place.missing > 0 for place in places)
    if missing:
        why.append(f"{counted(missing, 'key')} could not be read in every region")
    unsure = [place for place in places if place.equal_ns is not None and place.again_ns is None]
    if unsure and any(place.rounds > 1 for place in places):
        why.append(f"{len(unsure):,} of {counted(len(places), 'key')} not seen equal a second time in every region")
    return why


def _holds(ground: Ground, places: list[_Place], begun_ns: int) -> str:
    if not places:
        return ""
    took_ns = max((place.equal_ns or begun_ns) - begun_ns for place in places)
    words = f"{counted(len(places), 'key')} read the same in {listed([str(name) for name in ground.regions])}"
    words += f" within {format_duration(max(took_ns, 0))} of the first final read"
    again = [place.again_ns for place in places if place.again_ns is not None]
    if len(again) == len(places):
        return f"{words}, and again {format_duration(min(again))} later"
    return f"{words}; whether they stay the same was not looked at"


def _sentence(ground: Ground, diverged: list[_Place], late: list[_Place], begun_ns: int) -> str:
    if diverged:
        differing = "differs" if len(diverged) == 1 else "differ"
        return f"{counted(len(diverged), 'key')} still {differing} between {listed([str(name) for name in ground.regions])}"
    worst_ns = max(place.equal_ns or 0 for place in late) - begun_ns
    became = f"{counted(len(late), 'key')} became equal too late: after {format_duration(worst_ns)}"
    return f"{became}, allowed {format_duration(ground.spec.within_ns or 0)}"


def _evidence(ground: Ground, places: list[_Place]) -> Iterator[EvidenceRow]:
    rows = 0
    for place in places:
        if rows + len(place.last) > EVIDENCE_ROWS:
            return
        contents = [ground.reads.values(read) for read in place.last]
        shared = set(contents[0]).intersection(*contents[1:])
        for read, values in zip(place.last, contents, strict=True):
            own = [ground.value(value) for value in dict.fromkeys(values) if value not in shared]
            has = f"alone or not everywhere: {listed(own)}" if own else "nothing that the others lack"
            region = int(ground.reads.region[read])
            yield ground.read_row(read, f"{ground.index.regions[region]} holds {counted(len(values), 'value')}, {has}")
            rows += 1
