"""Check `append-order`: transactions over lists show no anomaly that an order of them all could not have."""

from __future__ import annotations

from typing import Literal

from harness.check.calls import calls_of
from harness.check.context import CheckContext
from harness.check.elle.append import list_append
from harness.check.elle.graph import EdgeKind
from harness.check.elle.transactions import transactions
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, counted, listed
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult

__all__ = ["KIND", "AppendOrderParams", "check"]


class AppendOrderParams(Params):
    """`orders`: also hold to the order within a process, and to real time (strict serializability)."""

    orders: tuple[Literal["process", "realtime"], ...] = ()


KIND = CheckKind(
    name="append-order",
    doc="No Elle anomaly (G0, G1a-c, G-single, G-nonadjacent, G2-item, internal, lost and dirty update) over list appends.",
    params=AppendOrderParams,
    code="harness.check.append_order:check",
    example="checks: [{append-order: {orders: [realtime]}}]",
    models=frozenset({"list-append"}),
    counts=("anomalies",),
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether the transactions of the slice are serializable as far as their own reads can tell.

    An op's `f` is `txn`; its value is JSON, [["append", "x", 1], ["r", "y", null]], its result the same with what was read;
    appended elements are distinct within a list. Sound, not complete: what was never read proves nothing. Unknown: nothing
    acknowledged, no op open during a fault, no list was read. O(transactions and their parts). Source: Kingsbury and Alvaro
    2020.
    """
    ground = Ground(history=history, spec=spec, context=context)
    txns = transactions(calls_of(ground))
    orders: frozenset[EdgeKind] = frozenset(AppendOrderParams.model_validate(spec.params).orders)
    found = list_append(txns, orders)
    reads = sum(1 for txn in txns if txn.committed for part in txn.parts if part.kind == "r" and part.value)
    unknown = ground.gaps()
    if not reads:
        unknown.append("no transaction read anything that another had appended")
    evidence = [ground.op_row(row, finding.words) for finding in found for row in finding.ids]
    names = listed(sorted(finding.anomaly for finding in found))
    return ground.rule(
        Ruling(
            broken=f"{names}: {found[0].words}" if found else None,
            unknown=tuple(unknown),
            holds=f"{counted(len(txns), 'transaction')} with {counted(reads, 'read')} show no anomaly",
            counts={"anomalies": len(found)},
            volume=ground.volume() | {"transactions": len(txns), "list_reads": reads},
            evidence=tuple(evidence)[:EVIDENCE_ROWS],
        )
    )
