"""What is left after service is back: work that waits (backlog), and a second fault that could not be survived (redundancy)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.history.events import NoteEvent, of_type
from harness.history.history import History
from harness.measure.facts import Edge
from harness.measure.good import Graded
from harness.model.chance import binomial_tail
from harness.model.measured import Interval
from harness.model.plan import Plan

__all__ = ["backlog", "redundancy"]

CHANCE = 1e-6
DENSE = 10_000
"""So many trials make a binomial count a Poisson one."""


def backlog(graded: Graded, steady_ns: tuple[int, int] | None, effect_ns: int, until_ns: int) -> tuple[int | None, str]:
    """From the effect until no more ops were open than calm explains, for good; or None and why.

    An op is open from its intended start to its end, one that was cut to the end. Calm explains as many as were open at
    once in the steady state, and as a Poisson count of that mean reaches with 1e-6. 0: there never were more.
    """
    own = ~graded.dropped
    if steady_ns is None or not bool(own.any()):
        return None, "unknown: no steady state to compare with"
    begin, done = graded.intended_ns[own], graded.done_ns[own].copy()
    done[graded.cut[own]] = np.iinfo(np.int64).max
    at = np.concatenate((begin, done))
    step = np.concatenate((np.ones(len(begin), dtype=np.int64), -np.ones(len(done), dtype=np.int64)))
    order = np.lexsort((-step, at))  # at one instant, who comes is counted before who leaves
    at, level = at[order], np.cumsum(step[order])
    calm = (at >= steady_ns[0]) & (at < steady_ns[1])
    if not bool(calm.any()):
        return None, "unknown: no operation in the steady state"
    inside = own & graded.due(*steady_ns) & ~graded.cut
    mean = float(graded.latency_ns[inside].sum()) / max(1, steady_ns[1] - steady_ns[0])
    most = max(int(level[calm].max()), _poisson_critical(mean))
    later = (at >= effect_ns) & (at <= until_ns)
    above = np.flatnonzero(later & (level > most))
    if not len(above):
        return 0, ""
    last = int(above[-1])
    if last + 1 >= len(at) or int(at[last + 1]) > until_ns:
        return None, f"more than {most} operations were still open when the load ended"
    return int(at[last + 1]) - effect_ns, ""


def _poisson_critical(mean: float) -> int:
    """The largest count that a Poisson count of this mean still reaches with probability 1e-6."""
    trials = max(DENSE, int(mean * 100))
    count = int(mean)
    while binomial_tail(count + 1, trials, mean / trials) >= CHANCE:
        count += 1
    return count


def redundancy(history: History, plan: Plan, edges: Sequence[Edge], first: Edge) -> tuple[Interval | None, str]:
    """From the effect until every instance was ready and every settling rule held, for good; or None and why.

    Looked at while the run settles. Before the last revert began something was still broken, so it is not earlier; open
    above when the run did not settle. Until then a second fault may not be survived.
    """
    stack = plan.experiment.stack
    if not plan.experiment.settled_when and not any(one.ready for one in stack.instances.values()):
        return None, "unknown: no instance says when it is ready, and there is no rule in `settled_when:`"
    notes = [note for note in of_type(history.events, NoteEvent) if note.code == "settled"]
    if not notes:
        return None, "unknown: the run did not come to settle"
    note = notes[-1]
    latest = first.lo_ns if first.hi_ns is None else first.hi_ns
    undone = [edge.lo_ns for edge in edges if edge.edge == "revert"]
    before = max([latest, *undone, int(note.data.get("not_yet_ns", 0))])
    since = note.data.get("since_ns")
    if note.level == "warning" or since is None:
        if note.level != "warning":
            return None, "unknown: the run does not say since when all was settled"
        return Interval(
            lo_ns=max(0, note.at_ns - latest), hi_ns=None
        ), "not all was ready and settled in the time given"
    return Interval(lo_ns=max(0, before - latest), hi_ns=max(0, int(since) - first.lo_ns)), ""
