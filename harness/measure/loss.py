"""Acknowledged writes that the final reads do not hold: how many, of how many, from when to when, and where.

"Could not read" is never "lost": a key whose final read never succeeded in a region is left out there, and if any was,
the measure is unknown unless something is known to be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.history.history import History
from harness.history.table import MISSING, OpTable
from harness.measure.facts import load_report
from harness.measure.finals import (
    WRITES,
    LastReads,
    effects,
    final_reads,
    last_reads,
    model_of,
    numbered,
    places,
    regions_asked,
)
from harness.model.chance import rule_of_three, upper_bound
from harness.model.measured import Interval, Loss, LostWrite
from harness.model.plan import Plan

if TYPE_CHECKING:
    pass

_LISTED = 10_000
_LONGEST = 120
_NOWHERE = -2

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

__all__ = ["LostWrites", "loss", "lost_writes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LostWrites:
    """Acknowledged writes and which of them (rows of that table) are absent where. `why` is not empty when that cannot be known."""

    acknowledged: OpTable
    by_region: Mapping[str, Bools]
    recoverable: int
    holes: int
    why: str


def loss(found: LostWrites, effect: Interval | None, where: Mapping[str, str] | None = None) -> Loss:
    """The published loss of all writes, or of a slice (`group`, `f`, `session`).

    `span` = max(effect, last lost ack) - first lost ack: it covers loss before the effect (asynchronous replication) and
    after it (split brain). `until` = last lost ack - effect. Both 0 when nothing was lost. Source: DESIGN.md §9.
    """
    asked = found.acknowledged.slice_(where or {})
    total = int(np.count_nonzero(asked))
    by_region = {name: absent & asked for name, absent in found.by_region.items()}
    at = np.flatnonzero(max(by_region.values(), key=np.count_nonzero, default=np.zeros(0, dtype=np.bool_)))
    if found.why and not len(at):
        return Loss(known=False, why=found.why, acknowledged=total)
    if not total:
        return Loss(known=False, why="nothing was acknowledged")
    span_ns: int | None = 0
    until_ns: int | None = 0
    done_ns = found.acknowledged.ints("done_ns")[at]
    acks = done_ns[done_ns != MISSING]
    if len(acks):
        first_ns, last_ns = int(acks.min()), int(acks.max())
        at_ns = effect.lo_ns if effect is not None else None
        span_ns = (last_ns if at_ns is None else max(last_ns, at_ns)) - first_ns
        until_ns = None if at_ns is None else last_ns - at_ns
    return Loss(
        known=True,
        why=found.why,
        lost=len(at),
        acknowledged=total,
        share_ratio=len(at) / total,
        bound_ratio=upper_bound(len(at), total) if len(at) else rule_of_three(total),
        span_ns=span_ns,
        until_ns=until_ns,
        holes=found.holes if len(at) else 0,
        recoverable=found.recoverable if not where else 0,
        regions={name: int(np.count_nonzero(absent)) for name, absent in by_region.items()},
        writes=() if where else _listed(found.acknowledged, at),
    )


def _listed(acknowledged: OpTable, lost: Ints) -> tuple[LostWrite, ...]:
    """The lost writes that were acknowledged first."""
    acked_ns, op = acknowledged.ints("done_ns")[lost], acknowledged.ints("op")[lost]
    first = lost[np.lexsort((op, acked_ns))][:_LISTED]
    return tuple(
        LostWrite(
            op=op.op,
            key=_short(op.session if op.key is None else op.key),
            value=_short(op.value),
            acked_ns=op.done_ns,
        )
        for op in (acknowledged.rows(first.tolist()) if len(first) else ())
    )


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def lost_writes(history: History, plan: Plan) -> LostWrites:
    """Which acknowledged writes are absent from the final state of each region asked; jobs may be counted at a sink."""
    model = model_of(history)
    if model is None or model not in WRITES:
        why = "the load declares no model whose writes can be read back" if model is None else f"model {model!r}"
        if load_report(history) is None:
            why = "the run ended before its load said what its operations mean"
        nothing = history.ops.where(np.zeros(len(history.ops), dtype=np.bool_))
        return LostWrites(acknowledged=nothing, by_region={}, recoverable=0, holes=0, why=f"not checked: {why}")
    mask = history.ops.is_("phase", "load") & history.ops.is_("outcome", "ok")
    words = np.zeros(len(history.ops), dtype=np.bool_)
    for word in WRITES[model]:
        words |= history.ops.is_("f", word)
    acked = history.ops.where(mask & words)
    reads = final_reads(history)
    if model == "jobs" and not len(reads):
        return _against_sink(acked, effects(history))
    writes, read = _numbered(acked, last_reads(reads))
    asked, evidence = regions_asked(plan)
    names: tuple[str | None, ...] = tuple(asked) or (None,)
    by_region: dict[str, Bools] = {}
    unread = 0
    for name in names:
        there = read.of(name)
        absent, missing = _overwritten(writes, there) if model == "register" else _absent(writes, there, model)
        unread += int(np.count_nonzero(missing))
        if len(there):
            by_region[name or "all"] = absent
    lost = max(by_region.values(), key=np.count_nonzero, default=np.zeros(len(acked), dtype=np.bool_))
    kept = np.concatenate([np.zeros(0, dtype=np.int64), *(read.of(name).flat for name in evidence)])
    return LostWrites(
        acknowledged=acked,
        by_region=by_region,
        recoverable=int(np.count_nonzero(np.isin(writes.value[lost], kept[kept >= 0]))),
        holes=_holes(lost, acked),
        why=_why(history, names, by_region, unread),
    )


def _why(history: History, names: tuple[str | None, ...], read: Mapping[str, object], unread: int) -> str:
    if not read:
        return "no final read succeeded"
    silent = [name or "all" for name in names if (name or "all") not in read]
    if silent:
        return f"no final read succeeded in {', '.join(silent)}"
    report = load_report(history)
    if unread or (report and report.unread):
        return (
            f"{max(unread, len(report.unread) if report else 0)} acknowledged writes or sessions could not be read back"
        )
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writes:
    """Acknowledged writes in numbers: equal texts have equal ones, none -1. `place`: a write's key, else its session."""

    place: Ints
    value: Ints
    idem: Ints
    began_ns: Ints
    done_ns: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """The last final read of each place, numbered as the writes: read i showed `flat[start[i]:start[i + 1]]`."""

    region: tuple[str | None, ...]
    place: Ints
    start: Ints
    flat: Ints
    most: int

    def __len__(self) -> int:
        return len(self.place)

    def of(self, region: str | None) -> _Held:
        """What was read of one region."""
        mine = np.array([one == region for one in self.region], dtype=np.bool_)
        length = np.diff(self.start)
        return _Held(
            region=tuple(one for one in self.region if one == region),
            place=self.place[mine],
            start=np.concatenate([[0], np.cumsum(length[mine])]),
            flat=self.flat[np.repeat(mine, length)],
            most=self.most,
        )

    def has(self, place: Ints, value: Ints) -> Bools:
        """Which values are held at their places."""
        at = np.repeat(self.place, np.diff(self.start))
        place_of = np.full(self.most + 1, _NOWHERE)  # the last is of no value
        place_of[self.flat] = at
        place_of[-1] = _NOWHERE
        if np.array_equal(place_of[self.flat], at):  # no value is at two places: nothing needs to be sorted
            return np.asarray(place_of[value] == place, dtype=np.bool_)
        held = at * self.most + self.flat
        return np.asarray(np.isin(place * self.most + value, held) & (value >= 0), dtype=np.bool_)


