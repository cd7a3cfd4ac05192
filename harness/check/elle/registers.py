"""Transactions that read and write registers, every value written once: the order of versions is known only where a
transaction read one version and wrote the next, and that nothing comes before the initial one.

Source: Kingsbury and Alvaro 2020, section 5 (rw-register).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from harness.check.elle.graph import EdgeKind, Graph
from harness.check.elle.transactions import Finding, Transaction, cycles, first_reads, lost_updates

__all__ = ["rw_register"]


def rw_register(txns: Sequence[Transaction], orders: frozenset[EdgeKind] = frozenset()) -> tuple[Finding, ...]:
    """Every kind of anomaly that was found, at most one of each; () when there is none, or nothing was read."""
    writer: dict[tuple[Any, Any], Transaction] = {}
    last: dict[tuple[int, Any], Any] = {}
    for txn in txns:
        for part in txn.parts:
            if part.kind == "w":
                writer[part.key, part.value] = txn
                last[txn.id, part.key] = part.value
    findings: dict[str, Finding] = {}
    committed = [txn for txn in txns if txn.committed]
    for txn in committed:
        for finding in _reads(txn, writer, last):
            findings.setdefault(finding.anomaly, finding)
    for finding in lost_updates(txns, "w"):
        findings.setdefault(finding.anomaly, finding)
    graph = _graph(txns, writer)
    findings |= {finding.anomaly: finding for finding in cycles(txns, orders, graph)}
    return tuple(findings.values())


def _reads(
    txn: Transaction, writer: dict[tuple[Any, Any], Transaction], last: dict[tuple[int, Any], Any]
) -> Iterator[Finding]:
    known: dict[Any, Any] = {}
    for part in txn.parts:
        key, value = part.key, part.value
        if part.kind == "r":
            if key in known and known[key] != value:
                words = f"{txn.id} read {value!r} from {key!r}, where it had read or written {known[key]!r}"
                yield Finding(anomaly="internal", ids=(txn.id,), words=words)
            by = writer.get((key, value))
            if by is None and value is not None:
                words = f"{txn.id} read {value!r} from {key!r}, which no one wrote"
                yield Finding(anomaly="phantom", ids=(txn.id,), words=words)
            elif by is not None and by.failed:
                words = f"{txn.id} read {value!r} from {key!r}, written by {by.id}, which failed"
                yield Finding(anomaly="G1a", ids=(by.id, txn.id), words=words)
            elif by is not None and by.id != txn.id and last[by.id, key] != value:
                words = f"{txn.id} read {value!r} from {key!r}, which {by.id} itself wrote over"
                yield Finding(anomaly="G1b", ids=(by.id, txn.id), words=words)
        known[key] = value


def _graph(txns: Sequence[Transaction], writer: dict[tuple[Any, Any], Transaction]) -> Graph:
    graph = Graph()
    readers: dict[tuple[Any, Any], list[Transaction]] = defaultdict(list)
    follows: dict[tuple[Any, Any], list[tuple[Any, Transaction]]] = defaultdict(list)
    for txn in txns:
        if not txn.committed:
            continue
        reads = first_reads(txn)
        wrote: set[Any] = set()
        for part in txn.parts:
            if part.kind == "w" and part.key not in wrote:
                wrote.add(part.key)
                if part.key in reads:
                    follows[part.key, reads[part.key]].append((part.value, txn))
        for key, value in reads.items():
            readers[key, value].append(txn)
            by = writer.get((key, value))
            if by is not None:
                graph.add(by.id, txn.id, "wr", f"{txn.id} read {value!r} from {key!r}, written by {by.id}")
    for (key, value), by in writer.items():
        if by.committed:  # the initial version comes before every other
            follows[key, None].append((value, by))
    for (key, value), nexts in follows.items():
        one = writer.get((key, value))
        for after, two in nexts:
            if one is not None:
                graph.add(one.id, two.id, "ww", f"{two.id} read {value!r} from {key!r} and wrote {after!r}")
            for reader in readers[key, value]:
                graph.add(reader.id, two.id, "rw", f"{reader.id} read {value!r} from {key!r}, which {two.id} replaced")
    return graph
