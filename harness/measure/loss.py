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
from harness.measure.pairs import among
from harness.model.chance import rule_of_three, upper_bound
from harness.model.measured import Interval, Loss, LostWrite
from harness.model.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

_LISTED = 10_000
_LONGEST = 120

Ints = NDArray[np.int64]
Places = NDArray[np.int32]
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
    read = last_reads(reads)
    place, read_place = (column.astype(np.int32) for column in numbered(places(acked), read.place))
    asked, evidence = regions_asked(plan)
    names: tuple[str | None, ...] = tuple(asked) or (None,)
    by_region: dict[str, Bools] = {}
    unread = 0
    for name in names:
        there = _shown(read, read_place, (name,))
        absent, missing = (
            _overwritten(acked, place, there) if model == "register" else _absent(acked, place, there, model)
        )
        unread += int(np.count_nonzero(missing))
        if len(there.place):
            by_region[name or "all"] = absent
    lost = max(by_region.values(), key=np.count_nonzero, default=np.zeros(len(acked), dtype=np.bool_))
    return LostWrites(
        acknowledged=acked,
        by_region=by_region,
        recoverable=_recoverable(acked, lost, _shown(read, read_place, evidence)) if evidence else 0,
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
class _Shown:
    """Final reads of some regions: read i, of the place `place[i]`, showed `flat[start[i]:start[i + 1]]`."""

    place: Places
    start: Ints
    flat: pa.ChunkedArray

    @property
    def at(self) -> Places:
        """The place of each value shown."""
        return np.repeat(self.place, np.diff(self.start))


def _shown(read: LastReads, place: Places, regions: tuple[str | None, ...]) -> _Shown:
    """What the last reads of these regions showed; `place` numbers each read's."""
    import pyarrow as pa

    mine = np.array([one in regions for one in read.region], dtype=np.bool_)
    length = np.diff(read.start)
    return _Shown(
        place=place[mine],
        start=np.concatenate([[0], np.cumsum(length[mine])]),
        flat=read.flat if bool(mine.all()) else read.flat.filter(pa.array(np.repeat(mine, length))),
    )


def _absent(acked: OpTable, place: Places, shown: _Shown, model: str) -> tuple[Bools, Bools]:
    """(writes absent from what was read, writes whose key was never read)."""
    own = np.isin(place, shown.place)
    everything = bool(np.any(shown.place < 0))  # one read of everything stands in for keys without their own
    sought = np.where(own, place, np.int32(-1))
    found = among(sought, acked.column("value", keep=False), shown.at, shown.flat)
    if model == "jobs":
        found |= among(sought, acked.column("idem", keep=False), shown.at, shown.flat)
    unread = ~own if not everything else np.zeros(len(own), dtype=np.bool_)
    return ~found & ~unread, unread


def _overwritten(acked: OpTable, place: Places, shown: _Shown) -> tuple[Bools, Bools]:
    """Register writes that must have been lost: they began after the write that the final read shows had ended."""
    if not len(shown.place):
        nothing = np.zeros(len(place), dtype=np.bool_)
        return nothing, ~nothing
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = np.diff(shown.start) == 0
    first = shown.flat.take(pa.array(np.where(empty, 0, shown.start[:-1]), mask=empty))
    order = np.argsort(shown.place)
    found = np.minimum(np.searchsorted(shown.place[order], place), len(order) - 1)
    read = order[found]
    unread = shown.place[read] != place
    value = acked.column("value", keep=False)
    nothing_shown = first.is_null().to_numpy()[read]
    alike = pc.fill_null(pc.equal(value, first.take(pa.array(read))), False).to_numpy()
    same = (alike | (nothing_shown & value.is_null().to_numpy())) & ~unread
    done_ns, sent_ns = acked.ints("done_ns"), acked.ints("sent_ns")
    ended_ns = np.full(len(shown.place), MISSING)
    ended_ns[read[same]] = done_ns[same]  # of several, the last
    shown_ns = ended_ns[read]
    told = shown_ns != MISSING
    known = nothing_shown | told  # a value of no acknowledged write may be newer than all
    began_ns = np.where(sent_ns == MISSING, acked.ints("intended_ns"), sent_ns)
    return ~unread & ~same & known & (~told | (began_ns > shown_ns)), unread


def _recoverable(acked: OpTable, lost: Bools, kept: _Shown) -> int:
    """How many lost values are held by regions that are read for evidence alone."""
    at = np.flatnonzero(lost)
    if not len(at) or not len(kept.flat):
        return 0
    import pyarrow.compute as pc

    value = acked.where(lost).column("value", keep=False)
    there = kept.flat.filter(pc.is_in(kept.flat, value_set=value.combine_chunks()))
    return int(pc.sum(pc.is_in(value.drop_null(), value_set=there.combine_chunks())).as_py() or 0)


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
