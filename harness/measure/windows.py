"""The disruption rule: which trailing windows hold more bad ops than the rule allows and than chance can explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.good import Bools, Graded, Ints
from harness.model.chance import critical_bad, upper_bound
from harness.model.plan import Plan

__all__ = ["Rule", "rule_of", "violating"]

DEFAULT_LEVEL = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rule of one run and population. `bad_upper_ratio` is the upper 95 % bound of the steady state's bad share.

    `level_ratio` is the good share below which a window of `window_ns` may violate. `steady` counts the valid ops of the
    steady state behind the bound: with none the bound is 1 and no window can violate.
    """

    window_ns: int
    level_ratio: float
    bad_upper_ratio: float
    steady: int
    steady_bad: int

    def can_see(self, window_ops: int) -> bool:
        """Whether a window of so many ops, all bad, would violate. If not, seeing no disruption means nothing."""
        return window_ops > 0 and critical_bad(window_ops, self.bad_upper_ratio) <= window_ops


def rule_of(graded: Graded, plan: Plan, steady_ns: tuple[int, int] | None) -> Rule:
    """The rule for a population: level and window from the plan, chance from its ops due in the steady state.

    Ops still open at the end of the steady state are left out: what broke them came later.
    """
    steady = bad = 0
    if steady_ns is not None:
        calm = graded.due(*steady_ns) & graded.valid & (graded.done_ns <= steady_ns[1])
        steady, bad = int(np.count_nonzero(calm)), int(np.count_nonzero(calm & graded.bad))
    recovered = plan.experiment.recovered_when
    level = DEFAULT_LEVEL
    if recovered.unit == "ratio" and recovered.measure.name in ("good", "availability"):
        level = recovered.value
    elif recovered.unit == "ratio" and recovered.measure.name == "bad":
        level = 1 - recovered.value
    return Rule(
        window_ns=plan.window_ns,
        level_ratio=level,
        bad_upper_ratio=upper_bound(bad, steady),
        steady=steady,
        steady_bad=bad,
    )


def violating(intended_ns: Ints, bad: Bools, rule: Rule) -> tuple[Bools, Ints]:
    """For each op (sorted by intended start), whether the window (t - window, t] that ends with it violates; and its first op
    (0 where no window with a bad op ends).

    A window violates when its good share is below the rule's level *and* its bad ops exceed chance (binomial tail below
    1e-6 at the bound). Ops of equal instants share one window. Source: DESIGN.md §9.
    """
    total = len(intended_ns)
    result, begin = np.zeros(total, dtype=np.bool_), np.zeros(total, dtype=np.int64)
    bads = np.flatnonzero(bad)
    if not len(bads):
        return result, begin
    low = int(
        np.searchsorted(intended_ns, intended_ns[bads[0]], side="left")
    )  # windows without a bad op are not looked at
    high = int(np.searchsorted(intended_ns, intended_ns[bads[-1]] + rule.window_ns, side="left"))
    ends = intended_ns[low:high]
    begin[low:high] = np.searchsorted(intended_ns, ends - rule.window_ns, side="right")
    end = np.searchsorted(intended_ns, ends, side="right")
    first = int(begin[low]) if high > low else 0
    sums = np.concatenate(([0], np.cumsum(bad[first : int(end[-1]) if high > low else 0], dtype=np.int64)))
    size = end - begin[low:high]
    bad_in = sums[end - first] - sums[begin[low:high] - first]
    below = bad_in > (1 - rule.level_ratio) * size + 1e-9
    if bool(below.any()):
        sizes, where = np.unique(size[below], return_inverse=True)
        critical = np.array([critical_bad(int(n), rule.bad_upper_ratio) for n in sizes], dtype=np.int64)
        result[low:high][below] = bad_in[below] >= critical[where]
    return result, begin
