"""Recovery time as an interval that contains the truth, and by whom service came back. DESIGN.md §9 is the definition.

An op is bad *from* its intended start and good *at* its completion. With b the last bad op of the last disruption and g
the good op that completes first among those intended after b (in a partial outage the k-th in a row), recovery lies in
[b.intended - effect.latest, g.done - effect.earliest], never below 0. An op that is slow by no more than the generator
was late does not bound it from below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.history.table import OpTable
from harness.measure.disruptions import Attributed
from harness.measure.facts import Edge
from harness.measure.spans import Population, Span
from harness.measure.windows import Rule
from harness.model.measured import Interval, Recovery

__all__ = ["Scene", "recovery_from_injects", "recovery_from_reverts", "regained"]

By = Literal["stack", "step", "revert", "unclear"]
GAPS = 3
"""A Poisson gap exceeds three mean gaps in 5 % of cases: nearer than that counts as at the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that recovery of one population depends on. `ops` are its ops; `until_ns` is when load stopped."""

    population: Population
    ops: OpTable
    found: tuple[Attributed, ...]
    edges: tuple[Edge, ...]
    rule: Rule
    until_ns: int
    recovery_from: str | None = None

    def op_id(self, index: int) -> int:
        """The number of one op of the population."""
        return int(self.ops.span(index, index + 1).column("op")[0].as_py())


@dataclass(frozen=True, slots=True, kw_only=True)
class Regained:
    """When service was back: within [lo_ns, hi_ns], with op index `good` as the proof; hi_ns None when it was not seen."""

    lo_ns: int
    hi_ns: int | None
    good: int | None


def regained(population: Population, span: Span, before: int | None = None) -> Regained:
    """When service was back after a disruption, judging by ops up to index `before` (the next disruption's first)."""
    after_ns = population.intended_ns[span.last]
    low = int(np.searchsorted(population.intended_ns, after_ns, side="right"))
    high = len(population) if before is None else before
    lo_ns = int(population.intended_ns[_last_of_the_stack(population, span)])
    order = np.argsort(population.done_ns[low:high], kind="stable") + low
    good = ~population.bad[order]
    index = _end_of_run(good, span.run)
    if index is None:
        return Regained(lo_ns=lo_ns, hi_ns=None, good=None)
    return Regained(lo_ns=lo_ns, hi_ns=int(population.done_ns[order[index]]), good=int(order[index]))


def _last_of_the_stack(population: Population, span: Span) -> int:
    """The last bad op that bounds recovery from below: not one that is slow through the generator's own lateness alone."""
    bads = np.flatnonzero(population.bad[span.first : span.early_last + 1]) + span.first
    theirs = (int(index) for index in bads[::-1] if not population.is_ours(int(index)))
    return next(theirs, span.early_last)


def _end_of_run(good: np.ndarray[tuple[int], np.dtype[np.bool_]], run: int) -> int | None:
    """Where the first `run` goods in a row are complete; None when there are none."""
    sums = np.concatenate(([0], np.cumsum(good, dtype=np.int64)))
    if len(good) < run:
        return None
    complete = np.flatnonzero(sums[run:] - sums[:-run] == run)
    return int(complete[0]) + run - 1 if len(complete) else None


def recovery_from_injects(scene: Scene) -> Recovery:
    """From the effect of the first inject that caused a disruption to the end of the last one that an inject caused.

    `unknown` without a fault or without enough load to see one; `none` (0) when nothing was disrupted; `censored` when
    service was not good for a whole window afterwards.
    """
    injects = [edge for edge in scene.edges if edge.edge == "inject"]
    if not injects:
        return Recovery(state="unknown", why="nothing was injected")
    blind = _blind(scene, injects[0])
    if blind:
        return Recovery(state="unknown", why=blind)
    ours = [place for place, attributed in enumerate(scene.found) if attributed.is_inject]
    if not ours:
        return Recovery(state="none", interval=Interval(lo_ns=0, hi_ns=0), effect=_effect(injects[0]))
    origin = _origin(scene, injects, ours)
    if origin is None:
        return Recovery(state="unknown", why=f"no fault {scene.recovery_from!r} took effect")
    return _measured(scene, origin, ours[-1])


def recovery_from_reverts(scene: Scene) -> Recovery:
    """The return: from the first revert that caused a disruption to the end of the last one that a revert caused."""
    reverts = [edge for edge in scene.edges if edge.edge == "revert"]
    if not reverts:
        return Recovery(state="unknown", why="nothing was reverted under load")
    ours = [place for place, attributed in enumerate(scene.found) if attributed.is_return]
    if not ours:
        blind = _blind(scene, reverts[-1])
        if blind:
            return Recovery(state="unknown", why=blind)
        return Recovery(state="none", interval=Interval(lo_ns=0, hi_ns=0), effect=_effect(reverts[0]))
    first = scene.found[ours[0]].cause
    assert first is not None
    measured = _measured(scene, first, ours[-1])
    return measured.model_copy(update={"recovered_by": None})


def _blind(scene: Scene, edge: Edge) -> str:
    """Why seeing nothing after an edge would mean nothing; empty when it means something."""
    population, rule = scene.population, scene.rule
    if rule.steady == 0:
        return "no ops in steady state: the rule cannot tell an outage from chance"
    since_ns = edge.lo_ns if edge.hi_ns is None else edge.hi_ns
    if scene.until_ns - since_ns < rule.window_ns:
        return "load ended less than a window after the effect"
    low, high = np.searchsorted(population.intended_ns, [since_ns, since_ns + rule.window_ns])
    if not rule.can_see(int(high - low)):
        return f"{int(high - low)} ops in the window after the effect: too few for the rule to see an outage"
    later = population.intended_ns[low:]
    silence = np.diff(np.concatenate(([since_ns], later, [scene.until_ns])))
    if int(silence.max()) > rule.window_ns:
        return "the load paused for longer than a window after the effect"
    return ""


def _origin(scene: Scene, injects: Sequence[Edge], ours: Sequence[int]) -> Edge | None:
    """The inject from which time counts: the stated one, else the first that caused a disruption."""
    if scene.recovery_from is not None:
        stated = [edge for edge in injects if scene.recovery_from in (edge.entry, edge.id)]
        return stated[0] if stated else None
    first = scene.found[ours[0]]
    if first.cause is not None and first.cause.edge == "inject":
        return first.cause
    before = [edge for edge in injects if edge.entry == first.incident]
    return before[0] if before else injects[0]


def _effect(edge: Edge) -> Interval:
    return Interval(lo_ns=edge.lo_ns, hi_ns=edge.hi_ns)


def _measured(scene: Scene, origin: Edge, place: int) -> Recovery:
    """Recovery from an edge's effect to the end of the disruption at `place`."""
    population, attributed = scene.population, scene.found[place]
    following = scene.found[place + 1].span.first if place + 1 < len(scene.found) else None
    back = regained(population, attributed.span, following)
    latest = origin.lo_ns if origin.hi_ns is None else origin.hi_ns
    lo_ns = max(0, back.lo_ns - latest)
    last_op = scene.op_id(attributed.span.last)
    # What follows may be another cause's disruption; until then service had been good for a stretch.
    observed = following is not None or (back.hi_ns is not None and scene.until_ns - back.hi_ns >= scene.rule.window_ns)
    if back.hi_ns is None or back.good is None or not observed:
        censored = max(0, int(population.intended_ns[attributed.span.last]) - latest)
        return Recovery(
            state="censored",
            interval=Interval(lo_ns=censored, hi_ns=None),
            from_fault=origin.id,
            effect=_effect(origin),
            last_bad_op=last_op,
            why="service was not good for a whole window afterwards",
        )
    return Recovery(
        state="recovered",
        interval=Interval(lo_ns=lo_ns, hi_ns=max(0, back.hi_ns - origin.lo_ns)),
        recovered_by=_recovered_by(scene, attributed, back),
        from_fault=origin.id,
        effect=_effect(origin),
        last_bad_op=last_op,
        first_good_op=scene.op_id(back.good),
    )


def _recovered_by(scene: Scene, attributed: Attributed, back: Regained) -> By:
    """Who brought service back: what came first, among the first revert of the cause and the steps, before it was back.

    Before the revert began: the stack, or a step that had begun by then. Ops still failing when the revert began (to
    within three mean gaps): the revert. Else it cannot be told.
    """
    assert back.hi_ns is not None
    reverts = [edge for edge in scene.edges if edge.edge == "revert" and _undoes(edge, attributed)]
    slack_ns = GAPS * _mean_gap_ns(scene.population)
    if reverts and back.hi_ns > reverts[0].lo_ns:
        span = attributed.span
        bads = scene.population.bad[span.first : span.last + 1]
        failing_ns = int(scene.population.done_ns[span.first : span.last + 1][bads].max())
        return "revert" if failing_ns >= reverts[0].lo_ns - slack_ns else "unclear"
    steps = [edge for edge in scene.edges if edge.edge == "step" and not edge.own]
    if any(step.lo_ns <= back.lo_ns for step in steps):
        return "step"
    return "unclear" if any(step.lo_ns < back.hi_ns for step in steps) else "stack"


def _undoes(revert: Edge, attributed: Attributed) -> bool:
    cause = attributed.cause
    if cause is not None and cause.edge == "inject":
        return revert.id == cause.id
    return revert.entry == attributed.incident


def _mean_gap_ns(population: Population) -> int:
    if len(population) < 2:
        return 0
    return int((population.intended_ns[-1] - population.intended_ns[0]) // (len(population) - 1))
