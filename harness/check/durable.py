"""Check `durable`: what was acknowledged is still there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.check.context import CheckContext
from harness.check.effects import Sink
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, below, listed
from harness.check.index import FOREVER, Bools, Ints
from harness.check.queues import Deliveries
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="durable",
    doc="Every acknowledged write is in the final reads of every region asked.",
    params=Params,
    code="harness.check.durable:check",
    example="checks: [durable]",
    models=frozenset({"set", "log", "register", "jobs", "queue"}),
    counts=("lost", "recoverable", "vanished"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absence:
    """One region's losses. `vanished`: uncertain entries that a read showed and the final read does not."""

    region: str | None
    lost: Bools
    vanished: Bools

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.lost | self.vanished))


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether acknowledged entries are in the last final read of every region asked; the worst region is the headline.

    An uncertain op counts only when a read showed it and it is gone later (`vanished`, part of `lost`). A register has lost
    every acknowledged write that began after the write shown in the end had ended (all, when it shows nothing); an uncertain
    write may be newer than any. What evidence regions alone hold is lost and counted `recoverable`. Jobs without final reads
    are counted at the sink: at least one effect each, else the sink is blind. A queue must be drained: lost is what no
    receive ever returned, less what uncertain receives may have taken. Unknown: nothing acknowledged, no op open during a
    fault, writes without distinct values, anything not read (a queue: not drained, or no more is missing than uncertain
    receives may have taken). One pass over what was read, plus sorting. Source: correctness.md D1 (set-full), Q1; Hanley
    1983 for the bound 3/n.
    """
    ground = Ground(history=history, spec=spec, context=context)
    unknown = [*ground.gaps(), *ground.unnamed()]
    volume = ground.volume()
    if context.model == "jobs" and context.sink and not volume["final_reads"]:
        return _at_sink(ground, unknown, volume)
    if context.model == "queue":
        return _received(ground, unknown, volume)
    unknown += ground.unread()
    absences = [_absence(ground, region) for region in ground.regions]
    worst = max(absences, key=lambda absence: absence.count)
    acked = volume["acked"]
    held = _held(ground, context.evidence_regions)
    missing = worst.lost | worst.vanished
    recoverable = int(np.count_nonzero(missing & held))
    return ground.rule(
        Ruling(
            broken=_sentence(ground, worst, absences, recoverable) if worst.count else None,
            unknown=tuple(unknown),
            holds=f"0 of {acked:,} acknowledged {ground.nouns(acked)} lost: {below(acked)}",
            counts={
                "lost": worst.count,
                "recoverable": recoverable,
                "vanished": int(np.count_nonzero(worst.vanished)),
            },
            volume=volume,
            evidence=tuple(
                ground.write_row(entry, _finding(ground, worst, entry, bool(held[entry])))
                for entry in _chosen(ground, missing).tolist()
            ),
        )
    )


def _received(ground: Ground, unknown: list[str], volume: dict[str, int]) -> CheckResult:
    deliveries, acked = Deliveries(ground=ground), volume["acked"]
    lost = deliveries.lost
    least = "at least " if lost < int(np.count_nonzero(deliveries.missing)) else ""
    was = "was" if lost == 1 else "were"
    return ground.rule(
        Ruling(
            broken=f"{least}{lost:,} of {acked:,} acknowledged {ground.nouns(acked)} {was} never received"
            if lost
            else None,
            unknown=(*unknown, *deliveries.unknown()),
            holds=f"0 of {acked:,} acknowledged {ground.nouns(acked)} lost in a drained queue: {below(max(acked, 1))}",
            counts={"lost": lost, "recoverable": 0, "vanished": 0},
            volume=volume | deliveries.volume(),
            evidence=tuple(
                ground.write_row(entry, "no receive returned it, and the queue was drained")
                for entry in _chosen(ground, deliveries.missing).tolist()
            ),
        )
    )


def _at_sink(ground: Ground, unknown: list[str], volume: dict[str, int]) -> CheckResult:
    acked = volume["acked"]
    return ground.rule(
        Ruling(
            broken=None,
            unknown=(*unknown, *Sink(ground=ground).blind()),
            holds=f"0 of {acked:,} acknowledged {ground.nouns(acked)} without an effect at the sink: {below(acked)}",
            counts={"lost": 0, "recoverable": 0, "vanished": 0},
            volume=volume,
        )
    )


def _absence(ground: Ground, region: str | None) -> _Absence:
    index, entries, reads = ground.index, ground.entries, ground.reads
    latest = index.latest_finals(region)
    chosen = np.zeros(len(reads), dtype=np.bool_)
    chosen[latest] = True
    looked_for = index.homes(chosen) >= 0
    if ground.context.model == "register":
        none = np.zeros(len(entries), dtype=np.bool_)
        return _Absence(region=region, lost=_rolled_back(ground, latest) & looked_for, vanished=none)
    absent = looked_for & ~index.seen(latest)
    earlier = (reads.phase != 2) | (reads.region == _code(ground, region)) | (region is None)
    seen_before = index.seen(np.flatnonzero(earlier))
    return _Absence(
        region=region,
        lost=ground.acked & absent,
        vanished=ground.judged_entries & entries.info & absent & seen_before,
    )


def _code(ground: Ground, region: str | None) -> int:
    return ground.index.regions.index(region) if region in ground.index.regions else -2


def _rolled_back(ground: Ground, latest: Ints) -> Bools:
    """Acknowledged register writes that began after the write which the final read shows had ended."""
    entries, reads = ground.entries, ground.reads
    chosen = np.zeros(len(reads), dtype=np.bool_)
    chosen[latest] = True
    home = ground.index.homes(chosen)
    # The end of the write shown, by name: before everything when nothing is shown, FOREVER when it may be newer than all.
    shown_ns = np.full(len(ground.index.names) + 2, FOREVER, dtype=np.int64)
    for read in latest.tolist():
        values = reads.values(read)
        known = not values or values[0] < len(entries)
        end_ns = -FOREVER if not values else int(entries.ack_ns[values[0]]) if known else FOREVER
        shown_ns[reads.name[read]] = end_ns
    return np.asarray(ground.acked & (entries.lo_ns > shown_ns[home]), dtype=np.bool_)


def _held(ground: Ground, regions: tuple[str, ...]) -> Bools:
    mask = np.zeros(len(ground.entries), dtype=np.bool_)
    for region in regions:
        mask |= ground.index.seen(ground.index.latest_finals(region))
    return mask


def _chosen(ground: Ground, missing: Bools) -> Ints:
    """The first and the last to be acknowledged, when not all fit: they bound the loss."""
    positions = np.flatnonzero(missing)
    positions = positions[np.argsort(ground.entries.ack_ns[positions], kind="stable")]
    if len(positions) <= EVIDENCE_ROWS:
        return positions
    half = EVIDENCE_ROWS // 2
    return np.concatenate([positions[:half], positions[-half:]])


def _finding(ground: Ground, worst: _Absence, entry: int, held: bool) -> str:
    where = f"missing in {worst.region}" if worst.region else "missing"
    if ground.context.model == "register":
        where = f"rolled back{f' in {worst.region}' if worst.region else ''}"
    if worst.vanished[entry]:
        where = f"seen in a read, then {where}"
    return f"{where}, held by {listed(ground.context.evidence_regions)}" if held else where


def _sentence(ground: Ground, worst: _Absence, absences: list[_Absence], recoverable: int) -> str:
    lost, vanished = int(np.count_nonzero(worst.lost)), int(np.count_nonzero(worst.vanished))
    acked = int(np.count_nonzero(ground.acked))
    where = f" in {worst.region}" if worst.region else ""
    if lost:
        words = (
            f"{lost:,} of {acked:,} acknowledged {ground.nouns(acked)} {'is' if lost == 1 else 'are'} missing{where}"
        )
        acks = ground.entries.ack_ns[worst.lost]
        words += f": first acknowledged {ground.when(int(acks.min()))}"
        words += f", last {ground.when(int(acks.max()))}" if lost > 1 else ""
        words += f"; and {vanished:,} uncertain that a read had shown" if vanished else ""
    else:
        of = f"{vanished:,} uncertain {ground.nouns(vanished)}"
        words = f"{of} {'was' if vanished == 1 else 'were'} shown by a read and missing later{where}"
    if recoverable:
        words += f"; {recoverable:,} recoverable from {listed(ground.context.evidence_regions)}"
    others = [
        f"{absence.count:,} in {absence.region}" for absence in absences if absence is not worst and absence.count
    ]
    return words + (f"; also {listed(others)}" if others else "")
