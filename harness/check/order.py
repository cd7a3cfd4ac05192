"""Logs as reads show them, and entries that stand in the wrong order in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from harness.check.ground import Ground
from harness.check.index import Bools, Ints

__all__ = ["Log", "either", "logs", "misplaced", "reordered"]


_AT_ONCE = 1 << 20
"""Values looked at in one go: what numpy holds meanwhile is so many numbers a few times over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Every read of one log, as entries without foreign, refused and repeated ones: other checks name those."""

    reads: tuple[int, ...]
    lists: tuple[list[int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Reads that count, by name and then by sending; where each name begins, and the end. `plain`: see `_plain`, by read."""

    reads: Ints
    edges: Ints
    plain: Bools


def logs(ground: Ground, close: Callable[[Ground, _Chosen], Bools] | None = None) -> Iterator[Log]:
    """Every log that was read, with its reads by sending: those of the slice, and all final reads of regions asked.

    `close` says of each log whether it is worth a close look; others are left out. Nearly all are right, and in Python
    each costs far more than it does to see that.
    """
    chosen = _chosen(ground)
    worth = np.ones(len(chosen.edges) - 1, dtype=np.bool_) if close is None else close(ground, chosen)
    reads, refused, count = ground.reads, ground.entries.failed, len(ground.entries)
    for place in np.flatnonzero(worth).tolist():
        group = chosen.reads[chosen.edges[place] : chosen.edges[place + 1]].tolist()
        lists = []
        for read in group:
            values = reads.values(read)
            if not chosen.plain[read]:
                values = [value for value in dict.fromkeys(values) if value < count and not refused[value]]
            lists.append(values)
        if group:
            yield Log(reads=tuple(group), lists=tuple(lists))


def _chosen(ground: Ground) -> _Chosen:
    key = ("chosen", *sorted(ground.spec.on.items()))
    if key not in ground.index.told:
        reads, index = ground.reads, ground.index
        aside = [index.regions.index(name) for name in ground.context.evidence_regions if name in index.regions]
        chosen = np.flatnonzero(np.where(reads.phase == 2, ~np.isin(reads.region, aside), ground.judged[reads.row]))
        chosen = chosen[np.argsort(reads.name[chosen], kind="stable")]
        turns = np.flatnonzero(np.diff(reads.name[chosen])) + 1
        edges = np.concatenate([[0], turns, [len(chosen)]]) if len(chosen) else np.zeros(1, dtype=np.int64)
        index.told[key] = _Chosen(reads=chosen, edges=edges.astype(np.int64), plain=_plain(ground))
    found: _Chosen = ground.index.told[key]
    return found


def parted(ground: Ground, chosen: _Chosen) -> Bools:
    """Which logs have a read that is no beginning of their longest final read (of any read, where none is final)."""
    reads = ground.reads
    log = np.repeat(np.arange(len(chosen.edges) - 1), np.diff(chosen.edges))
    length = np.diff(reads.start)
    final = reads.phase[chosen.reads] == 2
    size = length[chosen.reads]
    any_final = np.zeros(len(chosen.edges) - 1, dtype=np.bool_)
    any_final[log[final]] = True
    counts = final | ~any_final[log]
    best_of = np.full(len(chosen.edges) - 1, -1, dtype=np.int64)
    order = np.lexsort((np.where(counts, size, -1), log))
    best_of[log[order]] = chosen.reads[order]  # the last of each log counts: its longest
    best = np.full(len(reads), -1, dtype=np.int64)
    best[chosen.reads] = best_of[log]
    worth = np.zeros(len(chosen.edges) - 1, dtype=np.bool_)
    worth[log[~chosen.plain[chosen.reads] | (size > length[best_of[log]])]] = True
    # Each value against the one at its place in the longest read; beyond that one's end nothing is compared.
    apart = np.zeros(len(reads), dtype=np.bool_)
    for begin in range(0, len(reads.flat), _AT_ONCE):
        owner = reads.owner[begin : begin + _AT_ONCE]
        place = np.flatnonzero((best[owner] >= 0) & (length[owner] <= length[best[owner]]))
        owner = owner[place]
        place += begin
        differs = reads.flat[place] != reads.flat[place - reads.start[owner] + reads.start[best[owner]]]
        apart[owner[differs]] = True
    worth[log[apart[chosen.reads]]] = True
    return worth


