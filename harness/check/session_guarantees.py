"""Check `session-guarantees`: a session sees its own writes, and never goes back in time."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from functools import partial
from itertools import accumulate

import numpy as np

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, counted
from harness.check.index import FOREVER
from harness.check.order import logs, misplaced, reordered
from harness.check.staleness import Demand, misses
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="session-guarantees",
    doc="Read-your-writes, monotonic reads and writes, per session.",
    params=Params,
    code="harness.check.session_guarantees:check",
    example="checks: [session-guarantees]",
    models=frozenset({"register", "log"}),
    counts=("unread_own", "went_back", "writes_reordered"),
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether each session's reads under load show its own acknowledged writes and all that its earlier reads showed.

    *unread_own* (read your writes): a read that began after an acknowledgement of its own session misses it. *went_back*
    (monotonic reads): a read lacks what the fullest earlier read of its session showed (a register: shows a value whose
    write had ended before the write shown earlier was sent). *writes_reordered* (monotonic writes, logs only: a register
    does not show its order): final reads show the session's own entries out of order. Uncertain writes are owed to
    nobody until seen. Unknown: nothing acknowledged, no op open during a fault, values not distinct, no session that read
    after it had written or read. O(n log n). Source: Terry 1994; correctness.md R3.
    """
    ground = Ground(history=history, spec=spec, context=context)
    reads, entries = ground.reads, ground.entries
    chosen = (reads.phase == 0) & (reads.session >= 0) & ground.judged[reads.row]
    width = len(ground.index.names) + 2
    homes = ground.index.homes(reads.phase == 0)
    own = Demand(
        home=np.where((homes >= 0) & (entries.session >= 0), entries.session * width + homes, -1),
        asked=np.where(chosen, reads.session * width + reads.name, -1),
    )
    found = misses(ground, own)
    back, compared = _went_back(ground, own)
    pairs = (
        [pair for log in logs(ground, misplaced) for pair in reordered(ground, log)] if context.model == "log" else []
    )
    counts = {
        "unread_own": len(found.stale),
        "went_back": len(back),
        "writes_reordered": len({(earlier, later) for earlier, later, _ in pairs}),
    }
    unknown = ground.gaps() + ground.unnamed()
    if not found.asked and not compared:
        unknown.append("no session read after it had written or read")
    words = (
        ("unread_own", "missed an own acknowledged write"),
        ("went_back", "went back behind an earlier read"),
        ("writes_reordered", "showed own writes out of order"),
    )
    parts = [f"{counts[name]:,} {text}" for name, text in words if counts[name]]
    return ground.rule(
        Ruling(
            broken=f"reads of sessions: {', '.join(parts)}" if parts else None,
            unknown=tuple(unknown),
            holds=f"{counted(found.asked, 'read')} showed all own writes, {counted(compared, 'read')} all that earlier ones had",
            counts=counts,
            volume=ground.volume() | {"reads_after_own": found.asked, "reads_after_reads": compared},
            evidence=tuple(_evidence(ground, found.stale, back, pairs))[:EVIDENCE_ROWS],
        )
    )


def _went_back(ground: Ground, own: Demand) -> tuple[list[tuple[int, int]], int]:
    """((read, the earlier read it falls behind) for each that does, how many reads had an earlier one)."""
    reads = ground.reads
    groups: dict[int, list[int]] = defaultdict(list)
    for read in np.flatnonzero(own.asked >= 0).tolist():
        groups[int(own.asked[read])].append(read)
    done_ns, lo_ns = reads.done_ns.tolist(), reads.lo_ns.tolist()
    found, compared = [], 0
    for group in groups.values():
        ended = sorted(group, key=lambda read: done_ns[read])
        ends = [done_ns[read] for read in ended]
        # The fullest of all reads that had ended: a register's fullest is the one whose write was sent last.
        fullest = list(accumulate(ended, partial(_fuller, ground)))
        for read in group:
            before = bisect_left(ends, lo_ns[read])
            if before:
                compared += 1
                if _behind(ground, read, fullest[before - 1]):
                    found.append((read, fullest[before - 1]))
    return found, compared


def _fuller(ground: Ground, one: int, two: int) -> int:
    return one if _fullness(ground, one) >= _fullness(ground, two) else two


def _fullness(ground: Ground, read: int) -> int:
    reads = ground.reads
    begin, end = int(reads.start[read]), int(reads.start[read + 1])
    if ground.context.model != "register":
        return end - begin
    known = begin < end and reads.flat[begin] < len(ground.entries)
    return int(ground.entries.lo_ns[reads.flat[begin]]) if known else -FOREVER


def _behind(ground: Ground, read: int, earlier: int) -> bool:
    reads, entries = ground.reads, ground.entries
    mine = reads.flat[reads.start[read] : reads.start[read + 1]]
    theirs = reads.flat[reads.start[earlier] : reads.start[earlier + 1]]
    if ground.context.model != "register":
        if len(mine) >= len(theirs) and np.array_equal(mine[: len(theirs)], theirs):
            return False
        return not set(theirs.tolist()) <= set(mine.tolist())
    if not len(theirs) or theirs[0] >= len(entries):
        return False
    if not len(mine):
        return True
    return bool(mine[0] < len(entries) and entries.ack_ns[mine[0]] < entries.lo_ns[theirs[0]])


def _evidence(
    ground: Ground, stale: tuple[tuple[int, int], ...], back: list[tuple[int, int]], pairs: list[tuple[int, int, int]]
) -> list[EvidenceRow]:
    rows = []
    for read, entry in stale[:2]:
        rows.append(ground.write_row(entry, "the session's own, and acknowledged"))
        rows.append(ground.read_row(read, f"began later and does not show {ground.value(entry)}"))
    for read, earlier in back[:2]:
        rows.append(ground.read_row(earlier, f"showed {counted(len(ground.reads.values(earlier)), 'value')}"))
        rows.append(
            ground.read_row(read, f"began later and shows {len(ground.reads.values(read)):,}, not all of those")
        )
    for earlier, later, read in pairs[:1]:
        rows.append(ground.write_row(earlier, f"stands after {ground.value(later)}"))
        rows.append(ground.write_row(later, f"was sent after {ground.value(earlier)} was acknowledged"))
        rows.append(ground.read_row(read, f"shows {ground.value(later)} before {ground.value(earlier)}"))
    return rows
