"""Disruptions with their causes: which inject, revert or step each one is attributed to, and whose incident it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.measure.facts import Edge
from harness.measure.good import Graded
from harness.measure.spans import Population, Span, find_spans
from harness.measure.windows import Rule
from harness.model.measured import Disruption

__all__ = ["Attributed", "disruptions", "population_of", "to_result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """A disruption and its cause. `cause` None: it began before anything of ours took effect.

    `incident` is the document's id of the fault it counts for; None for a step that answers for itself.
    """

    span: Span
    cause: Edge | None
    incident: str | None

    @property
    def is_inject(self) -> bool:
        """Whether it counts into the recovery time: caused by an inject, or by a step that belongs to one."""
        return self.cause is not None and (
            self.cause.edge == "inject" or (self.cause.edge == "step" and self.incident is not None)
        )

    @property
    def is_return(self) -> bool:
        """Whether a revert caused it."""
        return self.cause is not None and self.cause.edge == "revert"


def population_of(graded: Graded, steady_ns: tuple[int, int] | None) -> Population:
    """The valid ops, and the p99 latency of the good ones of the steady state (0 without any)."""
    valid = graded.valid
    calm_ns = 0
    if steady_ns is not None:
        calm = graded.good & graded.due(*steady_ns)
        if bool(calm.any()):
            calm_ns = int(np.quantile(graded.latency_ns[calm], 0.99, method="higher"))
    part = slice(None) if bool(valid.all()) else valid  # a copy of every column is a tenth of a large run's memory
    return Population(
        intended_ns=graded.intended_ns[part],
        done_ns=graded.done_ns[part],
        bad=graded.bad[part],
        calm_ns=calm_ns,
        late_ns=graded.late_ns[part],
        over_ns=graded.over_ns[part],
    )


def disruptions(population: Population, rule: Rule, edges: Sequence[Edge]) -> tuple[Attributed, ...]:
    """Every disruption in time order, attributed. Empty for no ops, or none that chance does not explain."""
    cuts = [edge.lo_ns for edge in edges if edge.edge != "step" or edge.own]
    found: list[Attributed] = []
    for span in find_spans(population, rule, cuts):
        cause = _cause(population, span, edges, found)
        found.append(Attributed(span=span, cause=cause, incident=_incident(cause, edges)))
    return tuple(found)


def _cause(population: Population, span: Span, edges: Sequence[Edge], before: Sequence[Attributed]) -> Edge | None:
    """The latest edge whose earliest effect is not after the disruption's start.

    An op in flight when something broke was due before it: the start is only known to lie before the first op failed and
    within the time a good op takes of the instant at which the first bad one was sent. An inject in that span is the
    cause. A revert or step there is so only when the inject before it had shown its effect already: a first disruption is
    an inject's.
    """
    start_ns = int(population.intended_ns[span.first])
    bads = population.bad[span.first : span.last + 1]
    failed_ns = int(population.done_ns[span.first : span.last + 1][bads].min())
    sent_ns = start_ns + population.late(span.first)
    onset_ns = max(int(population.intended_ns[span.late_first]), min(failed_ns, sent_ns + population.calm_ns))
    surely = [edge for edge in edges if edge.lo_ns <= start_ns]
    maybe = [edge for edge in edges if start_ns < edge.lo_ns <= onset_ns]
    if maybe:
        latest = maybe[-1]
        if latest.edge == "inject":
            return latest
        injects = [edge for edge in (*surely, *maybe) if edge.edge == "inject"]
        seen = {attributed.cause.id for attributed in before if attributed.cause and attributed.is_inject}
        if injects and injects[-1].id in seen:
            return latest
        if injects and injects[-1] in maybe:
            return injects[-1]
    return surely[-1] if surely else None


def _incident(cause: Edge | None, edges: Sequence[Edge]) -> str | None:
    """The fault whose incident it is: for a step the inject before it, unless the step answers for itself."""
    if cause is None or cause.own:
        return None
    if cause.edge != "step":
        return cause.entry
    injects = [edge for edge in edges if edge.edge == "inject" and edge.lo_ns <= cause.lo_ns]
    return injects[-1].entry if injects else None


def to_result(population: Population, found: Attributed, *, observed_until_ns: int, window_ns: int) -> Disruption:
    """The disruption as published. `end_ns` is None when less than a window was observed after its last bad op."""
    span = found.span
    last_ns = int(population.intended_ns[span.last])
    bads = population.bad[span.first : span.last + 1]
    end_ns = int(population.done_ns[span.first : span.last + 1][bads].max())
    return Disruption(
        start_ns=int(population.intended_ns[span.first]),
        end_ns=end_ns if observed_until_ns - last_ns >= window_ns else None,
        cause=found.cause.id if found.cause else None,
        edge=found.cause.edge if found.cause else None,
        incident=found.incident,
        bad=span.bad,
        valid=span.valid,
        last_bad_ns=last_ns,
    )