def misplaced(ground: Ground, chosen: _Chosen) -> Bools:
    """Which logs have a final read in which `reordered` finds something, or one that is not plain."""
    reads, entries = ground.reads, ground.entries
    log = np.repeat(np.arange(len(chosen.edges) - 1), np.diff(chosen.edges))
    final = chosen.reads[reads.phase[chosen.reads] == 2]
    worth = np.zeros(len(chosen.edges) - 1, dtype=np.bool_)
    worth[log[~chosen.plain[chosen.reads]]] = True
    asked = np.zeros(len(reads), dtype=np.bool_)
    asked[final] = chosen.plain[final]
    owner = reads.owner
    place = np.flatnonzero(asked[owner])
    value, owner = reads.flat[place], owner[place]
    mine = ground.judged_entries[value]
    value, owner = value[mine], owner[mine]
    # One group for each read and owner, in the order of the read; then the least acknowledgement from each place on: going
    # backwards the groups' numbers only fall, so that a group's own minimum begins anew with it.
    group = owner * (int(entries.owner.max(initial=0)) + 1) + entries.owner[value]
    order = np.argsort(group, kind="stable")
    group, value, owner = group[order], value[order], owner[order]
    number = np.cumsum(np.append(True, group[1:] != group[:-1]))[: len(group)] if len(group) else group
    instants, rank = np.unique(entries.ack_ns, return_inverse=True)
    key = number * (len(instants) + 1) + rank[value]
    behind = np.minimum.accumulate(key[::-1])[::-1]
    wrong = np.flatnonzero(
        (number[1:] == number[:-1]) & (instants[behind[1:] % (len(instants) + 1)] < entries.lo_ns[value[:-1]])
        if len(number) > 1
        else np.zeros(0, dtype=np.bool_)
    )
    hit = np.zeros(len(reads), dtype=np.bool_)
    hit[owner[wrong]] = True
    worth[log[hit[chosen.reads]]] = True
    return worth


def either(ground: Ground, chosen: _Chosen) -> Bools:
    """`parted` or `misplaced`."""
    return parted(ground, chosen) | misplaced(ground, chosen)


def _plain(ground: Ground) -> Bools:
    """Which reads hold nothing foreign, refused or repeated."""
    reads, count = ground.reads, len(ground.entries)
    owner, plain = reads.owner, np.ones(len(reads), dtype=np.bool_)
    refused = np.concatenate([ground.entries.failed, np.ones(len(reads.foreign), dtype=np.bool_)])
    plain[owner[refused[reads.flat]]] = False
    places = np.sort(owner * (count + len(reads.foreign) + 1) + reads.flat)
    plain[places[1:][places[1:] == places[:-1]] // (count + len(reads.foreign) + 1)] = False
    return plain


def reordered(ground: Ground, log: Log) -> Iterator[tuple[int, int, int]]:
    """(entry that should stand first, entry that stands before it, read) of final reads.

    Source: correctness.md D4: an entry acknowledged before another of its session was sent stands before it.
    """
    phases, entries = ground.reads.phase, ground.entries
    judged = ground.judged_entries
    for read, values in zip(log.reads, log.lists, strict=True):
        if phases[read] != 2:
            continue
        numbers = np.array(values, dtype=np.int64)
        numbers = numbers[judged[numbers]]
        owner = entries.owner[numbers]
        for own in np.unique(owner).tolist():
            mine = numbers[owner == own]
            # Least acknowledgement among those that stand behind: sent after it, an entry must not stand before it.
            acks = entries.ack_ns[mine]
            behind = np.minimum.accumulate(acks[::-1])[::-1]
            wrong = np.flatnonzero(behind[1:] < entries.lo_ns[mine][:-1])
            for place in wrong.tolist():
                partner = place + 1 + int(np.argmin(acks[place + 1 :]))
                yield int(mine[partner]), int(mine[place]), read
