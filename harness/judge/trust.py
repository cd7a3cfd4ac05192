"""Which objectives stand although the load was late or dropped arrivals: those that its own failings cannot have decided.

A load that starts late may hide an outage as long as its lateness, or invent one. An objective claims a resolution: at
least three mean gaps between arrivals, and never more than its limit lies away from what was observed. It stands when it
would come out the same with the measure moved by such an outage either way, and with the late ops left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from harness.history.history import History
from harness.history.table import MISSING
from harness.judge.observe import Case, Observation, status_of
from harness.measure.good import Graded
from harness.measure.measure import measure
from harness.model.predicate import Predicate
from harness.model.verdict import Status
from harness.units import format_duration, format_ratio

__all__ = ["Trust", "finest_resolution_ns", "is_doubt", "worst_dropped"]

DROPPED_RATIO = 0.01
DROPPED_WINDOW_NS = 3_000_000_000
LEAST_RESOLUTION_NS = 10_000_000
LATE, DROPPED = "the load was started late", "the load generator dropped"
GAPS = 3
"""95 % of Poisson gaps are shorter than three mean gaps."""


def finest_resolution_ns(graded: Graded) -> int | None:
    """What every objective may claim without a look at its limit: three mean gaps between arrivals, at least 10 ms."""
    if len(graded) < 2:
        return None
    gap = (int(graded.intended_ns[-1]) - int(graded.intended_ns[0])) // (len(graded) - 1)
    return max(LEAST_RESOLUTION_NS, GAPS * gap)


def worst_dropped(graded: Graded, span: tuple[int, int] | None = None) -> float:
    """The largest share of dropped arrivals in any 3 s that ends with one (due in `span`)."""
    mask = graded.dropped if span is None else graded.dropped & graded.due(*span)
    where = np.flatnonzero(mask)
    if not len(where):
        return 0.0
    sums = np.concatenate(([0], np.cumsum(graded.dropped)))
    begin = np.searchsorted(graded.intended_ns, graded.intended_ns[where] - DROPPED_WINDOW_NS, side="right")
    return float(((sums[where + 1] - sums[begin]) / (where + 1 - begin)).max())


def is_doubt(why: str) -> bool:
    """Whether an objective is unknown because of the load generator."""
    return why.startswith((LATE, DROPPED))


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What the load's own account allows to be said. `late_ns`: its p99 lateness; None for a closed loop, which has none."""

    case: Case
    late_ns: int | None

    @cached_property
    def finest_ns(self) -> int | None:
        """See `finest_resolution_ns`."""
        return finest_resolution_ns(self.case.graded)

    @property
    def is_late(self) -> bool:
        """Whether the load was later than what every objective may claim: then each one is looked at."""
        return self.late_ns is not None and self.finest_ns is not None and self.late_ns > self.finest_ns

    def dropped(self, span: tuple[int, int] | None = None) -> str:
        """Why nothing that the load measured (in `span`) can be trusted; empty when the generator kept up."""
        worst = worst_dropped(self.case.graded, span)
        if worst <= DROPPED_RATIO:
            return ""
        return f"{DROPPED} {format_ratio(worst)} of the arrivals of 3 s: at most 1 % may be"

    def doubt(
        self, predicate: Predicate, look: Callable[[Case], Observation], span: tuple[int, int] | None = None
    ) -> str:
        """Why what `look` observes (in `span`; None: all of the run) does not decide the predicate; empty when it does."""
        dropped = self.dropped(span)
        if dropped or not self.is_late:
            return dropped
        assert self.late_ns is not None
        seen = look(self.case)
        status = status_of(predicate, seen.lo, seen.hi)
        if status is Status.UNKNOWN or seen.lo is None or seen.hi is None:
            return ""
        late = self._lateness()
        moved = self._shift(predicate, span)
        if status_of(predicate, max(0.0, seen.lo - moved), seen.hi + moved) is not status:
            return f"{late}: an outage as long could have decided it"
        other = look(self.punctual)
        if status_of(predicate, other.lo, other.hi) is not status:
            return f"{late}: without the late ops it would not be {status}"
        return ""

    def doubt_of_disruptions(self, look: Callable[[Case], bool]) -> str:
        """Why whether a disruption was seen, as `look` says, cannot be trusted; empty when it can."""
        dropped = self.dropped()
        if dropped or not self.is_late:
            return dropped
        assert self.late_ns is not None
        late = self._lateness()
        if look(self.case):
            return "" if look(self.punctual) else f"{late}: without the late ops nothing was disrupted"
        smallest = self.case.measures.smallest_outage_ns
        hidden = smallest is not None and self.late_ns > smallest
        return f"{late}: longer than an outage that could be seen" if hidden else ""

    @cached_property
    def punctual(self) -> Case:
        """The same run without the ops that were started later than the finest resolution."""
        history, least_ns = self.case.history, self.finest_ns or 0
        ops = history.ops
        sent = ops.ints("sent_ns")
        late = (sent != MISSING) & ~ops.flags("later") & (sent - ops.ints("intended_ns") > least_ns)
        kept = History(ops=ops.where(~(late & ops.is_("phase", "load"))), events=history.events)
        return replace(self.case, history=kept, measures=measure(kept, self.case.plan))

    def _lateness(self) -> str:
        return f"{LATE} (p99 {format_duration(self.late_ns or 0)})"

    def _shift(self, predicate: Predicate, span: tuple[int, int] | None) -> float:
        """By how much a full outage as long as the lateness would move a measure, in the measure's unit."""
        assert self.late_ns is not None
        head, _, name = predicate.measure.name.partition(".")
        late_s = self.late_ns / 1e9
        if head in ("budget", "burn"):
            return self._budget_shift(head, name)
        if predicate.unit == "ns":
            return float(self.late_ns)
        graded = self.case.graded
        phase = predicate.measure.where.get("phase")
        within = self.case.history.phase(phase) if phase else span  # type: ignore[arg-type]
        begin, end = within or (int(graded.intended_ns[0]), None)
        span_s = max(1e-9, ((int(graded.intended_ns[-1]) if end is None else end) - begin) / 1e9)
        if predicate.unit == "ratio":
            return late_s / span_s
        return late_s * int(np.count_nonzero(graded.due(begin, end))) / span_s

    def _budget_shift(self, head: str, name: str) -> float:
        assert self.late_ns is not None
        experiment, graded = self.case.plan.experiment, self.case.graded
        slo = next((slo for slo in experiment.slos if slo.name == name), None)
        if slo is None or slo.target_ratio >= 1:
            return 0.0
        if head == "burn":
            return self.late_ns / max(1, int(graded.intended_ns[-1] - graded.intended_ns[0])) / (1 - slo.target_ratio)
        traffic = experiment.traffic
        factor = traffic.at_drill_per_s / traffic.mean_per_s if traffic else 1.0
        return self.late_ns * factor / ((1 - slo.target_ratio) * slo.window_ns)
