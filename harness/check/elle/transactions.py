"""Transactions as their parts, the anomalies that need no graph, and the order of what ended before what began."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.check.elle.graph import EdgeKind, Graph, find_cycles
from harness.history.calls import FOREVER, Call

__all__ = ["Finding", "Part", "Transaction", "cycles", "first_reads", "lost_updates", "transactions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One read or write of a transaction. `value`: what was written; what was read, None when nobody heard."""

    kind: str
    key: Any
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A call taken apart. `committed`: ok. `failed`: surely no effect. Neither: nobody knows, and its reads say nothing."""

    id: int
    parts: tuple[Part, ...]
    committed: bool
    failed: bool
    call_ns: int
    ret_ns: int
    process: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An anomaly by its name, the transactions that prove it (ids, in order), and one sentence."""

    anomaly: str
    ids: tuple[int, ...]
    words: str


def transactions(calls: Iterable[Call]) -> tuple[Transaction, ...]:
    """The transactions of a history. A value (and an answer) is a sequence of (kind, key, value).

    Raises ValueError for a call that is no transaction.
    """
    return tuple(_transaction(call) for call in calls)


def _transaction(call: Call) -> Transaction:
    committed = not call.failed and not call.pending
    parts = call.out if committed and isinstance(call.out, tuple) else call.value
    if not isinstance(parts, tuple) or not all(isinstance(part, tuple) and len(part) == 3 for part in parts):
        raise ValueError(f"call {call.id}: expected a transaction such as [[append x 1] [r y nil]], got {call.value!r}")
    return Transaction(
        id=call.id,
        parts=tuple(Part(kind=str(kind), key=key, value=value) for kind, key, value in parts),
        committed=committed,
        failed=call.failed,
        call_ns=call.call_ns,
        ret_ns=call.ret_ns,
        process=call.process,
    )


def _order_edges(txns: Sequence[Transaction], kinds: frozenset[EdgeKind], graph: Graph) -> None:
    """Add what ended before what began: within each process, and over all (realtime). Only nearest ones: the rest follows."""
    if "process" in kinds:
        for before, after in _successions(txns):
            graph.add(before.id, after.id, "process", f"process {before.process} did it first")
    if "realtime" not in kinds:
        return
    events = sorted(
        [(txn.call_ns, 0, txn.id) for txn in txns if not txn.failed]
        + [(txn.ret_ns, 1, txn.id) for txn in txns if txn.committed and txn.ret_ns < FOREVER]
    )
    by_id = {txn.id: txn for txn in txns}
    # The ended transactions that no other ended one follows wholly: each new one follows just these.
    frontier: list[Transaction] = []
    for _, is_end, name in events:
        txn = by_id[name]
        if is_end:
            frontier = [other for other in frontier if other.ret_ns >= txn.call_ns] + [txn]
        else:
            for other in frontier:
                graph.add(other.id, txn.id, "realtime", "it ended before the other began")


def _successions(txns: Sequence[Transaction]) -> Iterator[tuple[Transaction, Transaction]]:
    last: dict[Any, Transaction] = {}
    for txn in sorted(txns, key=lambda each: each.call_ns):
        if txn.failed:
            continue
        if txn.process in last:
            yield last[txn.process], txn
        last[txn.process] = txn


def cycles(txns: Sequence[Transaction], orders: frozenset[EdgeKind], graph: Graph) -> Iterator[Finding]:
    """The cycles of a graph of versions, with what `orders` adds to it, each in words."""
    _order_edges(txns, orders, graph)
    for cycle in find_cycles(graph, orders):
        pairs = zip(cycle.nodes, (*cycle.nodes[1:], cycle.nodes[0]), cycle.kinds, strict=True)
        words = "; ".join(f"{a} before {b}: {graph.why[a, b, kind]}" for a, b, kind in pairs)
        yield Finding(anomaly=cycle.name, ids=cycle.nodes, words=f"a cycle: {words}")


def first_reads(txn: Transaction) -> dict[Any, Any]:
    """What a transaction read from each object before it wrote to it."""
    found: dict[Any, Any] = {}
    wrote: set[Any] = set()
    for part in txn.parts:
        if part.kind != "r":
            wrote.add(part.key)
        elif part.key not in wrote:
            found.setdefault(part.key, part.value)
    return found


def lost_updates(txns: Sequence[Transaction], write: str) -> Iterator[Finding]:
    """Two committed transactions read one version of an object and both wrote the next. `write`: the kind of such a part."""
    updates: dict[tuple[Any, Any], Transaction] = {}
    for txn in txns:
        if not txn.committed:
            continue
        reads = first_reads(txn)
        for key in {part.key for part in txn.parts if part.kind == write} & reads.keys():
            other = updates.setdefault((key, reads[key]), txn)
            if other is not txn:
                words = f"{other.id} and {txn.id} both read {reads[key]!r} from {key!r} and wrote the next version"
                yield Finding(anomaly="lost-update", ids=(other.id, txn.id), words=words)
