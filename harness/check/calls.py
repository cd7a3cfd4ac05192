"""A run's ops as calls on objects, for checks that look for a legal order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.check.ground import Ground
from harness.check.words import READS, values_of
from harness.history.calls import FOREVER, UNKNOWN, Call

__all__ = ["calls_of"]


def calls_of(ground: Ground) -> Iterable[Call]:
    """The calls of load and prober in the slice, by row (their ids); refused ones only where they are transactions.

    Final reads are left out: a standby may lag. Raises ValueError for a transaction that is no JSON.
    """
    index = ground.index
    rows = np.flatnonzero((index.is_write | index.is_read) & ~index.final & ground.judged)
    for row, op in zip(rows.tolist(), index.table.rows(rows.tolist()), strict=True):
        pending, failed = bool(index.info[row]), not index.ok[row] and not index.info[row]
        if (failed and index.model != "list-append") or op.outcome == "dropped":
            continue
        yield Call(
            id=row,
            f=op.f,
            value=_asked(op.f, op.value, op.version),
            out=UNKNOWN if pending or failed else _answer(op.f, op.result, index.model or ""),
            call_ns=int(index.lo_ns[row]),
            ret_ns=FOREVER if failed else int(index.done_ns[row]),
            key=int(index.name[row]),
            process=op.writer,
            failed=failed,
        )


def _asked(f: str, value: str | None, version: str | None) -> Any:
    if f == "txn":
        return _parts(value)
    return (version, value) if f == "cas" else value


def _parts(text: str | None) -> Any:
    """A transaction's JSON, [["append", "x", 1], ["r", "y", [1, 2]]], hashable."""
    return tuple(
        (kind, key, tuple(value) if isinstance(value, list) else value) for kind, key, value in json.loads(text or "[]")
    )


def _answer(f: str, result: str | None, model: str) -> Any:
    """What an ok call answered, as the sequential model says it; UNKNOWN (legal in every state) where it does not say."""
    if f == "txn":
        return UNKNOWN if result is None else _parts(result)
    if f == "cas":
        return result is None or json.loads(result) is True
    if f not in READS[model]:
        return None
    values = None if result is None else values_of(result, model)
    if values is None:
        return UNKNOWN
    return tuple(values) if model in ("log", "set") else (values[0] if values else None)
