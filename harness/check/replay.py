"""Check `replay`: what was journaled, run again on the restored system, gives what was journaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.index import Ints
from harness.history.history import History
from harness.history.table import MISSING
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

WORD = "replay"
"""The word of final ops that run a journaled input again; `value` says which, `op.answer` what came."""

KIND = CheckKind(
    name="replay",
    doc="Re-running journaled inputs on the restored system gives the journaled outputs.",
    params=Params,
    code="harness.check.replay:check",
    example="checks: [replay]",
    models=frozenset({"log", "jobs"}),
    counts=("differing", "misjournaled"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """Replays that ended ok, by what they show: rows. `first`: the acknowledged op that was answered otherwise."""

    ran: Ints
    differing: Ints
    misjournaled: Ints
    first: Ints
    other_version: int
    silent: int
    failed: int
    known: Ints


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether journaled inputs, run again after the heal, gave what the journal holds and what clients had been told.

    The load profile runs them in its final reads, as ops `replay` whose value is that of the write run again; it compares
    the answer with the journal's (`op.expect`) and records it (`op.answer`). *differing*: replays that gave something else
    than the journal holds. *misjournaled*: replays that gave what the journal holds, though the client whose write was
    acknowledged had been given another answer (both recorded). Model, tokenizer, template and seed must be pinned: a replay
    under another `op.version` than the acknowledged write's proves nothing, and is left aside and counted. Unknown: no
    replay ended ok under its write's version, or none in a region where some were tried, none of a write that was open
    during a fault, one that compared nothing, nothing acknowledged. Linear. Source: correctness.md V2.
    """
    ground = Ground(history=history, spec=spec, context=context)
    again = _again(ground)
    counts = {"differing": len(again.differing), "misjournaled": len(again.misjournaled)}
    ran = len(again.ran)
    parts = [f"{counts['differing']:,} gave another answer than the journal holds"] if counts["differing"] else []
    parts += [f"{counts['misjournaled']:,} were told to their client otherwise"] if counts["misjournaled"] else []
    apart = f"; {again.other_version:,} under another version than at first left aside" if again.other_version else ""
    return ground.rule(
        Ruling(
            broken=f"of {counted(ran, 'replay')}: {', '.join(parts)}" if parts else None,
            unknown=tuple(_unknown(ground, again)),
            holds=f"{counted(ran, 'replay')} gave what was journaled{apart}: others {below(max(ran, 1))}",
            counts=counts,
            volume=ground.volume() | {"replays": ran, "replays_failed": again.failed},
            evidence=tuple(_rows(ground, again)),
        )
    )


def _again(ground: Ground) -> _Again:
    import pyarrow as pa
    import pyarrow.compute as pc

    index, table = ground.index, ground.index.table
    tried = np.flatnonzero(index.final & table.is_("f", WORD))
    ran = tried[index.ok[tried]]
    times, answers, versions = table.ints("compared"), table.numbers("answer"), table.numbers("version")
    values = table.column("value").take(pa.array(ran))
    entry = pc.index_in(values, value_set=ground.entries.texts.arrow).fill_null(-1).to_numpy().astype(np.int64)
    first = np.where(entry >= 0, ground.entries.row[entry] if len(ground.entries) else -1, -1)
    acked = (entry >= 0) & np.append(ground.entries.acked, False)[entry]
    held = acked & (answers[ran] >= 0) & (answers[first] >= 0)
    moved = acked & (versions[ran] != versions[first])
    differs = table.flags("wrong")[ran] & ~moved
    told = held & ~moved & ~differs & (answers[ran] != answers[first])
    return _Again(
        ran=ran[~moved],
        differing=ran[differs],
        misjournaled=ran[told],
        first=first[told],
        other_version=int(np.count_nonzero(moved)),
        silent=int(np.count_nonzero(~moved & ((times[ran] == MISSING) | (times[ran] == 0)))),
        failed=len(tried) - len(ran),
        known=first[acked & ~moved],
    )


def _unknown(ground: Ground, again: _Again) -> list[str]:
    if not len(again.ran):
        tried = f" ({again.failed:,} were tried)" if again.failed else ""
        tried += f" under its own version ({again.other_version:,} were under another)" if again.other_version else ""
        return [*ground.gaps(), f"nothing journaled was run again{tried}"]
    mask = np.zeros(len(ground.index.table), dtype=np.bool_)
    mask[again.known] = True
    why = ground.gaps(mask)
    why += _deaf(ground)
    if again.silent:
        why.append(f"{counted(again.silent, 'replay')} compared nothing with the journal")
    return why


def _deaf(ground: Ground) -> list[str]:
    """Regions asked in which replays were tried and none ended well."""
    index, regions = ground.index, ground.index.table.numbers("region")
    tried = index.final & index.table.is_("f", WORD)
    why = []
    for place, name in enumerate(index.regions):
        here = tried & (regions == place)
        if np.any(here) and not np.any(here & index.ok) and name not in ground.context.evidence_regions:
            why.append(f"none of the {counted(int(here.sum()), 'replay')} tried in {name} ended well")
    return why


def _rows(ground: Ground, again: _Again) -> list[EvidenceRow]:
    rows = [
        ground.op_row(row, "run again, gave another answer than the journal holds")
        for row in again.differing[: EVIDENCE_ROWS // 2].tolist()
    ]
    pairs = zip(again.first.tolist(), again.misjournaled.tolist(), strict=True)
    for first, row in list(pairs)[: EVIDENCE_ROWS // 4]:
        rows.append(ground.op_row(first, "was answered one way"))
        rows.append(ground.op_row(row, "run again, gave what the journal holds, which is another"))
    return rows
