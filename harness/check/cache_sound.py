"""Check `cache-sound`: what came from a cache had been produced for the very same question, lately enough, and was no error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.index import FOREVER, Bools, Ints
from harness.history.history import History
from harness.history.table import MISSING
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow
from harness.units import format_duration

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="cache-sound",
    doc="A cached answer equals one produced for the same model, prompt version, input and tenant, within its TTL; no cached "
    "errors.",
    params=Params,
    code="harness.check.cache_sound:check",
    example="checks: [{cache-sound: {within: 60s}}]",
    counts=("unproduced", "stale", "errors"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hits:
    """Cached answers by what is wrong with them: rows. `source`: the row that produced a stale or a strange one, -1 for none."""

    judged: Ints
    unproduced: Ints
    stale: Ints
    errors: Ints
    unsure: int
    early: int
    blank: int
    source: Ints


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether each answer that says that it came from a cache (`op.cached`) may have been there.

    `op.input` stands for all that an answer may depend on beside `op.version`: model, prompt, parameters, tenant;
    `op.answer` for the answer. A cached one must equal an answer that an uncached op gave for the same input and version and
    that was under way before the cached one ended. `within` is the cache's TTL. *unproduced*: no such op, though the record
    reaches back further than the TTL, so that it would be there: produced for another input, version or tenant, or by
    nobody. *stale*: the last such op had ended more than the TTL before the cached one began. *errors*: a cached answer that
    is no success, is wrong, or repeats what only failed, broken or wrong ops had produced. Uncertain ops may have filled the
    cache: with their answer, or, where nobody heard it, with any for their input (or for any input, where they recorded
    none). An op of several wire attempts may be answered with what its own first attempt produced. All clients that ask the
    same must be in the record. Unknown: no cached answer, or none open during a fault; cached answers without input or
    answer; produced before the record began, as far as anyone knows (always so without `within`). O(n log n). Source:
    correctness.md C1, C2.
    """
    ground = Ground(history=history, spec=spec, context=context)
    hits = _hits(ground)
    counts = {"unproduced": len(hits.unproduced), "stale": len(hits.stale), "errors": len(hits.errors)}
    total = len(hits.judged)
    words = {
        "unproduced": "never produced for their input and version",
        "stale": f"older than {format_duration(spec.within_ns or 0)}",
        "errors": "no good answers",
    }
    told = [f"{counts[name]:,} {what}" for name, what in words.items() if counts[name]]
    return ground.rule(
        Ruling(
            broken=f"of {counted(total, 'cached answer')}: {', '.join(told)}" if told else None,
            unknown=tuple(_unknown(ground, hits)),
            holds=f"{counted(total, 'cached answer')}, each produced for its own input and version: others"
            f" {below(max(total, 1))}",
            counts=counts,
            volume=ground.volume() | {"cached": total, "before_the_record": hits.early},
            evidence=tuple(_rows(ground, hits)),
        )
    )


