"""Blackout windows, budget left, and the drift of a frozen plan (B8), over literal plans."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from harness.errors import UnsafeError
from harness.model.experiment import SLO, ArrivalSpec, Experiment, LoadSpec, SteadyState, Traffic
from harness.model.plan import BudgetForecast, Plan, PlannedFault, Target
from harness.model.predicate import MeasureRef, Predicate
from harness.model.stack import Blackout, Stack
from harness.plan.drift import drift
from harness.plan.make import plan_hash
from harness.plan.preflight import blackouts_met, overdrawn
from harness.run.permit import Consent, permit

S = 1_000_000_000
FREEZE = Blackout(from_utc="2026-12-15T00:00:00+00:00", until_utc="2027-01-06T00:00:00+00:00", why="freeze")


def plan(*targets: str, **more: object) -> Plan:
    experiment = Experiment(
        name="t",
        title="t",
        hypothesis="h",
        source="/a/t.yaml",
        base_dir="/a",
        stack=Stack(name="shop", base_dir="/a", instances={}),
        seed=1,
        load=LoadSpec(profile="http", arrival=ArrivalSpec(rate_per_s=10), timeout_ns=S),
        steady_state=SteadyState(for_ns=S, require=()),
        recovered_when=Predicate(measure=MeasureRef(name="good"), op=">=", value=0.9, unit="ratio", text="good >= 90%"),
        slos=(SLO(name="availability", target_ratio=0.999, window_ns=1),),
    )
    fault = PlannedFault(
        id="down",
        entry="down",
        kind="kill",
        params={},
        targets=tuple(Target(kind="instance", name=name) for name in targets or ("gw-eu", "db-eu")),
        at_ns=0,
        for_ns=S,
        what="",
        clients_see="",
        on_revert="",
    )
    made = Plan(
        experiment=dataclasses.replace(experiment, **more),  # type: ignore[arg-type]
        faults=(fault,),
        window_ns=S,
        longest_ns=3600 * S,
    )
    return dataclasses.replace(made, hash=plan_hash(made))


@pytest.mark.parametrize(
    ("now", "met"),
    [
        (datetime(2026, 12, 14, 22, 59, tzinfo=UTC), False),
        (datetime(2026, 12, 14, 23, 1, tzinfo=UTC), True),  # it would end inside
        (datetime(2026, 12, 31, tzinfo=UTC), True),
        (datetime(2027, 1, 5, 23, 59, tzinfo=UTC), True),
        (datetime(2027, 1, 6, tzinfo=UTC), False),
    ],
)
def test_a_run_that_would_touch_a_window_is_met_by_it(now: datetime, met: bool) -> None:
    assert bool(blackouts_met(plan(blackouts=(FREEZE,)), now)) is met
    of_stack = Stack(name="shop", base_dir="/a", instances={}, blackouts=(FREEZE,))
    assert bool(blackouts_met(plan(stack=of_stack), now)) is met


def test_a_blackout_is_refused_with_its_reason_and_waived_by_one() -> None:
    inside = datetime(2026, 12, 31, tzinfo=UTC)
    with pytest.raises(UnsafeError, match=r"blackout window: freeze .*--during-blackout"):
        permit(plan(blackouts=(FREEZE,)), Consent(), inside)
    with pytest.raises(UnsafeError):
        permit(plan(blackouts=(FREEZE,)), Consent(during_blackout="  "), inside)
    (note,) = permit(plan(blackouts=(FREEZE,)), Consent(during_blackout="CEO asked"), inside)
    assert (note.code, note.level, note.text) == (
        "during-blackout",
        "warning",
        "run in a blackout window: CEO asked",
    )
    assert permit(plan(), Consent(during_blackout="not needed"), inside) == ()


def test_a_budget_that_the_run_would_overdraw_is_refused() -> None:
    costly = dataclasses.replace(
        plan(budget_left={"availability": 0.002}, traffic=Traffic(at_drill_per_s=1, mean_per_s=1, source="x")),
        forecasts=(BudgetForecast(slo="availability", outage_s=6, cost_share_ratio=0.0025, notional=False),),
    )
    assert overdrawn(costly) == ("availability: the run may cost 0.25 % of the budget, 0.2 % is left",)
    with pytest.raises(UnsafeError, match=r"budget left below predicted cost: availability"):
        permit(costly, Consent(), datetime.now(UTC))
    enough = dataclasses.replace(costly.experiment, budget_left={"availability": 0.0025})
    assert overdrawn(dataclasses.replace(costly, experiment=enough)) == ()
    unstated = dataclasses.replace(costly.experiment, budget_left={})
    assert overdrawn(dataclasses.replace(costly, experiment=unstated)) == ()


def test_a_protected_environment_is_confirmed_by_its_stacks_name() -> None:
    protected = dataclasses.replace(plan(), protected=True)
    for wrong in (None, "Shop", "other"):
        with pytest.raises(UnsafeError, match="--confirm-target shop"):
            permit(protected, Consent(confirmed=wrong), datetime.now(UTC))
    (note,) = permit(protected, Consent(confirmed="shop"), datetime.now(UTC))
    assert note.code == "confirmed"


def test_drift_names_targets_first_then_what_else_changed() -> None:
    frozen = plan()
    assert drift(frozen, plan()) == ()
    assert drift(frozen, plan("gw-eu", "cache-eu", "db-eu")) == ("fault down: targets +instance cache-eu",)
    assert drift(frozen, plan("gw-eu", "db-us")) == ("fault down: targets -instance db-eu +instance db-us",)
    assert drift(frozen, plan("db-us", seed=8)) == (
        "fault down: targets -instance gw-eu -instance db-eu +instance db-us",
        "experiment.seed: 1 -> 8",
    )
    without = dataclasses.replace(frozen, faults=())
    without = dataclasses.replace(without, hash=plan_hash(without))
    assert drift(frozen, without)[0] == "fault down: gone, with its targets instance gw-eu, instance db-eu"
    assert drift(without, frozen)[0] == "fault down: new, on instance gw-eu, instance db-eu"
    moved = plan(source="/b/t.yaml", base_dir="/b", stack=Stack(name="shop", base_dir="/b", instances={}))
    assert drift(frozen, moved) == (), "another folder is not another plan"
