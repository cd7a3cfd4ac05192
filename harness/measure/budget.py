"""What the run cost each SLO's error budget: outage-equivalent seconds, share of the budget, burn, drills affordable."""

from __future__ import annotations

import numpy as np

from harness.measure.good import Bools, Graded, slo_latency_ns
from harness.measure.paging import Floats, burn_alerts
from harness.model.experiment import SLO
from harness.model.measured import BudgetCost
from harness.model.plan import Plan

__all__ = ["budget_costs", "slo_grades"]

STEP_NS = 1_000_000_000


def slo_grades(graded: Graded, slo: SLO) -> tuple[Bools, Bools]:
    """(valid, bad) of one SLO. An availability SLO asks for ok and right, a latency SLO for that in time."""
    valid = graded.ops.slice_(slo.on) & ~graded.cut & ~graded.dropped
    if slo.excludes:
        valid &= ~np.isin(graded.ops.ints("status"), np.array(slo.excludes, dtype=np.int64))
    good = graded.ok & ~graded.wrong
    if slo.under_ns is not None:
        good = good & (slo_latency_ns(graded.ops, slo, graded.done_ns) <= slo.under_ns)
    return valid, valid & ~good


def budget_costs(graded: Graded, plan: Plan, effect_ns: int | None = None) -> tuple[BudgetCost, ...]:
    """The cost to each SLO that has a budget (target below 1), in the document's order; all 0 when nothing was offered.

    S = sum over time of bad share x dt, in steps of 1 s; cost_share = S x at_drill/mean / ((1 - target) x window).
    Never clamped. Pages are counted from `effect_ns`. Source: DESIGN.md §9.
    """
    traffic = plan.experiment.traffic
    factor = traffic.at_drill_per_s / traffic.mean_per_s if traffic else 1.0
    basis = f"projected to {traffic.source}" if traffic else "notional: as if production traffic were steady"
    costs = []
    for slo in plan.experiment.slos:
        if slo.target_ratio >= 1:
            continue
        valid, bad = slo_grades(graded, slo)
        n_valid, n_bad = int(np.count_nonzero(valid)), int(np.count_nonzero(bad))
        begin_ns, bad_s = _bad_seconds(graded, valid, bad)
        outage_s = float(bad_s.sum())
        share = outage_s * factor / ((1 - slo.target_ratio) * slo.window_ns / 1e9)
        costs.append(
            BudgetCost(
                slo=slo.name,
                target_ratio=slo.target_ratio,
                window_ns=slo.window_ns,
                bad=n_bad,
                valid=n_valid,
                outage_s=outage_s,
                cost_share_ratio=share,
                burn_rate=n_bad / n_valid / (1 - slo.target_ratio) if n_valid else None,
                affordable=1 / share if share > 0 else None,
                left_before_ratio=plan.experiment.budget_left.get(slo.name),
                left_source="stated in the experiment" if slo.name in plan.experiment.budget_left else None,
                notional=traffic is None,
                basis=basis,
                pages=burn_alerts(slo, bad_s, None if effect_ns is None else (effect_ns - begin_ns) / STEP_NS, traffic),
            )
        )
    return tuple(costs)


def _bad_seconds(graded: Graded, valid: Bools, bad: Bools) -> tuple[int, Floats]:
    """When the first 1 s step begins, and (bad / valid) x its length for every step; a last, shorter one counts by its own.

    A step without a valid op says nothing and costs nothing.
    """
    if not bool(valid.any()):
        return 0, np.zeros(0)
    times = graded.intended_ns[valid]
    begin = int(times[0])
    step = (times - begin) // STEP_NS
    last = int(step[-1])
    lengths = np.ones(last + 1)
    lengths[-1] = max(1, int(times[-1]) - begin - last * STEP_NS) / STEP_NS
    in_step = np.bincount(step, minlength=last + 1)
    bad_in = np.bincount(step, weights=bad[valid], minlength=last + 1)
    share = np.divide(bad_in, in_step, out=np.zeros(last + 1), where=in_step > 0)
    return begin, np.asarray(share * lengths, dtype=np.float64)
