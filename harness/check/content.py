"""Check `content`: answers say what they must, and one question under one key has one answer."""

from __future__ import annotations

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, counted
from harness.check.index import Bools, Ints
from harness.history.history import History
from harness.history.table import MISSING
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="content",
    doc="Each answer equals what the oracle or golden set says for its declared versions.",
    params=Params,
    code="harness.check.content:check",
    example="checks: [{content: {on: {f: append}}}]",
    counts=("wrong", "unstable"),
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether every answer under load that the profile compared (`op.expect(got, want)`) was as it had to be.

    *wrong*: answers with a comparison that failed, whatever their status. *unstable*: idempotency keys under which two ok
    ops of one version recorded different answers (`op.answer`): a resend must be answered as the first was. How many were
    compared is part of the sentence; what nobody compared is neither right nor wrong. Unknown: no answer was compared, none
    of those that were was open during a fault, nothing acknowledged where the model has writes. Linear.
    Source: correctness.md Q4, V2; the oracle is the profile's.
    """
    ground = Ground(history=history, spec=spec, context=context)
    index = ground.index
    mine = index.load & ground.judged
    times = index.table.ints("compared")
    compared = mine & (times != MISSING) & (times > 0)
    wrong = np.flatnonzero(mine & index.table.flags("wrong"))
    differing = _unstable(ground, mine)
    answered = int(np.count_nonzero(mine & index.ok))
    count = int(np.count_nonzero(compared))
    parts = [f"{counted(len(wrong), 'answer')} of {count:,} compared not as they had to be"] if len(wrong) else []
    parts += [f"{counted(len(differing), 'key')} answered in two ways"] if differing else []
    return ground.rule(
        Ruling(
            broken=" and ".join(parts) or None,
            unknown=tuple(_unknown(ground, compared)),
            holds=f"0 of {counted(count, 'answer')} compared were wrong, of {answered:,} given: {below(max(count, 1))}",
            counts={"wrong": len(wrong), "unstable": len(differing)},
            volume=ground.volume()
            | {"compared": count, "comparisons": int(times[compared].sum()), "answered": answered},
            evidence=(*_wrong_rows(ground, wrong), *_unstable_rows(ground, differing)),
        )
    )


def _unknown(ground: Ground, compared: Bools) -> list[str]:
    if not np.any(compared):
        return ["no answer was compared with anything: the load profile calls no expect()"]
    gaps = ground.gaps(compared)
    if not np.any(ground.index.is_write):  # a profile may only ask
        gaps = [why for why in gaps if not why.startswith("nothing was acknowledged")]
    return gaps


def _unstable(ground: Ground, mine: Bools) -> list[tuple[int, int]]:
    """(a row, a later one with its key and version and another answer), one pair for each key, by the first's row."""
    table = ground.index.table
    keys, answers = table.numbers("idem"), table.numbers("answer")
    rows = np.flatnonzero(mine & ground.index.ok & (keys >= 0) & (answers >= 0))
    if not len(rows):
        return []
    versions = table.numbers("version")[rows]
    order = np.lexsort((rows, versions, keys[rows]))
    rows, versions = rows[order], versions[order]
    same = (keys[rows][1:] == keys[rows][:-1]) & (versions[1:] == versions[:-1])
    at: Ints = np.flatnonzero(same & (answers[rows][1:] != answers[rows][:-1]))
    pairs = {int(keys[rows[place]]): (int(rows[place]), int(rows[place + 1])) for place in at[::-1].tolist()}
    return sorted(pairs.values())


def _wrong_rows(ground: Ground, wrong: Ints) -> list[EvidenceRow]:
    return [ground.op_row(row, "its content is not what was meant") for row in wrong[:EVIDENCE_ROWS].tolist()]


def _unstable_rows(ground: Ground, pairs: list[tuple[int, int]]) -> list[EvidenceRow]:
    rows = []
    for one, two in pairs[: EVIDENCE_ROWS // 2]:
        key = ground.op(one).idem
        rows.append(ground.op_row(one, f"answered key {key!r} in one way"))
        rows.append(ground.op_row(two, f"answered key {key!r} in another"))
    return rows