def _numbered(acked: OpTable, read: LastReads) -> tuple[_Writes, _Held]:
    import pyarrow as pa

    place, read_place = numbered(places(acked), read.place)
    value, idem, flat = numbered(acked.column("value"), acked.column("idem"), read.flat)
    sent_ns, intended_ns = acked.ints("sent_ns"), acked.ints("intended_ns")
    writes = _Writes(
        place=place,
        value=value,
        idem=idem,
        began_ns=np.where(sent_ns == MISSING, intended_ns, sent_ns),
        done_ns=acked.ints("done_ns"),
    )
    pa.default_memory_pool().release_unused()
    most = 1 + max((int(column.max()) for column in (value, idem, flat) if len(column)), default=0)
    return writes, _Held(region=read.region, place=read_place, start=read.start, flat=flat, most=most)


def _absent(writes: _Writes, held: _Held, model: str) -> tuple[Bools, Bools]:
    """(writes absent from what was read, writes whose key was never read)."""
    own = np.isin(writes.place, held.place)
    everything = bool(np.any(held.place < 0))  # one read of everything stands in for keys without their own
    place = np.where(own, writes.place, -1)
    shown = held.has(place, writes.value)
    if model == "jobs":
        shown |= held.has(place, writes.idem)
    unread = ~own if not everything else np.zeros(len(own), dtype=np.bool_)
    return ~shown & ~unread, unread


