"""Transactions that append to lists and read them: one read shows the whole order of versions before it.

Source: Kingsbury and Alvaro 2020, section 4; correctness.md T1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from harness.check.elle.graph import EdgeKind, Graph
from harness.check.elle.transactions import Finding, Transaction, cycles, lost_updates

__all__ = ["list_append"]


@dataclass(slots=True)
class _Lists:
    """What is known of every list: who appended each element, and the longest order that was read."""

    writer: dict[tuple[Any, Any], Transaction] = field(default_factory=dict)
    last: dict[tuple[int, Any], Any] = field(default_factory=dict)
    longest: dict[Any, tuple[Any, ...]] = field(default_factory=dict)
    witness: dict[Any, int] = field(default_factory=dict)


def list_append(txns: Sequence[Transaction], orders: frozenset[EdgeKind] = frozenset()) -> tuple[Finding, ...]:
    """Every kind of anomaly that was found, at most one of each; () when there is none, or nothing was read.

    `orders`: "process", "realtime": edges to hold to as well. Elements must be distinct within a list.
    """
    lists = _learn(txns)
    findings: dict[str, Finding] = {}
    for finding in (*_reads(txns, lists), *_orders(lists), *lost_updates(txns, "append")):
        findings.setdefault(finding.anomaly, finding)
    graph = Graph()
    _version_edges(lists, graph)
    for txn in txns:
        if txn.committed:
            _read_edges(txn, lists, graph)
    findings |= {finding.anomaly: finding for finding in cycles(txns, orders, graph)}
    return tuple(findings.values())


def _learn(txns: Sequence[Transaction]) -> _Lists:
    lists = _Lists()
    for txn in txns:
        for part in txn.parts:
            if part.kind == "append":
                lists.writer[part.key, part.value] = txn
                lists.last[txn.id, part.key] = part.value
    for txn in txns:
        if not txn.committed:
            continue
        for part in txn.parts:
            if part.kind == "r" and part.value is not None and len(part.value) > len(lists.longest.get(part.key, ())):
                lists.longest[part.key], lists.witness[part.key] = tuple(part.value), txn.id
    return lists


def _reads(txns: Sequence[Transaction], lists: _Lists) -> Iterator[Finding]:
    """What one read proves by itself."""
    for txn in txns:
        if not txn.committed:
            continue
        known: dict[Any, tuple[Any, ...]] = {}
        own: dict[Any, tuple[Any, ...]] = {}
        for part in txn.parts:
            key = part.key
            if part.kind == "append":
                own[key] = (*own.get(key, ()), part.value)
                if key in known:
                    known[key] = (*known[key], part.value)
                continue
            seen = tuple(part.value or ())
            mine = own.get(key, ())
            if (key in known and seen != known[key]) or (mine and seen[-len(mine) :] != mine):
                words = f"{txn.id} read {list(seen)} from {key!r} after it had read or appended otherwise"
                yield Finding(anomaly="internal", ids=(txn.id,), words=words)
            known[key] = seen
            yield from _elements(txn, key, seen, lists)


def _elements(txn: Transaction, key: Any, seen: tuple[Any, ...], lists: _Lists) -> Iterator[Finding]:
    if len(set(seen)) < len(seen):
        twice = next(each for place, each in enumerate(seen) if each in seen[:place])
        yield Finding(anomaly="duplicate-elements", ids=(txn.id,), words=f"{txn.id} read {twice!r} twice from {key!r}")
    for element in seen:
        writer = lists.writer.get((key, element))
        if writer is None:
            words = f"{txn.id} read {element!r} from {key!r}, which no one appended"
            yield Finding(anomaly="phantom", ids=(txn.id,), words=words)
        elif writer.failed:
            words = f"{txn.id} read {element!r} from {key!r}, appended by {writer.id}, which failed"
            yield Finding(anomaly="G1a", ids=(writer.id, txn.id), words=words)
    longest = lists.longest.get(key, ())
    if seen != longest[: len(seen)]:
        words = f"{txn.id} read {list(seen)} from {key!r}, {lists.witness[key]} read {list(longest)}: neither begins the other"
        yield Finding(anomaly="incompatible-order", ids=(txn.id, lists.witness[key]), words=words)
    last = lists.writer.get((key, seen[-1])) if seen else None
    if last is not None and last.id != txn.id and lists.last[last.id, key] != seen[-1]:
        words = f"{txn.id} read {key!r} up to {seen[-1]!r}, in the middle of what {last.id} appended"
        yield Finding(anomaly="G1b", ids=(last.id, txn.id), words=words)


def _orders(lists: _Lists) -> Iterator[Finding]:
    """A failed append that a later one built upon."""
    for key, order in lists.longest.items():
        for element, after in pairwise(order):
            writer, next_ = lists.writer.get((key, element)), lists.writer.get((key, after))
            if writer is not None and next_ is not None and writer.failed and not next_.failed:
                words = f"{next_.id} appended {after!r} to {key!r} behind {element!r} of {writer.id}, which failed"
                yield Finding(anomaly="dirty-update", ids=(writer.id, next_.id), words=words)


def _version_edges(lists: _Lists, graph: Graph) -> None:
    for key, order in lists.longest.items():
        for element, after in pairwise(order):
            one, two = lists.writer.get((key, element)), lists.writer.get((key, after))
            if one is not None and two is not None:
                graph.add(
                    one.id, two.id, "ww", f"{two.id} appended {after!r} to {key!r} behind {element!r} of {one.id}"
                )


def _read_edges(txn: Transaction, lists: _Lists, graph: Graph) -> None:
    appended: set[Any] = set()
    for part in txn.parts:
        key = part.key
        if part.kind == "append":
            appended.add(key)
            continue
        seen, order = tuple(part.value or ()), lists.longest.get(key, ())
        if key in appended or seen != order[: len(seen)]:
            continue
        writer = lists.writer.get((key, seen[-1])) if seen else None
        if writer is not None:
            graph.add(writer.id, txn.id, "wr", f"{txn.id} read {seen[-1]!r} from {key!r}, appended by {writer.id}")
        # The first element behind what was read that is not its own.
        behind = next(
            (writer for e in order[len(seen) :] if (writer := lists.writer.get((key, e))) and writer.id != txn.id), None
        )
        if behind is not None:
            graph.add(txn.id, behind.id, "rw", f"{txn.id} read {key!r} without what {behind.id} appended to it")
