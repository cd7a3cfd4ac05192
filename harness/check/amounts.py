"""A counter's sums: what each read showed, and the least and the most that it may have shown."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from harness.check.ground import Ground
from harness.check.index import Bools, Ints, count_until
from harness.check.words import scalar_parts

__all__ = ["Amounts", "amounts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Per read of the index: the number shown, the bounds [lo, hi] it must be within, whether it had a ledger of events.

    `nonsense`: additions whose value is no whole number, so that no sum is known.
    """

    shown: Ints
    lo: Ints
    hi: Ints
    ledger: Bools
    nonsense: int


def amounts(ground: Ground) -> Amounts:
    """The sums of a counter's reads, per key (else session, else overall), by the ops' times alone.

    What was acknowledged before a read began is in it; what began before it ended and was not refused may be. Negative
    amounts widen downwards. Source: correctness.md B1; maelstrom `pn_counter`.
    """
    index, reads = ground.index, ground.reads
    table = index.table
    rows = np.flatnonzero(index.is_write & (index.ok | index.info) & ~index.final)
    texts = table.column("value").take(rows.tolist()).to_pylist() if len(rows) else []
    deltas, nonsense = np.zeros(len(rows), dtype=np.int64), 0
    for position, text in enumerate(texts):
        try:
            deltas[position] = int(text)
        except (TypeError, ValueError):
            nonsense += 1
    results = table.column("result").take(reads.row.tolist()).to_pylist() if len(reads) else []
    parts = [scalar_parts(json.loads(result)) or (0, None) for result in results]
    home = _homes(ground, rows)
    lo, hi = np.zeros(len(reads), dtype=np.int64), np.zeros(len(reads), dtype=np.int64)
    # Surely in: acknowledged before the read began. Maybe in: begun before it ended (the rest of those).
    surely = _sum_before(home, index.done_ns[rows], deltas, index.ok[rows], (reads.name, reads.lo_ns))
    for sign, bound in ((-1, lo), (1, hi)):
        part = np.sign(deltas) == sign
        begun = _sum_before(home, index.lo_ns[rows], deltas, part, (reads.name, reads.done_ns + 1))
        certain = _sum_before(home, index.done_ns[rows], deltas, part & index.ok[rows], (reads.name, reads.lo_ns))
        bound += surely + begun - certain
    return Amounts(
        shown=np.array([value for value, _ in parts], dtype=np.int64),
        lo=lo,
        hi=hi,
        ledger=np.array([events is not None for _, events in parts], dtype=np.bool_),
        nonsense=nonsense,
    )


def _homes(ground: Ground, rows: Ints) -> Ints:
    index = ground.index
    key, session, names = index._naming
    read = np.zeros(len(names) + 2, dtype=np.bool_)
    read[ground.reads.name] = True
    rest = len(names) if read[len(names)] else -1
    return np.where(read[key[rows]], key[rows], np.where(read[session[rows]], session[rows], rest))


def _sum_before(home: Ints, times: Ints, deltas: Ints, which: Bools, asked: tuple[Ints, Ints]) -> Ints:
    """The sum of the chosen amounts of a read's own name strictly before its instant."""
    group, time, delta = home[which], times[which], deltas[which]
    order = np.lexsort((time, group))
    sums = np.concatenate([[0], np.cumsum(delta[order])])
    # The events of a name are one stretch of the sorted ones; the count within it says where to read the running sum.
    start = np.searchsorted(group[order], asked[0])
    return np.asarray(sums[start + count_until(group, time, *asked)] - sums[start], dtype=np.int64)
