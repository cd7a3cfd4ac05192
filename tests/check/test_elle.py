"""Anomalies of transactions: textbook histories by name, serial and snapshot executions, and what cycles must be."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.check.elle.append import list_append
from harness.check.elle.graph import Graph, find_cycles
from harness.check.elle.registers import rw_register
from harness.check.elle.transactions import transactions
from harness.history.calls import FOREVER, UNKNOWN, Call

EDGES = frozenset({"process", "realtime"})


def txn(n: int, *parts: tuple[str, Any, Any], at: int | None = None, end: int | None = None, fate: str = "ok") -> Call:
    """Transaction n; without instants, all are concurrent and each of its own process."""
    begin, last = (0, 100) if at is None else (at, at + 1 if end is None else end)
    ok = fate == "ok"
    return Call(
        id=n,
        f="txn",
        value=parts,
        out=parts if ok else UNKNOWN,
        call_ns=begin,
        ret_ns=last if ok else FOREVER,
        process=n,
        failed=fate == "fail",
    )


def names(find: Any, *calls: Call, orders: frozenset[Any] = frozenset()) -> set[str]:
    return {finding.anomaly for finding in find(transactions(calls), orders)}


A, R, W = "append", "r", "w"

APPENDS = {
    "nothing wrong": ([txn(1, (A, "x", 1)), txn(2, (R, "x", (1,)), (A, "x", 2)), txn(3, (R, "x", (1, 2)))], set()),
    "G0": (
        [
            txn(1, (A, "x", 1), (A, "y", 1)),
            txn(2, (A, "x", 2), (A, "y", 2)),
            txn(3, (R, "x", (1, 2))),
            txn(4, (R, "y", (2, 1))),
        ],
        {"G0"},
    ),
    "G1a": ([txn(1, (A, "x", 1), fate="fail"), txn(2, (R, "x", (1,)))], {"G1a"}),
    "G1b": ([txn(1, (A, "x", 1), (A, "x", 2)), txn(2, (R, "x", (1,))), txn(3, (R, "x", (1, 2)))], {"G1b", "G-single"}),
    "G1c": ([txn(1, (A, "x", 1), (R, "y", (1,))), txn(2, (A, "y", 1), (R, "x", (1,)))], {"G1c"}),
    "G-single": (
        [
            txn(1, (A, "x", 1), (A, "y", 1)),
            txn(2, (R, "x", (1,)), (R, "y", ())),
            txn(3, (R, "y", (1,))),
        ],
        {"G-single"},
    ),
    "G2-item": (
        [
            txn(1, (R, "x", ()), (A, "y", 1)),
            txn(2, (R, "y", ()), (A, "x", 1)),
            txn(3, (R, "x", (1,)), (R, "y", (1,))),
        ],
        {"G2-item"},
    ),
    "G-nonadjacent": (
        [
            txn(1, (A, "x", 1)),
            txn(2, (A, "y", 1)),
            txn(3, (R, "x", (1,)), (R, "y", ())),
            txn(4, (R, "y", (1,)), (R, "x", ())),
        ],
        {"G-nonadjacent"},
    ),
    "internal": ([txn(1, (A, "x", 1), (R, "x", ()))], {"internal"}),
    "dirty update": (
        [txn(1, (A, "x", 1), fate="fail"), txn(2, (A, "x", 2)), txn(3, (R, "x", (1, 2)))],
        {"G1a", "dirty-update"},
    ),
    "lost update": (
        [txn(1, (R, "x", ()), (A, "x", 1)), txn(2, (R, "x", ()), (A, "x", 2)), txn(3, (R, "x", (1, 2)))],
        {"lost-update", "G-single", "G2-item"},
    ),
    "twice": ([txn(1, (A, "x", 1)), txn(2, (R, "x", (1, 1)))], {"duplicate-elements"}),
    "fork": (
        [txn(1, (A, "x", 1)), txn(2, (A, "x", 2)), txn(3, (R, "x", (1,))), txn(4, (R, "x", (2, 1)))],
        {"incompatible-order"},
    ),
    "from nowhere": ([txn(1, (R, "x", (7,)))], {"phantom"}),
    "uncertain and seen": ([txn(1, (A, "x", 1), fate="info"), txn(2, (R, "x", (1,)))], set()),
    "nothing": ([], set()),
}


@pytest.mark.parametrize("name", APPENDS)
def test_list_append(name: str) -> None:
    calls, wanted = APPENDS[name]
    assert names(list_append, *calls) == wanted


REGISTERS = {
    "nothing wrong": ([txn(1, (W, "x", 1)), txn(2, (R, "x", 1), (W, "x", 2)), txn(3, (R, "x", 2))], set()),
    "G1a": ([txn(1, (W, "x", 1), fate="fail"), txn(2, (R, "x", 1))], {"G1a"}),
    "G1b": ([txn(1, (W, "x", 1), (W, "x", 2)), txn(2, (R, "x", 1))], {"G1b"}),
    "G1c": ([txn(1, (W, "x", 1), (R, "y", 1)), txn(2, (W, "y", 1), (R, "x", 1))], {"G1c"}),
    "lost update": (
        [txn(1, (R, "x", None), (W, "x", 1)), txn(2, (R, "x", None), (W, "x", 2))],
        {"lost-update", "G2-item"},
    ),
    "write skew": ([txn(1, (R, "x", None), (W, "y", 1)), txn(2, (R, "y", None), (W, "x", 1))], {"G2-item"}),
    "read skew": ([txn(1, (W, "x", 1), (W, "y", 1)), txn(2, (R, "x", 1), (R, "y", None))], {"G-single"}),
    "internal": ([txn(1, (W, "x", 1), (R, "x", 2)), txn(2, (W, "x", 2))], {"internal"}),
}


@pytest.mark.parametrize("name", REGISTERS)
def test_rw_register(name: str) -> None:
    calls, wanted = REGISTERS[name]
    assert names(rw_register, *calls) == wanted


def test_a_stale_read_needs_the_realtime_order_to_be_one() -> None:
    calls = [txn(1, (A, "x", 1), at=0), txn(2, (R, "x", ()), at=5), txn(3, (R, "x", (1,)), at=9)]
    assert names(list_append, *calls) == set()
    assert names(list_append, *calls, orders=frozenset({"realtime"})) == {"G-single-realtime"}


def test_a_session_that_goes_back_needs_the_process_order_to_be_one() -> None:
    calls = [txn(1, (A, "x", 1), at=0, end=50), txn(2, (R, "x", (1,)), at=10), txn(3, (R, "x", ()), at=20)]
    one = [calls[0], *(Call(**{f: getattr(c, f) for f in c.__slots__} | {"process": 9}) for c in calls[1:])]
    assert names(list_append, *one) == set()
    assert names(list_append, *one, orders=frozenset({"process"})) == {"G-single-process"}


def serial(rng: random.Random, count: int, *, snapshot: bool = False) -> list[Call]:
    """Transactions that took effect one after another; with `snapshot`, on a copy that may be some transactions old."""
    states: list[dict[str, tuple[int, ...]]] = [{}]
    calls, clock = [], 0
    for n in range(count):
        base = states[rng.randrange(max(0, len(states) - 3), len(states))] if snapshot else states[-1]
        view, current, parts = dict(base), dict(states[-1]), []
        for step in range(rng.randrange(1, 4)):
            key = rng.choice("xyz")
            if rng.random() < 0.5:
                parts.append((R, key, view.get(key, ())))
            else:
                parts.append((A, key, 10 * n + step))
                view[key] = (*view.get(key, ()), 10 * n + step)
                current[key] = (*current.get(key, ()), 10 * n + step)
        states.append(current)
        calls.append(
            txn(n, *parts, at=clock, end=clock + rng.randrange(1, 3), fate="info" if rng.random() < 0.1 else "ok")
        )
        clock += rng.randrange(3, 5)
    final = tuple((R, key, value) for key, value in states[-1].items())
    return [*calls, txn(count, *final, at=clock + 5)] if final else calls


@given(st.integers(min_value=0), st.integers(1, 30))
def test_serial_executions_have_no_anomaly_in_any_order(seed: int, count: int) -> None:
    assert names(list_append, *serial(random.Random(seed), count), orders=EDGES) == set()


def test_old_snapshots_are_found_out() -> None:
    found = [names(list_append, *serial(random.Random(seed), 30, snapshot=True), orders=EDGES) for seed in range(40)]
    assert sum(bool(each) for each in found) >= 38


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from(["ww", "wr", "rw"])), max_size=14))
def test_cycles_are_cycles_and_their_names_are_deserved(edges: list[tuple[int, int, Any]]) -> None:
    graph = Graph()
    for before, after, kind in edges:
        graph.add(before, after, kind)
    for cycle in find_cycles(graph):
        ring = list(zip(cycle.nodes, (*cycle.nodes[1:], cycle.nodes[0]), cycle.kinds, strict=True))
        assert all(kind in graph.edges[a][b] for a, b, kind in ring)
        anti = [kind == "rw" for _, _, kind in ring]
        wanted = {
            "G0": set(cycle.kinds) == {"ww"},
            "G1c": not any(anti) and "wr" in cycle.kinds,
            "G-single": sum(anti) == 1,
            "G-nonadjacent": sum(anti) > 1
            and not any(a and b for a, b in zip(anti, (*anti[1:], anti[0]), strict=True)),
            "G2-item": any(a and b for a, b in zip(anti, (*anti[1:], anti[0]), strict=True)),
        }
        assert wanted[cycle.name]
    assert bool(find_cycles(graph)) is _has_cycle(edges)


def _has_cycle(edges: list[tuple[int, int, Any]]) -> bool:
    left = {(a, b) for a, b, _ in edges if a != b}
    while True:
        sources = {a for a, _ in left}
        kept = {(a, b) for a, b in left if b in sources}
        if kept == left:
            return bool(left)
        left = kept
