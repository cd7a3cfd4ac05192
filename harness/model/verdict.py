"""Verdicts, their exit codes and their order: DESIGN's one table. Nothing else may map a verdict to a number."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["EXIT_CODES", "SPEC_EXIT", "CheckVerdict", "Status", "Verdict", "worst"]

SPEC_EXIT = 2
"""Exit code of what is knowable from the files alone: no verdict, for no run began."""


class Verdict(StrEnum):
    """What a run came to."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    REFUSED = "REFUSED"
    ABORTED = "ABORTED"
    ERROR = "ERROR"
    DIRTY = "DIRTY"


EXIT_CODES = {
    Verdict.PASS: 0,
    Verdict.FAIL: 1,
    Verdict.INCONCLUSIVE: 3,
    Verdict.REFUSED: 4,
    Verdict.ABORTED: 5,
    Verdict.ERROR: 6,
    Verdict.DIRTY: 7,
}

_ORDER = (
    Verdict.DIRTY,
    Verdict.ERROR,
    Verdict.ABORTED,
    Verdict.FAIL,
    Verdict.REFUSED,
    Verdict.INCONCLUSIVE,
    Verdict.PASS,
)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that outranks the others: 7 > 6 > 5 > 1 > 4 > 3 > 0. INCONCLUSIVE when there is none: nothing was proven."""
    present = set(verdicts)
    return next((verdict for verdict in _ORDER if verdict in present), Verdict.INCONCLUSIVE)


class Status(StrEnum):
    """How an objective stands. Without data: unknown."""

    MET = "met"
    MISSED = "missed"
    UNKNOWN = "unknown"


class CheckVerdict(StrEnum):
    """How a data check came out. Invalid beats unknown beats valid."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
