"""Rules that this run cannot break, whatever the stack does: time limits beyond what is watched. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.model.experiment import Experiment
from harness.model.plan import PlannedFault, PlannedStep
from harness.units import format_duration

__all__ = ["vain_rules"]

_TIMED = frozenset({"recovery_time", "detection", "failover", "failback", "gap", "first_success", "last_error_seen"})


def vain_rules(experiment: Experiment, faults: Sequence[PlannedFault], steps: Sequence[PlannedStep]) -> tuple[str, ...]:
    """A warning for each time limit that is longer than load goes on, and each abort rule that cannot hold for so long."""
    ends = [fault.at_ns + (fault.for_ns or 0) for fault in faults] + [step.at_ns + step.within_ns for step in steps]
    after_t0_ns = max(ends, default=0) + experiment.observe_ns + experiment.settle_ns
    found = []
    first_ns = min((fault.at_ns for fault in faults), default=None)
    for stated in experiment.objectives:
        rule = stated.predicate
        timed = rule.measure.name.partition(".")[0] in _TIMED and rule.unit == "ns" and rule.op in ("<", "<=")
        if timed and first_ns is not None and rule.value >= after_t0_ns - first_ns:
            watched = format_duration(after_t0_ns - first_ns)
            found.append(f"{rule} cannot be missed: load goes on for at most {watched} after the first fault")
    for rule in experiment.abort_when:
        if rule.for_ns is not None and rule.for_ns > after_t0_ns:
            whole = format_duration(after_t0_ns)
            found.append(f"abort rule {rule} never trips: from T0 the run lasts at most {whole}")
    return tuple(found)
