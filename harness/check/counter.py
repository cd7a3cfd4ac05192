"""Check `counter`: a sum is never outside what was added."""

from __future__ import annotations

import numpy as np

from harness.check.amounts import amounts
from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.index import Bools
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="counter",
    doc="Every read within [acknowledged, acknowledged + info]; the ledger has each event once.",
    params=Params,
    code="harness.check.counter:check",
    example="checks: [counter]",
    models=frozenset({"counter"}),
    counts=("outside", "doubled", "missing"),
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether every read's sum is possible, and every final ledger holds each acknowledged event exactly once.

    At least what was acknowledged before the read began, at most that and whatever was sent before it ended; negative
    amounts turn the bounds round. *outside*: reads beyond them. A read of {"value": n, "events": [keys]} is a ledger: in final
    ones, events there more than once are *doubled*, acknowledged ones absent *missing* (+1 and -1 cancel in a sum, not in a
    ledger). Evidence regions are left aside. Unknown: amounts that are no whole numbers, nothing acknowledged, no op
    open during a fault, anything not read. O(n log n). Source: correctness.md B1; maelstrom `pn_counter`.
    """
    ground = Ground(history=history, spec=spec, context=context)
    reads, index = ground.reads, ground.index
    found = amounts(ground)
    aside = [index.regions.index(name) for name in context.evidence_regions if name in index.regions]
    final = (reads.phase == 2) & ~np.isin(reads.region, aside)
    judged = np.where(reads.phase == 2, final, ground.judged[reads.row])
    outside = np.flatnonzero(judged & ((found.shown < found.lo) | (found.shown > found.hi)))
    ledgers = final & found.ledger
    doubled, missing = _ledger(ground, ledgers)
    unknown = ground.gaps() + ground.unread() + (ground.unnamed() if np.any(ledgers) else [])
    if found.nonsense:
        unknown.append(f"{counted(found.nonsense, 'addition')} carried no whole number")
    rows = [
        ground.read_row(read, f"shows {found.shown[read]:,}, possible is {found.lo[read]:,} to {found.hi[read]:,}")
        for read in outside[: EVIDENCE_ROWS // 2].tolist()
    ]
    rows += _entry_rows(ground, doubled, "more than once in a final ledger")
    rows += _entry_rows(ground, missing, "missing in a final ledger")
    counts = {
        "outside": len(outside),
        "doubled": int(np.count_nonzero(doubled)),
        "missing": int(np.count_nonzero(missing)),
    }
    broken = any(counts.values()) and not found.nonsense
    asked = int(np.count_nonzero(judged))
    return ground.rule(
        Ruling(
            broken=_sentence(counts, asked) if broken else None,
            unknown=tuple(unknown),
            holds=f"0 of {counted(asked, 'sum')} outside what was added: {below(max(asked, 1))}"
            + ("; the ledger has each event once" if np.any(ledgers) else "; there was no ledger"),
            counts=counts,
            volume=ground.volume() | {"ledgers": int(np.count_nonzero(ledgers))},
            evidence=tuple(rows),
        )
    )


def _ledger(ground: Ground, ledgers: Bools) -> tuple[Bools, Bools]:
    """(entries more than once in a final ledger, acknowledged entries absent from a region's last one)."""
    entries, reads, index = ground.entries, ground.reads, ground.index
    count = len(entries)
    owner = reads.owner
    mine = ledgers[owner] & (reads.flat < count)
    pairs = np.sort(owner[mine] * (count + 1) + reads.flat[mine])
    doubled = np.zeros(count, dtype=np.bool_)
    doubled[pairs[1:][pairs[1:] == pairs[:-1]] % (count + 1)] = True
    missing = np.zeros(count, dtype=np.bool_)
    for region in ground.regions:
        latest = index.latest_finals(region)
        latest = latest[ledgers[latest]]
        chosen = np.zeros(len(reads), dtype=np.bool_)
        chosen[latest] = True
        missing |= ground.acked & (index.homes(chosen) >= 0) & ~index.seen(latest)
    return doubled & ground.judged_entries, missing


def _entry_rows(ground: Ground, mask: Bools, words: str) -> list[EvidenceRow]:
    return [ground.write_row(entry, words) for entry in np.flatnonzero(mask)[: EVIDENCE_ROWS // 4].tolist()]


def _sentence(counts: dict[str, int], asked: int) -> str:
    words = {
        "outside": f"of {asked:,} sums outside what was added",
        "doubled": "events are more than once in the ledger",
        "missing": "acknowledged events are not in the ledger",
    }
    return ", ".join(f"{counts[name]:,} {text}" for name, text in words.items() if counts[name])
