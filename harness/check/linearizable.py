"""Check `linearizable`: each object behaves as if every call took effect at one instant between its beginning and its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.check.calls import calls_of
from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, counted
from harness.check.index import FOREVER, Ints
from harness.check.linear.models import MODELS
from harness.check.linear.wgl import Search, linearize, steps
from harness.check.linear.zones import Clusters, Conflict, conflict
from harness.history.calls import by_key
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

_STEPS = 5_000_000
"""For one history: some seconds. A budget in steps gives the same verdict on every machine."""
_OBJECTS = {"register": "cas-register", "queue": "queue", "log": "append-log", "set": "set"}

KIND = CheckKind(
    name="linearizable",
    doc="A legal order exists per key: unique-value zones where they apply, else a bounded search, unknown on its budget.",
    params=Params,
    code="harness.check.linearizable:check",
    example="checks: [{linearizable: {on: {f: read}}}]",
    models=frozenset(_OBJECTS),
    counts=("violations",),
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether the calls of load on each key (or session, or everything) have an order that explains every answer.

    Registers whose values are all different and that know no `cas` are decided by zones, any number of calls. Everything
    else is searched, key by key, and stops at the first key without an order. A `cas` replaces `version` by `value`. Final
    reads are not judged: a standby may lag (`durable` and `converged` judge those). Uncertain writes may have taken effect
    at any time since their sending, or never. Unknown: nothing acknowledged, no op open during a fault, the search's budget
    is spent. Source: Herlihy and Wing 1990; Gibbons and Korach 1997; Wing and Gong 1993.
    """
    ground = Ground(history=history, spec=spec, context=context)
    found = _by_zones(ground) if _distinct(ground) else _by_search(ground)
    unknown = ground.gaps() + list(found.unknown)
    if not found.calls:
        unknown.append("no call could be judged")
    return ground.rule(
        Ruling(
            broken=found.broken,
            unknown=tuple(unknown),
            holds=f"{counted(found.calls, 'call')} on {counted(found.keys, 'key')} have a legal order",
            counts={"violations": 1 if found.broken else 0},
            volume=ground.volume() | {"calls": found.calls, "keys": found.keys},
            evidence=found.evidence[:EVIDENCE_ROWS],
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    calls: int
    keys: int
    broken: str | None = None
    unknown: tuple[str, ...] = ()
    evidence: tuple[EvidenceRow, ...] = ()


def _distinct(ground: Ground) -> bool:
    """Whether zones decide: a register, no cas, and no value that two writes may have written."""
    index = ground.index
    if ground.context.model != "register" or index.nameless_acked:
        return False
    return not np.any(index.table.is_("f", "cas")) and not np.any(ground.entries.rivals & ground.judged_entries)


# ---- zones


def _by_zones(ground: Ground) -> _Found:
    reads, entries = ground.reads, ground.entries
    chosen = np.flatnonzero((reads.phase != 2) & ground.judged[reads.row])
    lengths = np.diff(reads.start)[chosen]
    shown = np.full(len(chosen), -1, dtype=np.int64)
    shown[lengths > 0] = reads.flat[reads.start[:-1][chosen[lengths > 0]]]
    strange = chosen[(shown >= len(entries)) | ((shown >= 0) & (shown < len(entries)) & _failed(ground, shown))]
    if len(strange):
        row = ground.read_row(int(strange[0]), "shows a value that nobody can have written")
        return _Found(calls=len(chosen), keys=0, broken="a read returned a value that nobody wrote", evidence=(row,))
    clusters = _clusters(ground, chosen, shown)
    calls = len(chosen) + int(np.count_nonzero(entries.load & ~entries.failed))
    found = conflict(clusters)
    keys = len(np.unique(clusters.register))
    if found is None:
        return _Found(calls=calls, keys=keys)
    return _Found(calls=calls, keys=keys, broken=_in_words(ground, found), evidence=tuple(_rows(ground, found)))


def _failed(ground: Ground, shown: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    failed = np.concatenate([ground.entries.failed, [False]])
    return failed[np.where((shown >= 0) & (shown < len(ground.entries)), shown, -1)]


def _clusters(ground: Ground, chosen: Ints, shown: Ints) -> Clusters:
    """A cluster for each value that was written, and for the initial value of each key where a read showed it."""
    reads, entries = ground.reads, ground.entries
    names, count = len(ground.index.names) + 1, len(entries)
    writes = np.flatnonzero(entries.load & ~entries.failed)
    home = ground.index.homes(reads.phase != 2)
    register = np.concatenate([np.where(home >= 0, home, entries.key), np.arange(names)])
    # Number of a cluster: the entry's, or `count` + the register's for what stood there in the beginning.
    of_read = np.where(shown >= 0, shown, count + reads.name[chosen])
    low_ns = np.full(count + names, FOREVER, dtype=np.int64)
    high_ns = np.full(count + names, -1, dtype=np.int64)
    low_row, high_row = np.full(count + names, -1, dtype=np.int64), np.full(count + names, -1, dtype=np.int64)
    low_ns[writes], high_ns[writes] = entries.ack_ns[writes], entries.lo_ns[writes]
    low_row[writes] = high_row[writes] = entries.row[writes]
    early, late = np.argsort(-reads.done_ns[chosen], kind="stable"), np.argsort(reads.lo_ns[chosen], kind="stable")
    # The last assignment to a place counts: ends from the latest to the earliest, beginnings the other way round.
    first_end, last_begin = np.full(count + names, FOREVER, dtype=np.int64), np.full(count + names, -1, dtype=np.int64)
    first_row, last_row = np.full(count + names, -1, dtype=np.int64), np.full(count + names, -1, dtype=np.int64)
    first_end[of_read[early]], first_row[of_read[early]] = reads.done_ns[chosen][early], reads.row[chosen][early]
    last_begin[of_read[late]], last_row[of_read[late]] = reads.lo_ns[chosen][late], reads.row[chosen][late]
    low_row = np.where(first_end < low_ns, first_row, low_row)
    high_row = np.where(last_begin > high_ns, last_row, high_row)
    low_ns, high_ns = np.minimum(low_ns, first_end), np.maximum(high_ns, last_begin)
    low_ns[count:][high_ns[count:] >= 0] = -1  # the beginning of everything
    write_lo = np.concatenate([entries.lo_ns, np.full(names, -1, dtype=np.int64)])
    write = np.concatenate([entries.row, np.full(names, -1, dtype=np.int64)])
    # A pending write that nobody read need not have happened.
    kept = np.flatnonzero((low_ns < FOREVER) & (high_ns >= 0))
    return Clusters(
        register=register[kept],
        write=write[kept],
        write_lo_ns=write_lo[kept],
        low_ns=low_ns[kept],
        low_row=low_row[kept],
        high_ns=high_ns[kept],
        high_row=high_row[kept],
    )


_KINDS: Mapping[str, str] = {
    "read-before-write": "a read returned a value before its write began",
    "two-values-at-once": "two values were each read or written before and after the other: no order has both",
    "value-returned": "a value was written and gone while another stood throughout: no order has both",
}


def _in_words(ground: Ground, found: Conflict) -> str:
    row = next(row for row in found.rows if row >= 0)
    op = ground.op(row)
    return f"key {op.key!r}: {_KINDS[found.kind]}"


def _rows(ground: Ground, found: Conflict) -> list[EvidenceRow]:
    rows = sorted((row for row in found.rows if row >= 0), key=lambda row: int(ground.index.lo_ns[row]))
    return [ground.op_row(row, _shows(ground, row)) for row in rows]


def _shows(ground: Ground, row: int) -> str:
    op = ground.op(row)
    took = f"began {ground.when(int(ground.index.lo_ns[row]))}"
    return f"{took}, returned {op.result}" if op.result is not None else took


# ---- search


def _by_search(ground: Ground) -> _Found:
    model = MODELS[_OBJECTS[ground.context.model or ""]]
    groups = by_key(calls_of(ground))
    budget, undecided, calls = steps(_STEPS), [], 0
    for key, group in groups.items():
        calls += len(group)
        found = linearize(model, group, budget)
        if found.verdict == "illegal":
            rows = tuple(_stuck_rows(ground, found))
            sentence = f"key {ground.index.name_text(key)}: no order of its {counted(len(group), 'call')} explains them"
            return _Found(calls=calls, keys=len(groups), broken=sentence, evidence=rows)
        if found.verdict == "undecided":
            undecided.append(key)
    unknown = (
        (f"the search was given up on {counted(len(undecided), 'key')} after {_STEPS:,} steps",) if undecided else ()
    )
    return _Found(calls=calls, keys=len(groups), unknown=unknown)


def _stuck_rows(ground: Ground, found: Search) -> Iterable[EvidenceRow]:
    """The last calls that could be placed, the one that could not, and those that could come instead."""
    for row in found.order[-4:]:
        yield ground.op_row(row, _shows(ground, row))
    if found.stuck is not None:
        yield ground.op_row(found.stuck, f"{_shows(ground, found.stuck)}: cannot be placed after these")
    for row in found.open[:4]:
        yield ground.op_row(row, f"{_shows(ground, row)}: open at that time")
