"""Each op of the load, graded: valid or not, good or bad, and why bad. Every other measure starts from this.

Pure. Ops that were due before `steady` began (warm-up) or after `drain` began are left out of all measures: a cold stack's
first answers are not service. Data checks see them all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.history.history import History
from harness.history.table import MISSING, OpTable
from harness.model.experiment import SLO
from harness.model.measured import Counts
from harness.model.plan import Plan

__all__ = [
    "Bools",
    "Graded",
    "Ints",
    "counts",
    "error_classes",
    "grade",
    "grade_probes",
    "graded_ops",
    "known_by",
    "measured_span",
    "slo_latency_ns",
    "steady_span",
    "unplaced",
]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
FAR_NS = int(np.iinfo(np.int64).max)
_COLUMNS = ("intended_ns", "done_ns", "over_ns", "ok", "good", "bad", "slow", "wrong", "cut", "dropped", "excluded")


@dataclass(frozen=True, kw_only=True)
class Graded:
    """Ops of one population with their grades, sorted by intended start. All columns have one entry per op.

    `done_ns` is the intended instant for dropped ops, which never began. valid = good + bad; dropped, cut and excluded
    ops are none of these. `slow` and `wrong` ops are ok but bad; `over_ns` is by how much a slow one exceeded its limit (the
    tightest that it exceeded), 0 for others.
    """

    ops: OpTable
    intended_ns: Ints
    done_ns: Ints
    over_ns: Ints
    ok: Bools
    good: Bools
    bad: Bools
    slow: Bools
    wrong: Bools
    cut: Bools
    dropped: Bools
    excluded: Bools

    def __len__(self) -> int:
        return len(self.intended_ns)

    @cached_property
    def valid(self) -> Bools:
        """good or bad."""
        return np.asarray(self.good | self.bad, dtype=np.bool_)

    @property
    def latency_ns(self) -> Ints:
        """From intended start to completion; meaningless for dropped ops."""
        return self.done_ns - self.intended_ns

    @cached_property
    def late_ns(self) -> Ints:
        """How long after its intended start the generator sent each op; 0 for dropped ops and for later ops of one arrival."""
        sent = self.ops.ints("sent_ns")
        own = ~self.ops.flags("later") & (sent != MISSING)
        return np.where(own, np.maximum(0, sent - self.intended_ns), 0)

    def pick(self, mask: Bools) -> Graded:
        """The ops that the mask picks, in order; itself when it picks all."""
        if bool(mask.all()):
            return self
        return Graded(ops=self.ops.where(mask), **{name: getattr(self, name)[mask] for name in _COLUMNS})

    def slice_(self, where: Mapping[str, str]) -> Graded:
        """The ops of a slice (`f`, `group`, `region`, `served_by`, ...); itself for an empty one."""
        return self.pick(self.ops.slice_(where)) if where else self

    def due(self, begin_ns: int, end_ns: int | None) -> Bools:
        """Which ops were due in [begin, end); end None: ever after."""
        end = FAR_NS if end_ns is None else end_ns
        return np.asarray((self.intended_ns >= begin_ns) & (self.intended_ns < end), dtype=np.bool_)


def measured_span(history: History) -> tuple[int, int | None]:
    """[begin, end) of what is measured: from the start of `steady` to the start of `drain`.

    From the origin when no phase says otherwise, to the end of the record (None) when the run never drained.
    """
    steady, drain = history.phase("steady"), history.phase("drain")
    begin = steady[0] if steady else (history.phase("inject") or (0, None))[0]
    return begin, drain[0] if drain else None


def steady_span(history: History) -> tuple[int, int] | None:
    """[begin, end) of the steady state, ended by T0; None when the run never got through it."""
    span = history.phase("steady")
    return (span[0], span[1]) if span is not None and span[1] is not None else None


def grade(history: History, plan: Plan) -> Graded:
    """The load's measured ops, graded against every SLO that applies to them."""
    return graded_ops(_measured(history, "load"), plan.experiment.slos)


def grade_probes(history: History) -> Graded:
    """The prober's ops, graded by outcome and content alone: they are in no SLI."""
    return graded_ops(_measured(history, "probe"), ())


def _measured(history: History, phase: str) -> OpTable:
    begin, end = measured_span(history)
    intended = history.ops.ints("intended_ns")
    due = (intended >= begin) & (intended < (FAR_NS if end is None else end))
    return history.ops.where(history.ops.is_("phase", phase) & due)


