"""What a read had to show: everything acknowledged long enough before it began. Shared by `fresh` and `session-guarantees`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.check.ground import Ground
from harness.check.index import FOREVER, Ints, count_until

__all__ = ["Demand", "Misses", "misses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Which reads must show which entries: those of the same number `home`/`asked`, -1 takes part in nothing.

    `lag_ns`: how long before a read began an entry must have been acknowledged to be asked of it.
    """

    home: Ints
    asked: Ints
    lag_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Misses:
    """`stale`: (read, an entry it should have shown, the first acknowledged), by read. `asked`: reads of which anything was."""

    stale: tuple[tuple[int, int], ...]
    asked: int


def misses(ground: Ground, demand: Demand) -> Misses:
    """Reads that miss an acknowledged entry. A register misses when its value's write had ended before that entry was sent.

    A register that shows an uncertain write, or a value that nobody wrote, misses nothing: it may be newer than all.
    O(n log n) in ops and values read.
    """
    entries, reads = ground.entries, ground.reads
    asked = np.flatnonzero(demand.asked >= 0)
    sources = np.flatnonzero(entries.acked & (demand.home >= 0))
    order = sources[np.lexsort((entries.ack_ns[sources], demand.home[sources]))]
    home = demand.home[order]
    need = count_until(home, entries.ack_ns[order], demand.asked[asked], reads.lo_ns[asked] - demand.lag_ns)
    begin = np.searchsorted(home, demand.asked[asked])
    find = _older if ground.context.model == "register" else _missing
    stale = find(ground, order, home, (asked, begin, need))
    return Misses(stale=tuple(stale), asked=int(np.count_nonzero(need > 0)))


def _missing(ground: Ground, order: Ints, home: Ints, asked: tuple[Ints, Ints, Ints]) -> list[tuple[int, int]]:
    """Reads that show fewer of the entries they need than there are, each with the first of those it lacks."""
    reads, count = ground.reads, len(ground.entries)
    which, begin, need = asked
    rank = np.full(count + len(reads.foreign), FOREVER, dtype=np.int64)
    rank[order] = np.arange(len(order))
    place = np.full(len(reads), -1, dtype=np.int64)
    place[which] = np.arange(len(which))
    owner = place[reads.owner]
    flat, owner = reads.flat[owner >= 0], owner[owner >= 0]
    hit = (rank[flat] >= begin[owner]) & (rank[flat] < begin[owner] + need[owner])
    pairs = np.sort(owner[hit] * (count + 1) + flat[hit])  # far quicker than np.unique, which hashes
    once = np.append(pairs[1:] != pairs[:-1], True)[: len(pairs)]
    have = np.bincount(pairs[once] // (count + 1), minlength=len(which))
    stale = []
    for short in np.flatnonzero(have < need).tolist():
        shown, first = set(reads.values(int(which[short]))), int(begin[short])
        # Of so many wanted ones not all can be among those shown: a longer look would make this quadratic.
        wanted = order[first : first + min(int(need[short]), len(shown) + 1)].tolist()
        stale.append((int(which[short]), next(entry for entry in wanted if entry not in shown)))
    return stale


def _older(ground: Ground, order: Ints, home: Ints, asked: tuple[Ints, Ints, Ints]) -> list[tuple[int, int]]:
    """Register reads that show a value older than an entry they need, each with the first such entry."""
    which, begin, need = asked
    newest = ground.entries.lo_ns[order]
    edges = [0, *(np.flatnonzero(np.diff(home)) + 1).tolist(), len(home)]
    for low, high in pairwise(edges):
        newest[low:high] = np.maximum.accumulate(newest[low:high])
    stale = []
    for place in np.flatnonzero(need > 0).tolist():
        first, past = int(begin[place]), int(begin[place] + need[place])
        shown_ns = _shown_ns(ground, int(which[place]))
        if newest[past - 1] > shown_ns:
            at = first + int(np.searchsorted(newest[first:past], shown_ns, side="right"))
            stale.append((int(which[place]), int(order[at])))
    return stale


def _shown_ns(ground: Ground, read: int) -> int:
    """When the write that a register read shows had ended: before everything for none, FOREVER when that cannot be known."""
    reads = ground.reads
    begin, end = int(reads.start[read]), int(reads.start[read + 1])
    if begin == end:
        return -FOREVER
    value = int(reads.flat[begin])
    return int(ground.entries.ack_ns[value]) if value < len(ground.entries) else FOREVER
