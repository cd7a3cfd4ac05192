"""Check `single-writer`: once a newer epoch has acknowledged, no older one does (split brain)."""

from __future__ import annotations

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.index import Ints
from harness.history.history import History
from harness.history.table import MISSING
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult
from harness.units import format_duration

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="single-writer",
    doc="No acknowledgement under an old epoch starts after the first under a newer one (split brain).",
    params=Params,
    code="harness.check.single_writer:check",
    example="checks: [single-writer]",
    counts=("deposed",),
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether no acknowledged write under an epoch was sent after the first acknowledgement under a higher one.

    Epochs are compared over all writes of the slice; where keys or shards have epochs of their own, use `on`. A write that
    was open at that moment proves nothing. Two holders of one epoch cannot be told apart. Unknown: nothing acknowledged, no
    op open during a fault, an acknowledgement without an epoch. O(n log n). Source: correctness.md R4.
    """
    ground = Ground(history=history, spec=spec, context=context)
    index = ground.index
    epochs = index.table.ints("epoch")
    acked = index.is_write & index.ok & index.load & ground.judged
    rows = np.flatnonzero(acked & (epochs != MISSING))
    without = int(np.count_nonzero(acked & (epochs == MISSING)))
    known, number = np.unique(epochs[rows], return_inverse=True)
    firsts = np.full(len(known) + 1, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(firsts, number, index.done_ns[rows])
    # For each epoch the first acknowledgement under any higher one; none is higher than the last.
    newer = np.minimum.accumulate(firsts[::-1])[::-1][1:]
    wrong = np.flatnonzero(index.lo_ns[rows] > newer[number]) if len(rows) else rows
    unknown = ground.gaps()
    if without:
        unknown.append(f"{counted(without, 'acknowledgement')} carried no epoch")
    evidence = []
    for place in wrong[: EVIDENCE_ROWS - 1].tolist():
        begun_ns = int(index.lo_ns[rows[place]] - newer[number[place]])
        evidence.append(
            ground.op_row(int(rows[place]), f"sent {format_duration(begun_ns)} after a newer epoch had acknowledged")
        )
    if len(wrong):
        usurper = rows[np.flatnonzero(index.done_ns[rows] == newer[number[wrong[0]]])[0]]
        evidence.insert(0, ground.op_row(int(usurper), "the first acknowledgement of the newer epoch"))
    return ground.rule(
        Ruling(
            broken=_sentence(wrong, known, number, index.done_ns[rows] - newer[number]) if len(wrong) else None,
            unknown=tuple(unknown),
            holds=f"{counted(len(known), 'epoch')}, 0 of {counted(len(rows), 'acknowledgement')} under a deposed one"
            + (f": {below(len(rows))}" if len(rows) else ""),
            counts={"deposed": len(wrong)},
            volume=ground.volume() | {"epochs": len(known), "without_epoch": without},
            evidence=tuple(evidence),
        )
    )


def _sentence(wrong: Ints, known: Ints, number: Ints, behind_ns: Ints) -> str:
    old = ", ".join(str(epoch) for epoch in np.unique(known[number[wrong]])[:3].tolist())
    lasted = format_duration(int(behind_ns[wrong].max()))
    what = counted(len(wrong), "acknowledgement")
    return f"{what} under epoch {old} began after a newer one had acknowledged: two writers for {lasted}"