def graded_ops(ops: OpTable, slos: tuple[SLO, ...]) -> Graded:
    """Any ops, graded against the SLOs; they must be sorted as an OpTable is."""
    intended, done = ops.ints("intended_ns"), ops.ints("done_ns").copy()
    dropped = ops.is_("outcome", "dropped")
    cut = (ops.flags("cut") | (done == MISSING)) & ~dropped  # without its end an op proves nothing: as if cut
    done[done == MISSING] = intended[done == MISSING]
    ok = ops.is_("outcome", "ok") & ~cut & ~ops.flags("broken")
    wrong = ok & ops.flags("wrong")
    over = np.zeros(len(ops), dtype=np.int64)
    excluded = np.zeros(len(ops), dtype=np.bool_)
    for slo in slos:
        applies = ops.slice_(slo.on)
        if slo.under_ns is not None:
            excess = np.where(ok & ~wrong & applies, slo_latency_ns(ops, slo, done) - slo.under_ns, 0)
            over = np.maximum(over, excess)
        if slo.excludes:
            excluded |= applies & np.isin(ops.ints("status"), np.array(slo.excludes, dtype=np.int64))
    slow = over > 0
    excluded &= ~cut & ~dropped
    valid = ~cut & ~dropped & ~excluded
    good = valid & ok & ~wrong & ~slow
    return Graded(
        ops=ops,
        intended_ns=intended,
        done_ns=done,
        over_ns=over,
        ok=ok,
        good=good,
        bad=valid & ~good,
        slow=slow & valid,
        wrong=wrong & valid,
        cut=cut,
        dropped=dropped,
        excluded=excluded,
    )


def slo_latency_ns(ops: OpTable, slo: SLO, done_ns: Ints) -> Ints:
    """What a latency SLO limits, from intended start: to the first byte for "ttft", else to the end.

    An answer that came in one piece has its first byte at its end.
    """
    end = done_ns
    if slo.name.startswith("ttft"):
        first = ops.ints("first_ns")
        end = np.where(first == MISSING, done_ns, first)
    return np.asarray(end - ops.ints("intended_ns"), dtype=np.int64)


def known_by(graded: Graded, at_ns: int, slos: tuple[SLO, ...], timeout_ns: int) -> Bools:
    """Which ops had shown by an instant how they end: they ended by then, or were already beyond a limit or the timeout.

    The others were under way: what became of them says nothing of the time before.
    """
    waited = at_ns - graded.intended_ns
    late = waited > timeout_ns
    for slo in slos:
        if slo.under_ns is not None:
            took = np.minimum(slo_latency_ns(graded.ops, slo, graded.done_ns), waited)
            late |= graded.ops.slice_(slo.on) & (took > slo.under_ns)
    return np.asarray((graded.done_ns <= at_ns) | late, dtype=np.bool_)


def error_classes(graded: Graded) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Each bad op's class as (codes, names): `slow`, `wrong`, its error, else its outcome; code -1 for ops that are not bad."""
    errors, names = graded.ops.codes("error")
    outcomes, outcome_names = graded.ops.codes("outcome")
    classes = np.where(errors >= 0, errors, len(names) + outcomes).astype(np.int32)
    base = len(names) + len(outcome_names)
    classes[graded.slow] = base
    classes[graded.wrong] = base + 1
    classes[~graded.bad] = -1
    return classes, (*names, *outcome_names, "slow", "wrong")


def counts(graded: Graded) -> Counts:
    """How many ops there were of every sort. All 0 for no ops."""
    classes, names = error_classes(graded)
    found, numbers = np.unique(classes[classes >= 0], return_counts=True)
    by_error: dict[str, int] = {}
    for code, number in zip(found.tolist(), numbers.tolist(), strict=True):
        by_error[names[code]] = by_error.get(names[code], 0) + number
    outcome = {name: graded.ops.is_("outcome", name) & graded.valid for name in ("ok", "fail", "info")}
    return Counts(
        offered=len(graded),
        valid=_n(graded.valid),
        good=_n(graded.good),
        bad=_n(graded.bad),
        ok=_n(outcome["ok"]),
        fail=_n(outcome["fail"]),
        info=_n(outcome["info"]),
        cut=_n(graded.cut),
        dropped=_n(graded.dropped),
        excluded=_n(graded.excluded),
        slow=_n(graded.slow),
        wrong=_n(graded.wrong),
        mid_stream=_n(graded.ops.flags("broken") & graded.bad),
        by_error=dict(sorted(by_error.items(), key=lambda item: (-item[1], item[0]))),
    )


PLACES = ("region", "served_by")
"""Columns that an answer fills in: an op that failed seldom says where."""


def unplaced(graded: Graded, where: Mapping[str, str]) -> Bools:
    """Bad and dropped ops that may belong to a slice although nothing says so: they name no region, or nobody that served them."""
    missing = np.zeros(len(graded), dtype=np.bool_)
    for column in set(where) & set(PLACES):
        missing |= graded.ops.codes(column)[0] < 0
    # What they do name must not be another slice's.
    for column, text in where.items():
        codes, names = graded.ops.codes(column)
        ours = names.index(text) if text in names else -2
        missing &= (codes == ours) | ((codes < 0) if column in PLACES else False)
    return missing & (graded.bad | graded.dropped)


def _n(mask: Bools) -> int:
    return int(np.count_nonzero(mask))
