"""One client operation, as a row: what was due, sent, answered, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OUTCOMES", "Op", "Outcome", "Phase"]

Outcome = Literal["ok", "fail", "info", "dropped"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "fail", "info", "dropped")
Phase = Literal["load", "probe", "final"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One op. Instants are ns since the run's origin; the interval [sent_ns, done_ns] is closed.

    `outcome`: ok; fail (surely no effect); info (cannot be known); dropped (due, but the load generator could not start
    it: then `sent_ns` and `done_ns` are None). `value` is what a write wrote; `result` what a read returned, as JSON text
    of a list of values or of one value. `writer` changes after an `info`. `cut`: still open when the drain ended: `done_ns`
    is then the cut. `later`: not an arrival of its own, intended when the profile's code reached it. `wrong`: content was
    not as the profile expected. `broken`: it ended after its first byte without its end (mid-stream).
    `gap_ns`: the longest wait from one chunk to the next; None for fewer than two. `compared`: how often the profile held
    content against what it expected. `input`, `answer`: digests of all that the answer may depend on (beside `version`), and
    of the answer itself.
    """

    op: int
    user: int = 0
    writer: str = ""
    group: str | None = None
    session: str | None = None
    f: str
    key: str | None = None
    value: str | None = None
    idem: str | None = None
    intended_ns: int
    sent_ns: int | None = None
    first_ns: int | None = None
    done_ns: int | None = None
    outcome: Outcome
    error: str | None = None
    status: int | None = None
    served_by: str | None = None
    region: str | None = None
    epoch: int | None = None
    version: str | None = None
    degraded: str | None = None
    cached: bool | None = None
    attempts: int = 1
    chunks: int = 0
    bytes: int = 0
    result: str | None = None
    phase: Phase = "load"
    cut: bool = False
    later: bool = False
    wrong: bool = False
    broken: bool = False
    gap_ns: int | None = None
    compared: int | None = 0
    input: str | None = None
    answer: str | None = None
