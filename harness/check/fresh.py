"""Check `fresh`: a read shows what was acknowledged before it."""

from __future__ import annotations

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.staleness import Demand, misses
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult
from harness.units import format_duration

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="fresh",
    doc="No read misses a write acknowledged before it began, beyond the stated staleness.",
    params=Params,
    code="harness.check.fresh:check",
    example="checks: [{fresh: {within: 1s}}]",
    models=frozenset({"register", "set", "log"}),
    counts=("stale",),
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether each ok read under load shows every write of its key (else session) acknowledged `within` before it began.

    Without `within`: everything acknowledged strictly before it began. A register must show no value whose write had ended
    before such a write was sent. Uncertain writes are asked of no read. A lost write makes every later read stale. Final
    reads are `durable`'s. Unknown: nothing acknowledged, no op open during a fault, values not distinct, no read that
    began after an acknowledgement. O(n log n). Source: correctness.md R2.
    """
    ground = Ground(history=history, spec=spec, context=context)
    reads = ground.reads
    load = reads.phase == 0
    chosen = load & ground.judged[reads.row]
    lag_ns = spec.within_ns or 0
    found = misses(ground, Demand(home=ground.index.homes(load), asked=np.where(chosen, reads.name, -1), lag_ns=lag_ns))
    unknown = ground.gaps() + ground.unnamed()
    if not found.asked:
        unknown.append("no read under load began after an acknowledgement")
    lags = [int(reads.lo_ns[read] - ground.entries.ack_ns[entry]) for read, entry in found.stale]
    evidence = []
    for (read, entry), behind_ns in list(zip(found.stale, lags, strict=True))[: EVIDENCE_ROWS // 2]:
        evidence.append(
            ground.write_row(entry, f"{format_duration(behind_ns)} later a read began that does not show it")
        )
        evidence.append(ground.read_row(read, f"does not show {ground.value(entry)}"))
    allowed = f", {format_duration(lag_ns)} allowed" if lag_ns else ""
    return ground.rule(
        Ruling(
            broken=f"{counted(len(lags), 'read')} of {found.asked:,} missed what was acknowledged up to"
            f" {format_duration(max(lags))} before{allowed}"
            if lags
            else None,
            unknown=tuple(unknown),
            holds=f"0 of {counted(found.asked, 'read')} missed what was acknowledged before{allowed}: "
            + below(max(found.asked, 1)),
            counts={"stale": len(lags)},
            volume=ground.volume() | {"reads_asked": found.asked},
            evidence=tuple(evidence),
        )
    )
