"""What several runs of one experiment come to. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from harness.model.verdict import Verdict, worst

__all__ = ["ENDS_SERIES", "is_flaky", "overall", "seeds"]

ENDS_SERIES = frozenset({Verdict.DIRTY, Verdict.ERROR, Verdict.ABORTED})
"""After one of these no further run is begun: a human or a safety rule said stop, or the stack is not what it was."""


def seeds(seed: int, times: int) -> tuple[int, ...]:
    """The seed of each run: the experiment's own for a single one, else a hash of it and the run's number (0 to 2^63 - 1)."""
    if times == 1:
        return (seed,)
    digests = (hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest() for number in range(times))
    return tuple(int.from_bytes(digest, "big") >> 1 for digest in digests)


def overall(verdicts: Sequence[Verdict], require: Literal["all", "any"]) -> Verdict:
    """The verdict over runs: the one that outranks the others; with `any`, PASS as soon as one passed and none ended the series.

    INCONCLUSIVE for no runs. Source: DESIGN.md §11.
    """
    if require == "any" and Verdict.PASS in verdicts and not ENDS_SERIES.intersection(verdicts):
        return Verdict.PASS
    return worst(verdicts)


def is_flaky(verdicts: Sequence[Verdict]) -> bool:
    """Whether some runs passed and others failed. It does not soften the verdict."""
    return {Verdict.PASS, Verdict.FAIL} <= set(verdicts)
