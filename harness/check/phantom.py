"""Check `phantom`: nothing is there that nobody put there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.index import FOREVER, Ints, Smalls
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="phantom",
    doc="Nothing present that no one wrote, nothing present that surely failed.",
    params=Params,
    code="harness.check.phantom:check",
    example="checks: [phantom]",
    counts=("phantoms", "aborted", "early"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ghosts:
    """Values read that cannot be there: (number of the value, a read that shows it), each value once."""

    foreign: list[tuple[int, int]]
    aborted: list[tuple[int, int]]
    early: list[tuple[int, int]]


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether every value in any read was written by an op that may have had an effect, and was read after it was sent.

    *phantoms*: values that no op wrote; *aborted*: values whose every op surely failed or was never sent; *early*: values
    that a read returned and that were sent only after it had ended. Uncertain writes may be there. Final reads of evidence
    regions are left aside. A counter's bare sums name no values: unknown without a ledger. Unknown also: no final read
    (a queue: no receive), nothing acknowledged, no op open during a fault, anything not read. Linear in all that was
    read. Source: correctness.md D2; Adya 1999 (G1a).
    """
    ground = Ground(history=history, spec=spec, context=context)
    ghosts = _ghosts(ground)
    volume = ground.volume() | {"values_read": len(ground.reads.flat)}
    total = len(ghosts.foreign) + len(ghosts.aborted) + len(ghosts.early)
    return ground.rule(
        Ruling(
            broken=_sentence(ghosts) if total else None,
            unknown=tuple(_unknown(ground)),
            holds=f"all {counted(len(ground.reads.flat), 'value')} read were written"
            + (f": others {below(len(ground.reads.flat))}" if len(ground.reads.flat) else ""),
            counts={"phantoms": len(ghosts.foreign), "aborted": len(ghosts.aborted), "early": len(ghosts.early)},
            volume=volume,
            evidence=tuple(_rows(ground, ghosts)),
        )
    )


def _ghosts(ground: Ground) -> _Ghosts:
    reads, entries, index = ground.reads, ground.entries, ground.index
    count = len(entries)
    aside = [index.regions.index(name) for name in ground.context.evidence_regions if name in index.regions]
    final = reads.phase == 2
    chosen = np.where(final, ~np.isin(reads.region, aside), ground.judged[reads.row])
    owner = reads.owner
    owner, value = owner[chosen[owner]], reads.flat[chosen[owner]]
    ours = value < count
    refused, sent_ns = np.append(entries.failed, False), np.append(entries.lo_ns, -FOREVER)
    entry = np.where(ours, value, count)
    early = ~refused[entry] & (sent_ns[entry] > reads.done_ns[owner])
    return _Ghosts(
        foreign=_each(value[~ours], owner[~ours]),
        aborted=_each(value[refused[entry]], owner[refused[entry]]),
        early=_each(value[early], owner[early]),
    )


def _each(values: Smalls, owners: Ints) -> list[tuple[int, int]]:
    """Each value once, with the last read that shows it, in order of first sight."""
    found = dict(zip(values.tolist(), owners.tolist(), strict=True))
    return list(found.items())


def _unknown(ground: Ground) -> list[str]:
    why = ground.gaps()
    if ground.context.model == "queue":
        return why if len(ground.reads) else [*why, "nothing was received"]
    why += ground.unread()
    if ground.context.model == "counter" and not len(ground.reads.flat):
        why.append("a counter's reads name no values: they have no ledger of events")
    return why


def _sentence(ghosts: _Ghosts) -> str:
    parts = []
    if ghosts.foreign:
        parts.append(f"{counted(len(ghosts.foreign), 'value')} that nobody wrote")
    if ghosts.aborted:
        parts.append(f"{counted(len(ghosts.aborted), 'value')} whose write was surely refused")
    if ghosts.early:
        parts.append(f"{counted(len(ghosts.early), 'value')} read before they were sent")
    return f"reads show {', '.join(parts)}"


def _rows(ground: Ground, ghosts: _Ghosts) -> list[EvidenceRow]:
    rows: list[EvidenceRow] = []
    for value, read in ghosts.foreign[: EVIDENCE_ROWS // 2]:
        rows.append(ground.read_row(read, f"shows {ground.value(value)}, which nobody wrote"))
    for value, read in [*ghosts.aborted, *ghosts.early]:
        if len(rows) > EVIDENCE_ROWS - 2:
            break
        rows.append(ground.write_row(value, "yet it was read"))
        rows.append(ground.read_row(read, f"shows {ground.value(value)}"))
    return rows
