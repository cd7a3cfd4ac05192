"""Check `session-order`: a session's entries are in the order in which they were acknowledged, in one history for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, counted
from harness.check.order import Log, either, logs, reordered
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="session-order",
    doc="Per session, entries keep the acknowledged order, and each read extends the earlier ones.",
    params=Params,
    code="harness.check.session_order:check",
    example="checks: [session-order]",
    models=frozenset({"log"}),
    counts=("reordered", "forks"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fork:
    """A read that does not fit the log's longest history: they part at place `at` (from 0)."""

    read: int
    against: int
    at: int
    holed: bool


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether each log keeps its sessions' acknowledged order, and all its reads are prefixes of one history.

    *reordered*: an entry stands before another of the same session that was acknowledged before it was sent. An uncertain
    entry may stand anywhere after what was acknowledged before it was sent. *forks*: a read and the longest history
    (the longest final read and what extends it) each hold what the other does not, or one lacks an entry in the middle: an
    entry that a read showed never moves. A shorter read is stale, not out of order: `fresh` and `session-guarantees`
    judge that, and a cut-off tail is `durable`'s. Repeated, foreign and refused entries are looked through, for other
    checks name them. Final reads of evidence regions are left aside. Unknown: nothing acknowledged, no op open during a
    fault, values not distinct, anything not read. Linear in all that was read. Source: correctness.md D4.
    """
    ground = Ground(history=history, spec=spec, context=context)
    forks: list[_Fork] = []
    pairs: list[tuple[int, int, int]] = []
    for log in logs(ground, either):
        forks += _forks(ground, log)
        pairs += reordered(ground, log)
    volume = ground.volume()
    first_of = {(earlier, later): read for earlier, later, read in reversed(pairs)}
    acked = volume["acked"]
    parts = [f"{counted(len({later for _, later in first_of}), ground.nouns(1), ground.nouns(2))} out of order"] * bool(
        first_of
    )
    if forks:
        misfit = counted(len(forks), "read that does", "reads that do")
        parts.append(f"{misfit} not fit the others{_holes(forks)}")
    return ground.rule(
        Ruling(
            broken=f"{' and '.join(parts)}, among {acked:,} acknowledged in {counted(volume['sessions'], 'session')}"
            if parts
            else None,
            unknown=(*ground.gaps(), *ground.unnamed(), *ground.unread()),
            holds=f"{acked:,} acknowledged {ground.nouns(acked)} of {counted(volume['sessions'], 'session')} are in order,"
            f" and {counted(volume['reads'] + volume['final_reads'], 'read')} agree",
            counts={"reordered": len({later for _, later in first_of}), "forks": len(forks)},
            volume=volume,
            evidence=tuple(_evidence(ground, first_of, forks)),
        )
    )


def _forks(ground: Ground, log: Log) -> list[_Fork]:
    """Reads that are not a prefix of the log's history, nor it of them."""
    phases = ground.reads.phase
    finals = [place for place, read in enumerate(log.reads) if phases[read] == 2] or range(len(log.reads))
    best = max(finals, key=lambda place: len(log.lists[place]))
    whole = log.lists[best]
    for place, values in enumerate(log.lists):
        if len(values) > len(whole) and values[: len(whole)] == whole:
            best, whole = place, values
    found = []
    for place, values in enumerate(log.lists):
        if values != whole[: len(values)]:
            at = next(
                (n for n, (mine, theirs) in enumerate(zip(values, whole, strict=False)) if mine != theirs), len(whole)
            )
            holed = _within(values, whole) or _within(whole, values)
            found.append(_Fork(read=log.reads[place], against=log.reads[best], at=at, holed=holed))
    return found


def _within(part: list[int], whole: list[int]) -> bool:
    """Whether `part` is `whole` with some entries left out."""
    rest = iter(whole)
    return all(value in rest for value in part)


def _holes(forks: list[_Fork]) -> str:
    holed = sum(fork.holed for fork in forks)
    return f" ({holed:,} of them with entries missing in the middle)" if holed else ""


def _evidence(ground: Ground, first_of: dict[tuple[int, int], int], forks: list[_Fork]) -> Iterator[EvidenceRow]:
    half = EVIDENCE_ROWS // 2 if forks else EVIDENCE_ROWS
    for (earlier, later), read in list(first_of.items())[: half // 3]:
        yield ground.write_row(earlier, f"stands after {ground.value(later)}")
        yield ground.write_row(
            later, f"stands before {ground.value(earlier)}, which was acknowledged before it was sent"
        )
        yield ground.read_row(read, f"shows {ground.value(later)} before {ground.value(earlier)}")
    for fork in forks[: EVIDENCE_ROWS // 4]:
        yield ground.read_row(fork.against, f"from place {fork.at + 1} on: {_around(ground, fork.against, fork.at)}")
        yield ground.read_row(fork.read, f"from place {fork.at + 1} on: {_around(ground, fork.read, fork.at)}")


def _around(ground: Ground, read: int, at: int) -> str:
    values = ground.reads.values(read)[at : at + 3]
    return ", ".join(ground.value(value) for value in values) or "nothing"
