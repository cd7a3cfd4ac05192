"""Whether the load went through what was broken: good ops served through a fault's target in the 5 s before its effect."""

from __future__ import annotations

import numpy as np

from harness.history.events import FaultEvent, NoteEvent, of_type
from harness.history.history import History
from harness.measure.good import Bools, Graded
from harness.model.measured import Interval
from harness.model.plan import Plan, PlannedFault
from harness.model.result import Exposure

__all__ = ["NEEDED", "exposure"]

NEEDED = 30
BEFORE_NS = 5_000_000_000


def exposure(
    history: History, plan: Plan, fault: PlannedFault, graded: Graded, effect: Interval | None
) -> Exposure | None:
    """The exposure of a fault's targets; None before it took effect. `good` None: nothing in the record can tell.

    By the link's own counters (a note `exposure`: more bytes than without load, while good ops ended), by the instance or
    link that the load enters through, by `served_by`, by region. A partition counts through its first side, a role through
    who held it.
    Source: DESIGN.md §9.
    """
    if effect is None:
        return None
    before = graded.good & (graded.done_ns >= effect.lo_ns - BEFORE_NS) & (graded.done_ns <= effect.lo_ns)
    noted = _noted(history, fault, int(np.count_nonzero(before)))
    if noted is not None:
        return noted
    held = {event.target for event in of_type(history.events, FaultEvent) if event.id == fault.id}
    through = _through(plan, (fault, held), graded, before)
    if through is None:
        return Exposure(good=None, needed=NEEDED, met=None, how="no op says what served it: the load's path is unknown")
    mask, how = through
    good = int(np.count_nonzero(mask))
    return Exposure(good=good, needed=NEEDED, met=good >= NEEDED, how=how)


def _noted(history: History, fault: PlannedFault, good: int) -> Exposure | None:
    """From the link's counters, when the conductor took them: bytes of others than our witness.

    Bytes may be health checks: at least twice as many as cross the link in that time without load must have crossed it,
    and `good`, the load's good ops in that time, must be enough as well.
    """
    for note in of_type(history.events, NoteEvent):
        if note.code != "exposure" or note.data.get("fault") != fault.id:
            continue
        count, idle = int(note.data["bytes"]), int(note.data.get("idle", 0))
        more = count > 0 and count >= 2 * idle
        how = note.text if more else f"{note.text}: no more than crosses it without load"
        how = how if good >= NEEDED else f"{how}, but only {good} good ops ended in that time"
        return Exposure(good=None, needed=NEEDED, met=more and good >= NEEDED, how=how)
    return None


def _through(
    plan: Plan, broken: tuple[PlannedFault, set[str]], graded: Graded, before: Bools
) -> tuple[Bools, str] | None:
    """Which of the ops in `before` went through the fault's targets; `broken`: with the names of those it really had."""
    fault, held = broken
    stack = plan.experiment.stack
    entry = stack.entry or ""
    instances = set(fault.side)
    for target in fault.targets if not fault.side else ():
        if target.kind in ("stack", "load"):
            return before, f"the {target.kind} as a whole is the target"
        if target.kind == "link":
            if f"${{link:{target.name}}}" in entry:
                return before, f"the load enters through link {target.name}"
            continue
        if f"${{addr:{target.name}." in entry:
            return before, f"the load enters through {target.name}"
        instances |= (held & set(target.candidates)) or {target.name, *target.candidates}
    if not instances:
        return None
    codes, names = graded.ops.codes("served_by")
    ours = [code for code, name in enumerate(names) if name in instances]
    served = before & np.isin(codes, ours)
    if bool(served.any()):
        return served, f"served by {', '.join(sorted(names[code] for code in ours))}"
    regions = {stack.instances[name].region for name in instances if name in stack.instances} - {None}
    codes, names = graded.ops.codes("region")
    if regions and bool((codes[before] >= 0).any()):
        ours = [code for code, name in enumerate(names) if name in regions]
        return before & np.isin(codes, ours), f"served in {', '.join(sorted(str(name) for name in regions))}"
    return None
