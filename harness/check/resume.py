"""Check `resume`: what was cut in the middle went on at exactly the next offset.

What a profile records, in `op.result` of a streaming op (its write; also when the op ends badly):

    op.result = {"offsets": [[0, 10], [10, 24]], "length": 24, "exact": True}

`offsets`: the contiguous pieces [from, to) that the client received, in order of arrival, in the stream's own unit (tokens,
chunks, bytes, steps) and by the stream's own marks (SSE ids), not by counting what arrived; a piece ends where the next
mark does not follow on. `length`: how long the whole stream says that it is, None when it never said so. `exact`: whether
the text received is the text that was meant, by a declared digest or an oracle; None when nothing told. One of `offsets`
and `exact` is enough for a verdict on a stream that ended well; without both it is not judged: unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.index import Ints
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="resume",
    doc="Streams and jobs continue at exactly the next offset: no gap, no overlap (an identical overlap is named harmless).",
    params=Params,
    code="harness.check.resume:check",
    example="checks: [resume]",
    models=frozenset({"log", "jobs"}),
    counts=("gaps", "divergent", "short", "overlaps"),
)

Flaw = Literal["gap", "divergent", "short", "overlap", "unsure", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """What one record of a stream says: its worst flaw (None: none), in words; in how many pieces it came.

    overlap: sent again, the same; unsure: sent again, and nothing told whether the same; silent: the record says nothing.
    """

    flaw: Flaw | None
    words: str
    pieces: int = 1


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether every stream's pieces follow on without gap, divergent overlap or silent shortness.

    A stream is a load op that received chunks, or whose result says how it went (see the module). Ended ok, it must reach
    its declared length; cut with an explicit error (`info`, `fail`, `broken`), only what was delivered is judged. Content
    that differs from what was meant is divergent, whatever the offsets say. An identical overlap is counted and
    harmless. Unknown: no stream, none open during a fault, nothing acknowledged, a stream that ended well and recorded
    neither offsets nor content. Linear. Source: correctness.md D5.
    """
    ground = Ground(history=history, spec=spec, context=context)
    rows, streams = _streams(ground)
    wrong, ok = ground.index.table.flags("wrong")[rows], ground.index.ok[rows]
    found: dict[Flaw, list[tuple[int, str]]] = {}
    for row, stream, bad, ended in zip(rows.tolist(), streams, wrong.tolist(), ok.tolist(), strict=True):
        flaw, words = ("divergent", "its content is not what was meant") if bad else (stream.flaw, stream.words)
        if flaw is not None and (ended or flaw not in ("short", "silent")):
            found.setdefault(flaw, []).append((row, words))
    attempts = ground.index.table.ints("attempts")[rows]
    resumed = (attempts > 1) | np.array([stream.pieces > 1 for stream in streams], dtype=np.bool_)
    broken = [item for flaw in ("gap", "divergent", "short") for item in found.get(flaw, [])]
    counts = {
        "gaps": len(found.get("gap", ())),
        "divergent": len(found.get("divergent", ())),
        "short": len(found.get("short", ())),
        "overlaps": len(found.get("overlap", ())),
    }
    volume = ground.volume() | {"streams": len(rows), "resumed": int(np.count_nonzero(resumed))}
    return ground.rule(
        Ruling(
            broken=_sentence(counts, len(rows)) if broken else None,
            unknown=tuple(_unknown(ground, rows, found)),
            holds=_holds(len(rows), volume["resumed"], counts["overlaps"]),
            counts=counts,
            volume=volume,
            evidence=tuple(ground.op_row(row, words) for row, words in broken[:EVIDENCE_ROWS]),
        )
    )


def _streams(ground: Ground) -> tuple[Ints, list[_Stream]]:
    index = ground.index
    table = index.table
    mine = index.load & ground.judged & index.is_write & ~table.is_("outcome", "dropped")
    codes, texts = table.codes("result")
    # Equal records are told apart once: on a healthy run nearly all are alike.
    told = {code: _told(texts[code]) for code in np.unique(codes[mine]).tolist() if code >= 0}
    silent = _Stream(flaw="silent", words="neither offsets nor content were recorded")
    rows = np.flatnonzero(mine & ((table.ints("chunks") > 0) | (codes >= 0)))
    return rows, [told.get(code, silent) for code in codes[rows].tolist()]


def _told(text: str) -> _Stream:
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return _Stream(flaw="silent", words="its result is no record of a stream")
    exact, pieces = record.get("exact"), _pieces(record)
    if exact is False:
        return _Stream(flaw="divergent", words="its content is not what was meant", pieces=len(pieces or ()))
    if pieces is None:
        if exact is True:
            return _Stream(flaw=None, words="")
        return _Stream(flaw="silent", words="neither offsets nor content were recorded")
    return _follow(pieces, record.get("length"), exact is True)


def _pieces(record: Mapping[str, object]) -> list[tuple[int, int]] | None:
    """The pieces of a record; None when it has none or they are not pairs of whole numbers."""
    offsets = record.get("offsets")
    if not isinstance(offsets, list):
        return None
    pieces = []
    for piece in offsets:
        if not isinstance(piece, list) or [type(edge) for edge in piece] != [int, int] or piece[0] > piece[1]:
            return None
        pieces.append((piece[0], piece[1]))
    return pieces


def _follow(pieces: list[tuple[int, int]], length: object, exact: bool) -> _Stream:
    """What the pieces show, followed from offset 0."""
    expected, again = 0, None
    for begin, end in pieces:
        if begin > expected:
            return _Stream(flaw="gap", words=f"expected offset {expected}, got {begin}", pieces=len(pieces))
        if begin < expected:
            again = again or f"expected offset {expected}, got {begin} again"
        expected = max(expected, end)
    count = len(pieces)
    if isinstance(length, int) and expected < length:
        return _Stream(flaw="short", words=f"ended at {expected} of {length} without an error", pieces=count)
    if isinstance(length, int) and expected > length:
        return _Stream(flaw="divergent", words=f"went on to {expected}, beyond its length {length}", pieces=count)
    if again:
        return _Stream(flaw="overlap" if exact else "unsure", words=again, pieces=count)
    if not isinstance(length, int) and not exact:
        return _Stream(flaw="silent", words="neither its length nor its content were recorded", pieces=count)
    return _Stream(flaw=None, words="", pieces=count)


def _unknown(ground: Ground, rows: Ints, found: Mapping[Flaw, list[tuple[int, str]]]) -> list[str]:
    mask = np.zeros(len(ground.index.table), dtype=np.bool_)
    mask[rows] = True
    why = ground.gaps(mask) if len(rows) else [*ground.gaps(), "no stream was seen"]
    silent, unsure = found.get("silent", []), found.get("unsure", [])
    if silent:
        why.append(f"{len(silent):,} of {counted(len(rows), 'stream')}: {silent[0][1]}")
    if unsure:
        why.append(f"{counted(len(unsure), 'overlap')} whose content was not compared")
    return why


def _holds(streams: int, resumed: int, overlaps: int) -> str:
    words = f"{counted(streams, 'stream')} whole, {resumed:,} of them resumed: anything else {below(max(streams, 1))}"
    return words + (f"; {counted(overlaps, 'identical overlap')}, harmless" if overlaps else "")


def _sentence(counts: Mapping[str, int], streams: int) -> str:
    parts = [
        f"{counts[name]:,} {words}"
        for name, words in (
            ("gaps", "with a gap"),
            ("divergent", "with other content than meant"),
            ("short", "that ended short without an error"),
        )
        if counts[name]
    ]
    return f"of {counted(streams, 'stream')}: {', '.join(parts)}"
