"""Availability as the interval that our own drops leave open."""

from __future__ import annotations

from harness.measure.good import Graded, counts
from harness.model.measured import Availability

__all__ = ["availability"]


def availability(graded: Graded, unplaced: int = 0) -> Availability | None:
    """[good/(valid+dropped), good/valid], over all ops and never an average of buckets; None when nothing was offered.

    `unplaced` ops, bad or dropped, may belong to it too: they open the interval further.

    `wire_ratio`: each good op has one good wire attempt, whatever it took.
    """
    found = counts(graded)
    offered = found.valid + found.dropped + unplaced
    if offered == 0:
        return None
    attempts = int(graded.ops.ints("attempts")[graded.valid].sum())
    return Availability(
        lo_ratio=found.good / offered,
        hi_ratio=found.good / found.valid if found.valid else 1.0,
        wire_ratio=found.good / attempts if attempts else None,
    )
