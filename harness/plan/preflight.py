"""What may forbid a planned run now: blackout windows, and an error budget that it would overdraw. Pure: the time is handed in."""

from __future__ import annotations

from datetime import datetime, timedelta

from harness.model.plan import Plan
from harness.model.stack import Blackout
from harness.units import format_ratio

__all__ = ["blackouts_met", "overdrawn"]


def blackouts_met(plan: Plan, now: datetime) -> tuple[Blackout, ...]:
    """The windows of stack and experiment that the run, at its longest, would touch when it begins `now` (with a time zone)."""
    ends = now + timedelta(microseconds=plan.longest_ns / 1_000)
    windows = (*plan.experiment.stack.blackouts, *plan.experiment.blackouts)
    return tuple(
        window
        for window in windows
        if datetime.fromisoformat(window.from_utc) < ends and now < datetime.fromisoformat(window.until_utc)
    )


def overdrawn(plan: Plan) -> tuple[str, ...]:
    """In words, every SLO of which the predicted cost is more than the experiment says is left; unstated budgets are not judged."""
    left = plan.experiment.budget_left
    return tuple(
        f"{forecast.slo}: the run may cost {format_ratio(forecast.cost_share_ratio)} of the budget"
        f"{' (notional: no `traffic` declared)' if forecast.notional else ''}, {format_ratio(left[forecast.slo])} is left"
        for forecast in plan.forecasts
        if forecast.slo in left and forecast.cost_share_ratio > left[forecast.slo]
    )
