"""Logs as reads show them, and entries that stand in the wrong order in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.check.ground import Ground
from harness.check.index import Bools

__all__ = ["Log", "logs", "reordered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Every read of one log, as entries without foreign, refused and repeated ones: other checks name those."""

    reads: tuple[int, ...]
    lists: tuple[list[int], ...]


def logs(ground: Ground) -> Iterator[Log]:
    """Every log that was read, with its reads by sending: those of the slice, and all final reads of regions asked."""
    reads, entries, index = ground.reads, ground.entries, ground.index
    aside = [index.regions.index(name) for name in ground.context.evidence_regions if name in index.regions]
    final = reads.phase == 2
    chosen = np.flatnonzero(np.where(final, ~np.isin(reads.region, aside), ground.judged[reads.row]))
    plain = _plain(ground)
    refused = entries.failed.tolist()
    count = len(entries)
    flat, start = reads.flat.tolist(), reads.start.tolist()
    chosen = chosen[np.argsort(reads.name[chosen], kind="stable")]
    names = reads.name[chosen]
    edges = [0, *(np.flatnonzero(np.diff(names)) + 1).tolist(), len(chosen)]
    for begin, end in pairwise(edges):
        group = chosen[begin:end].tolist()
        lists = []
        for read in group:
            values = flat[start[read] : start[read + 1]]
            if not plain[read]:
                values = [value for value in dict.fromkeys(values) if value < count and not refused[value]]
            lists.append(values)
        if group:
            yield Log(reads=tuple(group), lists=tuple(lists))


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
