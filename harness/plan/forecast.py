"""What a run is expected to cost, at most what its objectives allow: outage seconds and their share of each error budget."""

from __future__ import annotations

from harness.model.experiment import Experiment
from harness.model.plan import BudgetForecast, PlannedFault

__all__ = ["forecasts", "recovery_limit_ns"]


def recovery_limit_ns(experiment: Experiment) -> int | None:
    """The limit on `recovery_time` over everything, or None when no objective states one."""
    limits = [
        int(stated.predicate.value)
        for stated in experiment.objectives
        if stated.predicate.measure.name == "recovery_time"
        and stated.predicate.op in ("<=", "<")
        and not stated.predicate.measure.where
    ]
    return min(limits, default=None)


def forecasts(experiment: Experiment, faults: tuple[PlannedFault, ...]) -> tuple[BudgetForecast, ...]:
    """One forecast per SLO: a full outage for each fault's recovery limit (its own length where none is stated).

    cost_share = S x at_drill/mean / ((1 - target) x window). Source: DESIGN 9, Budget.
    """
    limit = recovery_limit_ns(experiment)
    felt = [fault for fault in faults if not fault.expect_no_impact]
    incidents = {fault.entry for fault in felt}
    standing = sum(fault.for_ns or experiment.observe_ns for fault in felt)
    outage_ns = standing if limit is None else limit * len(incidents)
    traffic = experiment.traffic
    factor = traffic.at_drill_per_s / traffic.mean_per_s if traffic else 1.0
    return tuple(
        BudgetForecast(
            slo=slo.name,
            outage_s=outage_ns / 1e9,
            cost_share_ratio=outage_ns * factor / ((1 - slo.target_ratio) * slo.window_ns),
            notional=traffic is None,
        )
        for slo in experiment.slos
        if slo.target_ratio < 1
    )