def _overwritten(writes: _Writes, held: _Held) -> tuple[Bools, Bools]:
    """Register writes that must have been lost: they began after the write that the final read shows had ended."""
    if not len(held):
        nothing = np.zeros(len(writes.place), dtype=np.bool_)
        return nothing, ~nothing
    empty = np.diff(held.start) == 0
    first = np.where(empty, -1, held.flat[np.minimum(held.start[:-1], len(held.flat) - 1)] if len(held.flat) else -1)
    order = np.argsort(held.place)
    found = np.minimum(np.searchsorted(held.place[order], writes.place), len(held) - 1)
    read = order[found]
    unread = held.place[read] != writes.place
    shown = first[read]
    same = (writes.value == shown) & ~unread
    ended_ns = np.full(len(held), MISSING)
    ended_ns[read[same]] = writes.done_ns[same]  # of several, the last
    shown_ns = ended_ns[read]
    told = shown_ns != MISSING
    known = (shown < 0) | told  # a value of no acknowledged write may be newer than all
    return ~unread & ~same & known & (~told | (writes.began_ns > shown_ns)), unread


def _against_sink(acked: OpTable, executed: tuple[str, ...]) -> LostWrites:
    """Jobs without a store: at least one effect per acknowledged job, else the sink is blind and nothing is known."""
    if not executed:
        why = "no final read succeeded, and no sink reported an effect"
        return LostWrites(acknowledged=acked, by_region={}, recoverable=0, holes=0, why=why)
    import pyarrow as pa
    import pyarrow.compute as pc

    carried = pc.coalesce(acked.column("idem"), acked.column("value"))
    seen = pc.sum(pc.is_in(carried, value_set=pa.array(executed))).as_py() or 0
    unseen = len(acked) - seen
    # What the sink did not see may have run unseen: that is no loss.
    why = f"the sink saw no effect of {unseen} of {len(acked)} acknowledged jobs: it is blind" if unseen else ""
    nothing = np.zeros(len(acked), dtype=np.bool_)
    return LostWrites(acknowledged=acked, by_region={"sink": nothing}, recoverable=0, holes=0, why=why)


def _holes(lost: Bools, acked: OpTable) -> int:
    """How many lost writes have a later acknowledged write of the same writer that survived: not a lost tail, a hole."""
    if not np.any(lost):
        return 0
    writer, names = acked.codes("writer")
    intended_ns = acked.ints("intended_ns")
    newest = np.full(len(names) + 1, MISSING)  # the last is of no writer
    np.maximum.at(newest, writer[~lost], intended_ns[~lost])
    return int(np.count_nonzero(newest[writer[lost]] > intended_ns[lost]))
