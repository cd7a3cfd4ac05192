"""Registers whose writes are all different: linearizable or not in O(n log n), without a search.

Source: Gibbons and Korach 1997. The calls of one value (its write and the reads that returned it) form a cluster. Its zone
spans from the least end to the greatest beginning among them: forward when the first lies before the second, else backward.
A legal order exists just when no two forward zones overlap, no backward zone lies inside a forward one, and no read ended
before its write began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Clusters", "Conflict", "conflict"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """One element per value of one or many registers, sorted in no order.

    `register`: which. `write`: the row of its write. `write_lo_ns`: when it was sent. `low_ns`: the least end of its calls
    (of the write, unless pending, and of every read). `low_row`: whose that is. `high_ns`, `high_row`: the greatest beginning.
    A pending write that nobody read has no cluster: it need not have happened.
    """

    register: Ints
    write: Ints
    write_lo_ns: Ints
    low_ns: Ints
    low_row: Ints
    high_ns: Ints
    high_row: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Why there is no order: the rows that contradict one another. `kind` says how."""

    kind: Literal["read-before-write", "two-values-at-once", "value-returned"]
    rows: tuple[int, ...]


def conflict(clusters: Clusters) -> Conflict | None:
    """The first contradiction by time, None when every register is linearizable (or nothing was called)."""
    if not len(clusters.register):
        return None
    found = [_early(clusters), *_crossed(clusters)]
    return min((each for each in found if each is not None), key=lambda each: each[0], default=(0, None))[1]


_Found = tuple[int, Conflict]


def _early(c: Clusters) -> _Found | None:
    """A call of the value ended before its write was sent."""
    wrong = np.flatnonzero(c.low_ns < c.write_lo_ns)
    if not len(wrong):
        return None
    worst = int(wrong[np.argmin(c.low_ns[wrong])])
    rows = (int(c.low_row[worst]), int(c.write[worst]))
    return int(c.low_ns[worst]), Conflict(kind="read-before-write", rows=rows)


def _crossed(c: Clusters) -> list[_Found]:
    """Forward zones that overlap one another, and backward zones inside a forward one, of one register."""
    # Instants by rank, each register in a range of its own: one sorted axis for all of them.
    instants, rank = np.unique(np.concatenate([c.low_ns, c.high_ns]), return_inverse=True)
    count, width = len(c.register), len(instants) + 1
    low, high = c.register * width + rank[:count], c.register * width + rank[count:]
    forward, backward = np.flatnonzero(low < high), np.flatnonzero(low >= high)
    forward = forward[np.argsort(low[forward], kind="stable")]
    if not len(forward):
        return []
    furthest = _furthest(high[forward])
    found = []
    # What reaches furthest among the zones before: another register's ends before this one's range begins.
    hit = np.flatnonzero(low[forward[1:]] < high[forward[furthest[:-1]]])
    if len(hit):
        at = int(hit[np.argmin(c.low_ns[forward[hit + 1]])])
        found.append(_between(c, int(forward[furthest[at]]), int(forward[at + 1]), "two-values-at-once"))
    before = np.searchsorted(low[forward], high[backward], side="left") - 1
    holder = forward[furthest[np.maximum(before, 0)]]
    hit = np.flatnonzero((before >= 0) & (low[backward] < high[holder]))
    if len(hit):
        at = int(hit[np.argmin(c.low_ns[backward[hit]])])
        found.append(_between(c, int(holder[at]), int(backward[at]), "value-returned"))
    return found


def _furthest(ends: Ints) -> Ints:
    """For each place: the first place up to it with the greatest end."""
    greatest = np.maximum.accumulate(ends)
    fresh = np.concatenate([[True], greatest[1:] > greatest[:-1]])
    return np.maximum.accumulate(np.where(fresh, np.arange(len(ends)), 0))


def _between(c: Clusters, one: int, two: int, kind: Literal["two-values-at-once", "value-returned"]) -> _Found:
    """The calls that bound both zones, each once, writes first."""
    rows = (c.write[one], c.write[two], c.low_row[one], c.high_row[one], c.low_row[two], c.high_row[two])
    return int(c.low_ns[two]), Conflict(kind=kind, rows=tuple(dict.fromkeys(int(row) for row in rows)))