def _hits(ground: Ground) -> _Hits:
    index, table = ground.index, ground.index.table
    inputs, answers, versions = (table.numbers(name) for name in ("input", "answer", "version"))
    cached = index.load & table.flags("cached")
    judged = np.flatnonzero(cached & ground.judged & (table.ints("attempts") <= 1))
    asked = inputs * (int(versions.max(initial=0)) + 2) + versions + 1  # input and version as one number
    told = (inputs >= 0) & (answers >= 0)
    whole = index.ok & ~table.flags("wrong") & ~table.flags("broken")
    bad = judged[~index.ok[judged] & ~index.info[judged] | table.flags("wrong")[judged]]
    judged_told = judged[told[judged] & index.ok[judged] & ~table.flags("wrong")[judged]]
    # Probes fill caches as users do.
    made = np.flatnonzero(~index.final & ~table.flags("cached") & told & (whole | index.info))
    spoilt = np.flatnonzero(~index.final & ~table.flags("cached") & told & ~whole & ~index.info)
    source, latest_ns = _produced(index.lo_ns, index.done_ns, (asked, answers), (judged_told, made))
    nobody = source < 0
    repeated = _produced(index.lo_ns, index.done_ns, (asked, answers), (judged_told, spoilt))[0] >= 0
    sent = index.lo_ns[judged_told]
    begun_ns = int(index.lo_ns[table.ints("sent_ns") != MISSING].min(initial=FOREVER))
    ttl_ns = ground.spec.within_ns
    # Could it have been there before the first op of the record? Only a TTL says that it could not.
    covered = np.zeros(len(sent), dtype=np.bool_) if ttl_ns is None else sent - ttl_ns > begun_ns
    # What was produced by an uncertain op may be as young as can be: its end is not known.
    old = ~nobody & (latest_ns < sent - (FOREVER // 2 if ttl_ns is None else ttl_ns))
    repeats = nobody & repeated & covered
    perhaps = _perhaps(
        ground, inputs, (judged_told, (~index.final & index.info & (answers < 0)) & ~table.flags("cached"))
    )
    unsure = perhaps & ((nobody & ~repeated) | old) & covered
    stale = old & covered & ~unsure
    unproduced = nobody & ~repeated & covered & ~unsure
    return _Hits(
        judged=judged,
        unproduced=judged_told[unproduced],
        stale=judged_told[stale],
        errors=np.sort(np.concatenate([bad, judged_told[repeats]])),
        unsure=int(np.count_nonzero(unsure)),
        early=int(np.count_nonzero(nobody & ~covered)),
        blank=int(np.count_nonzero(~told[judged] & index.ok[judged])),
        source=source[stale],
    )


def _produced(lo_ns: Ints, done_ns: Ints, what: tuple[Ints, Ints], rows: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """For each cached row: (the producer of its answer that had begun before it ended and ended last, when); -1 for none."""
    asked, answers = what
    hits, made = rows
    source = np.full(len(hits), -1, dtype=np.int64)
    latest = np.full(len(hits), -FOREVER, dtype=np.int64)
    if not len(made) or not len(hits):
        return source, latest
    # One number for each pair of question and answer; producers by pair and by beginning, with the latest end so far.
    both = np.stack([asked, answers], axis=1)[np.concatenate([hits, made])]
    pair = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    of_hit, of_made = pair[: len(hits)], pair[len(hits) :]
    order = np.lexsort((lo_ns[made], of_made))
    made, of_made = made[order], of_made[order]
    best = _latest_so_far(of_made, done_ns[made])
    instants, rank = np.unique(np.concatenate([lo_ns[made], done_ns[hits]]), return_inverse=True)
    width = len(instants) + 1
    place = np.searchsorted(of_made * width + rank[: len(made)], of_hit * width + rank[len(made) :], side="right") - 1
    found = (place >= 0) & (of_made[np.maximum(place, 0)] == of_hit)
    source[found] = made[best[place[found]]]
    latest[found] = done_ns[source[found]]
    return source, latest


def _perhaps(ground: Ground, inputs: Ints, rows: tuple[Ints, Bools]) -> Bools:
    """Which hits an uncertain op may have filled the cache for: begun before they ended, with their input or none recorded."""
    hits, unheard = rows
    index, writes = ground.index, ground.index.is_write | ground.index.is_read
    asked = np.flatnonzero(unheard & (writes | (inputs >= 0)))
    first = np.full(int(inputs.max(initial=-1)) + 2, FOREVER, dtype=np.int64)  # the last: of those that recorded none
    np.minimum.at(first, inputs[asked], index.lo_ns[asked])
    return np.asarray(np.minimum(first[inputs[hits]], first[-1]) <= index.done_ns[hits], dtype=np.bool_)


def _latest_so_far(groups: Ints, ends: Ints) -> Ints:
    """For each place: the place, among those of its group up to it, that ended last. Groups are in order."""
    instants, rank = np.unique(ends, return_inverse=True)
    value = groups * (len(instants) + 1) + rank
    greatest = np.maximum.accumulate(value)
    return np.maximum.accumulate(np.where(value == greatest, np.arange(len(value)), 0))


def _unknown(ground: Ground, hits: _Hits) -> list[str]:
    if not len(hits.judged):
        return ["no cached answer was seen"]
    mask: Bools = np.zeros(len(ground.index.table), dtype=np.bool_)
    mask[hits.judged] = True
    why = [gap for gap in ground.gaps(mask) if not gap.startswith("nothing was acknowledged")]
    if hits.blank:
        why.append(f"{counted(hits.blank, 'cached answer')} recorded no input or no answer")
    if hits.unsure:
        what = counted(hits.unsure, "cached answer")
        why.append(f"{what} may have been produced by an uncertain operation whose answer nobody heard")
    if hits.early:
        given = "the record does not reach back a TTL" if ground.spec.within_ns else "no TTL is given (`within`)"
        why.append(f"{counted(hits.early, 'cached answer')} may have been produced before the record began: {given}")
    return why


def _rows(ground: Ground, hits: _Hits) -> list[EvidenceRow]:
    errors = hits.errors[: EVIDENCE_ROWS // 3].tolist()
    rows = [ground.op_row(row, "came from a cache, and is no good answer") for row in errors]
    for row in hits.unproduced[: EVIDENCE_ROWS // 3].tolist():
        version = ground.op(row).version
        of = f" and version {version!r}" if version else ""
        rows.append(ground.op_row(row, f"came from a cache; nobody had produced it for its input{of}"))
    for row, source in list(zip(hits.stale.tolist(), hits.source.tolist(), strict=True))[: EVIDENCE_ROWS // 6]:
        age_ns = int(ground.index.lo_ns[row] - ground.index.done_ns[source])
        rows.append(ground.op_row(source, "produced it last"))
        rows.append(ground.op_row(row, f"came from a cache, {format_duration(age_ns)} old at least"))
    return rows
