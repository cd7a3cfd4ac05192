"""Acknowledged writes that the final reads do not hold: how many, of how many, from when to when, and where.

"Could not read" is never "lost": a key whose final read never succeeded in a region is left out there, and if any was,
the measure is unknown unless something is known to be lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.history.history import History
from harness.measure.facts import load_report
from harness.measure.finals import WRITES, FinalState, effects, final_states, model_of, regions_asked
from harness.model.chance import rule_of_three, upper_bound
from harness.model.measured import Interval, Loss, LostWrite
from harness.model.plan import Plan

_LISTED = 10_000
_LONGEST = 120

__all__ = ["Acknowledged", "LostWrites", "loss", "lost_writes"]


class Acknowledged(NamedTuple):
    """An acknowledged write, cut to what loss needs: a million whole ops would cost half a minute."""

    op: int
    f: str
    group: str | None
    session: str | None
    key: str | None
    value: str | None
    idem: str | None
    writer: str
    intended_ns: int
    sent_ns: int | None
    done_ns: int | None

    @property
    def place(self) -> str | None:
        """The key that it is about: its own, else its session."""
        return self.session if self.key is None else self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class LostWrites:
    """Acknowledged writes and which of them are absent where. `why` is not empty when that cannot be known."""

    acknowledged: tuple[Acknowledged, ...]
    by_region: Mapping[str, tuple[Acknowledged, ...]]
    recoverable: int
    holes: int
    why: str

    @property
    def worst(self) -> tuple[Acknowledged, ...]:
        """The lost writes of the region that lost most."""
        return max(self.by_region.values(), key=len, default=())


def loss(found: LostWrites, effect: Interval | None, where: Mapping[str, str] | None = None) -> Loss:
    """The published loss of all writes, or of a slice (`group`, `f`, `session`).

    `span` = max(effect, last lost ack) - first lost ack: it covers loss before the effect (asynchronous replication) and
    after it (split brain). `until` = last lost ack - effect. Both 0 when nothing was lost. Source: DESIGN.md §9.
    """
    acknowledged = [op for op in found.acknowledged if _matches(op, where)] if where else found.acknowledged
    by_region = {name: [op for op in ops if _matches(op, where)] for name, ops in found.by_region.items()}
    lost = max(by_region.values(), key=len, default=[])
    if found.why and not lost:
        return Loss(known=False, why=found.why, acknowledged=len(acknowledged))
    if not acknowledged:
        return Loss(known=False, why="nothing was acknowledged")
    acks = [op.done_ns for op in lost if op.done_ns is not None]
    span_ns: int | None = 0
    until_ns: int | None = 0
    if acks:
        at_ns = effect.lo_ns if effect is not None else None
        span_ns = max(acks if at_ns is None else (*acks, at_ns)) - min(acks)
        until_ns = None if at_ns is None else max(acks) - at_ns
    total = len(acknowledged)
    return Loss(
        known=True,
        why=found.why,
        lost=len(lost),
        acknowledged=total,
        share_ratio=len(lost) / total,
        bound_ratio=upper_bound(len(lost), total) if lost else rule_of_three(total),
        span_ns=span_ns,
        until_ns=until_ns,
        holes=found.holes if lost else 0,
        recoverable=found.recoverable if not where else 0,
        regions={name: len(ops) for name, ops in by_region.items()},
        writes=() if where else _listed(lost),
    )


def _listed(lost: Sequence[Acknowledged]) -> tuple[LostWrite, ...]:
    by_ack = sorted(lost, key=lambda op: (op.done_ns or 0, op.op))[:_LISTED]
    return tuple(
        LostWrite(op=op.op, key=_short(op.place), value=_short(op.value), acked_ns=op.done_ns) for op in by_ack
    )


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _matches(op: Acknowledged, where: Mapping[str, str] | None) -> bool:
    return all(getattr(op, name, None) == text for name, text in (where or {}).items())


def lost_writes(history: History, plan: Plan) -> LostWrites:
    """Which acknowledged writes are absent from the final state of each region asked; jobs may be counted at a sink."""

    model = model_of(history)
    if model is None or model not in WRITES:
        why = "the load declares no model whose writes can be read back" if model is None else f"model {model!r}"
        if load_report(history) is None:
            why = "the run ended before its load said what its operations mean"
        return LostWrites(acknowledged=(), by_region={}, recoverable=0, holes=0, why=f"not checked: {why}")
    mask = history.ops.is_("phase", "load") & history.ops.is_("outcome", "ok")
    words = np.zeros(len(history.ops), dtype=np.bool_)
    for word in WRITES[model]:
        words |= history.ops.is_("f", word)
    acked = history.ops.where(mask & words)
    columns = [acked.column(field).to_pylist() for field in Acknowledged._fields]
    acknowledged = tuple(map(Acknowledged._make, zip(*columns, strict=True)))
    states = final_states(history)
    if model == "jobs" and not states:
        return _against_sink(acknowledged, effects(history))
    asked, evidence = regions_asked(plan)
    latest: dict[str | None, dict[str | None, FinalState]] = defaultdict(dict)
    for state in states:
        latest[state.region][state.key] = state
    names: tuple[str | None, ...] = tuple(asked) or (None,)
    by_region: dict[str, tuple[Acknowledged, ...]] = {}
    unread = 0
    for name in names:
        held = latest.get(name, {})
        absent, missing = _absent(acknowledged, held, model)
        unread += missing
        if held:
            by_region[name or "all"] = absent
    lost = max(by_region.values(), key=len, default=())
    kept = {value for name in evidence for state in latest.get(name, {}).values() for value in state.values}
    return LostWrites(
        acknowledged=acknowledged,
        by_region=by_region,
        recoverable=sum(op.value in kept for op in lost),
        holes=_holes(lost, acknowledged),
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


def _absent(
    acknowledged: tuple[Acknowledged, ...], held: Mapping[str | None, FinalState], model: str
) -> tuple[tuple[Acknowledged, ...], int]:
    """(writes absent from what was read, writes whose key was never read)."""
    if model == "register":
        return _overwritten(acknowledged, held)
    present = {key: frozenset(state.values) for key, state in held.items()}
    whole = present.get(None)  # one read of everything
    absent, unread = [], 0
    for op in acknowledged:
        values = present.get(op.place, whole)
        if values is None:
            unread += 1
        elif op.value not in values and (model != "jobs" or op.idem not in values):
            absent.append(op)
    return tuple(absent), unread


def _overwritten(
    acknowledged: tuple[Acknowledged, ...], held: Mapping[str | None, FinalState]
) -> tuple[tuple[Acknowledged, ...], int]:
    """Register writes that must have been lost: they began after the write that the final read shows had ended."""
    ended = {(op.place, op.value): op.done_ns for op in acknowledged}
    absent, unread = [], 0
    for op in acknowledged:
        state = held.get(op.place)
        if state is None:
            unread += 1
            continue
        shown = state.values[0] if state.values else None
        if shown == op.value:
            continue
        shown_ns = ended.get((op.place, shown))
        known = shown is None or shown_ns is not None  # a value of no acknowledged write may be newer than all
        if known and (shown_ns is None or (op.sent_ns or op.intended_ns) > shown_ns):
            absent.append(op)
    return tuple(absent), unread


def _against_sink(acknowledged: tuple[Acknowledged, ...], executed: tuple[str, ...]) -> LostWrites:
    """Jobs without a store: at least one effect per acknowledged job, else the sink is blind and nothing is known."""
    if not executed:
        why = "no final read succeeded, and no sink reported an effect"
        return LostWrites(acknowledged=acknowledged, by_region={}, recoverable=0, holes=0, why=why)
    ran = frozenset(executed)
    unseen = sum((op.idem or op.value) not in ran for op in acknowledged)
    # What the sink did not see may have run unseen: that is no loss.
    why = f"the sink saw no effect of {unseen} of {len(acknowledged)} acknowledged jobs: it is blind" if unseen else ""
    return LostWrites(acknowledged=acknowledged, by_region={"sink": ()}, recoverable=0, holes=0, why=why)


def _holes(lost: tuple[Acknowledged, ...], acknowledged: tuple[Acknowledged, ...]) -> int:
    """How many lost writes have a later acknowledged write of the same writer that survived: not a lost tail, a hole."""
    gone = {op.op for op in lost}
    newest: dict[str, int] = {}
    for op in acknowledged:
        if op.op not in gone:
            newest[op.writer] = max(newest.get(op.writer, -1), op.intended_ns)
    return sum(newest.get(op.writer, -1) > op.intended_ns for op in lost)
