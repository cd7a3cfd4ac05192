"""Check `exactly-once`: nothing that was asked for once happened twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.check.amounts import amounts
from harness.check.context import CheckContext
from harness.check.effects import Sink
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, listed
from harness.check.index import Bools, Ints
from harness.check.queues import Deliveries
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="exactly-once",
    doc="No write or job took effect twice, by idempotency key, counted at an independent sink where the stack has one.",
    params=Params,
    code="harness.check.exactly_once:check",
    example="checks: [exactly-once]",
    models=frozenset({"log", "jobs", "counter", "queue"}),
    counts=("duplicates",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Twice:
    """Entries that took effect more than once. `read`: a read that shows one of them twice, by entry; -1 without."""

    entries: Bools
    read: Ints


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether any read of the model, or the stack's own sink, shows one logical write more than once.

    A logical write is all ops with one idempotency key, or with one value when there is none; a read that holds its value,
    its key or several of its values more than once doubles it; so do two receives of a queue. Once in each region is once.
    Uncertain writes may be there once. A counter's reads need a ledger ({"value": n, "events": [keys]}) or the stack a sink:
    a sum above all that was acknowledged or uncertain proves a double, but a sum within hides one that a loss cancels. Where
    the stack has a sink, it must have seen every acknowledged write, else it is blind: unknown. Unknown also: nothing
    acknowledged, no op open during a fault, values that are not distinct, anything not read (unless there is a sink). O(n
    log n) in all that was read. Source: correctness.md D3, Q2.
    """
    ground = Ground(history=history, spec=spec, context=context)
    volume = ground.volume()
    unknown = ground.gaps() + ground.unnamed()
    if context.model == "queue":
        return _received(ground, unknown, volume)
    seen = _in_reads(ground)
    doubled, runs = seen.entries, None
    if context.sink:
        sink = Sink(ground=ground)
        runs = sink.runs
        unknown += sink.blind()
        volume["effects"] = int(runs.sum())
        doubled = doubled | (ground.judged_entries & (runs > 1))
    if volume["final_reads"] or not context.sink:
        unknown += ground.unread()
    excess, hidden = _sums(ground)
    unknown += hidden
    evidence = [*_rows(ground, doubled, seen, runs), *excess]
    duplicates = len(np.unique(ground.entries.group[doubled])) + (len(excess) if not np.any(doubled) else 0)
    acked = volume["acked"]
    by = "in any read" + (" and at the sink" if context.sink else "")
    return ground.rule(
        Ruling(
            broken=_sentence(ground, duplicates, not np.any(doubled), acked) if duplicates else None,
            unknown=tuple(unknown),
            holds=f"0 of {acked:,} acknowledged {ground.nouns(acked)} twice {by}: {below(acked)}",
            counts={"duplicates": duplicates},
            volume=volume,
            evidence=tuple(evidence),
        )
    )


def _received(ground: Ground, unknown: list[str], volume: dict[str, int]) -> CheckResult:
    """A queue's verdict: nothing was given out twice. What is still in it could be."""
    deliveries, acked = Deliveries(ground=ground), volume["acked"]
    twice = len(np.unique(ground.entries.group[deliveries.twice]))
    undrained = [why for why in deliveries.unknown() if "not drained" in why]
    was = "was" if twice == 1 else "were"
    return ground.rule(
        Ruling(
            broken=f"{twice:,} {ground.nouns(twice)} {was} received more than once, of {acked:,} acknowledged"
            if twice
            else None,
            unknown=(*unknown, *undrained),
            holds=f"0 of {acked:,} acknowledged {ground.nouns(acked)} received twice: {below(max(acked, 1))}",
            counts={"duplicates": twice},
            volume=volume | deliveries.volume(),
            evidence=tuple(deliveries.rows_twice()),
        )
    )


def _in_reads(ground: Ground) -> _Twice:
    entries, reads, index = ground.entries, ground.reads, ground.index
    count = len(entries)
    aside = [index.regions.index(name) for name in ground.context.evidence_regions if name in index.regions]
    counts = ~((reads.phase == 2) & np.isin(reads.region, aside))
    owner, entry = reads.owner, reads.flat
    if len(reads.foreign) or not np.all(counts):
        ours = (entry < count) & counts[owner]
        owner, entry = owner[ours], entry[ours]
    span = int(entries.group.max(initial=0)) + 1
    places = owner * span  # one number per (read, logical write): ns never come near
    places += entries.group[entry]
    alone = np.sort(places)
    if not np.any(alone[1:] == alone[:-1]):  # to sort the numbers is far quicker than to find their order
        none = np.zeros(count, dtype=np.bool_)
        return _Twice(entries=none, read=np.full(count, -1, dtype=np.int64))
    del alone
    order = np.argsort(places, kind="stable")
    again = np.flatnonzero(places[order][1:] == places[order][:-1]) + 1
    read = np.full(count, -1, dtype=np.int64)
    # Later reads overwrite earlier ones: the last to show it, a final read if there is one, is the witness.
    read[entry[order[again]]] = owner[order[again]]
    return _Twice(entries=(read >= 0) & ground.judged_entries, read=read)


def _sums(ground: Ground) -> tuple[list[EvidenceRow], list[str]]:
    """(rows of final reads above every possible sum, why a counter's doubles may be hidden)."""
    if ground.context.model != "counter":
        return [], []
    reads = ground.reads
    found = amounts(ground)
    finals = reads.phase == 2
    if found.nonsense:
        return [], [f"{found.nonsense:,} additions carried no whole number"]
    above = np.flatnonzero(finals & (found.shown > found.hi))[:EVIDENCE_ROWS]
    rows = [
        ground.read_row(read, f"shows {found.shown[read]:,}, at most {found.hi[read]:,} was asked for")
        for read in above.tolist()
    ]
    if ground.context.sink or bool(np.all(found.ledger[finals])):
        return rows, []
    return rows, ["a sum cannot show a doubled addition that a lost or uncertain one cancels: no ledger, no sink"]


def _rows(ground: Ground, doubled: Bools, seen: _Twice, runs: Ints | None) -> list[EvidenceRow]:
    rows: list[EvidenceRow] = []
    for entry in np.flatnonzero(doubled).tolist():
        if len(rows) >= EVIDENCE_ROWS:
            break
        read = int(seen.read[entry])
        if read >= 0:
            rows += (ground.write_row(entry, "took effect twice"), ground.read_row(read, _places(ground, entry, read)))
        elif runs is not None:
            rows.append(ground.write_row(entry, f"the sink saw {runs[entry]:,} effects"))
    return rows


def _places(ground: Ground, entry: int, read: int) -> str:
    group, count = ground.entries.group, len(ground.entries)
    found = [
        str(place)
        for place, other in enumerate(ground.reads.values(read), start=1)
        if other < count and group[other] == group[entry]
    ]
    region = int(ground.reads.region[read])
    where = f" in {ground.index.regions[region]}" if region >= 0 else ""
    return f"holds {ground.value(entry)} at places {listed(found)}{where}"


def _sentence(ground: Ground, duplicates: int, by_sum: bool, acked: int) -> str:
    if by_sum:
        what = "final sum shows" if duplicates == 1 else "final sums show"
        return f"{duplicates:,} {what} more than every acknowledged and uncertain addition can explain"
    verb = "has taken" if duplicates == 1 else "took"
    return f"{duplicates:,} {ground.nouns(duplicates)} {verb} effect more than once, of {acked:,} acknowledged"
