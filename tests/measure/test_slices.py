"""Every measure by slice: what a slice has of its own, what cannot be told, and which slice is the worst."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from harness.history.op import Op
from harness.judge.observe import Case, Observation, observe
from harness.measure.measure import measure
from harness.model.experiment import SLO
from harness.model.measured import Measures
from harness.model.predicate import MeasureRef, Unit
from harness.spec.predicate import FAMILIES, SLICES
from tests.measure import scene

S, MS, EFFECT = scene.S, scene.MS, scene.EFFECT


def two_groups() -> list[Op]:
    """Group `sticky` is down for 4 s, `follow` for 1 s."""
    long, short = scene.ops_of(outages=(scene.outage(4),)), scene.ops_of(outages=(scene.outage(1),))
    mixed = [
        replace(one, group="sticky") if one.op % 2 else replace(other, group="follow")
        for one, other in zip(long, short, strict=True)
    ]
    return [op if op.phase == "load" else replace(op, group=None) for op in mixed]


@pytest.fixture(scope="module")
def case() -> Case:
    plan = scene.plan_of(slos=(SLO(name="availability", target_ratio=0.999, window_ns=30 * 86400 * S),))
    history = scene.history_of(two_groups())
    return Case(history=history, plan=plan, measures=measure(history, plan), checks=())


def seen(case: Case, name: str, unit: Unit = "ns", **where: str) -> Observation:
    return observe(case, MeasureRef(name=name, where=where), unit)


def test_each_group_has_its_own_measures_and_the_worst_is_named(case: Case) -> None:
    sticky, follow = seen(case, "recovery_time", group="sticky"), seen(case, "recovery_time", group="follow")
    assert sticky.lo <= 4 * S + MS <= sticky.hi + MS
    assert follow.lo <= 1 * S + MS <= follow.hi + MS
    assert seen(case, "recovery_time").hi == pytest.approx(sticky.hi, abs=100 * MS)
    assert case.measures.worst == {"availability": {"group": "sticky"}, "recovery_time": {"group": "sticky"}}
    assert seen(case, "gap", group="follow").hi == pytest.approx(S, abs=100 * MS)
    assert seen(case, "last_error_seen", group="sticky").hi == pytest.approx(4 * S, abs=100 * MS)
    assert seen(case, "first_success", group="follow").hi == pytest.approx(S, abs=100 * MS)
    assert seen(case, "failover", group="follow").hi == pytest.approx(S, abs=100 * MS)
    cost = seen(case, "budget.availability", "ratio", group="sticky")
    assert cost.hi == pytest.approx(4 / 2592, rel=0.1)
    assert seen(case, "burn.availability", "number", group="sticky").hi > seen(case, "burn.availability", "number").hi
    assert seen(case, "recovery_time.return", group="sticky").hi == 0
    assert seen(case, "data_loss", "count", group="sticky").hi == 0


def test_a_region_is_not_100_percent_available_because_only_answers_name_it(case: Case) -> None:
    """All 500 failures name no region: any of them may have been meant for either."""
    failed = case.measures.counts.bad
    good = seen(case, "good", "count", region="us").lo
    share = seen(case, "good", "ratio", region="us")
    assert (share.lo, share.hi) == (pytest.approx(good / (good + failed)), 1.0)
    why = f"{failed} operations that were not served do not say whether they belong to it"
    assert share.why == why
    bad = seen(case, "bad", "count", region="us")
    assert (bad.lo, bad.hi, bad.why) == (0, failed, why)
    for name in ("recovery_time", "recovery_time.return", "gap", "budget.availability"):
        assert seen(case, name, region="us").lo is None
        assert seen(case, name, region="us").why == why
    part = next(part for part in case.measures.slices if part.slice == {"region": "us"})
    assert (part.unplaced, part.recovery.state, part.instants) == (failed, "unknown", None)


def test_where_every_failure_says_where_a_region_is_measured() -> None:
    ops = [op if op.phase != "load" else replace(op, region=("eu", "us")[op.op % 2]) for op in two_groups()]
    found: Measures = measure(scene.history_of(ops), scene.plan_of())
    parts = {part.slice["region"]: part for part in found.slices if "region" in part.slice}
    assert {name: part.unplaced for name, part in parts.items()} == {"eu": 0, "us": 0}
    assert parts["us"].recovery.interval.hi_ns > parts["eu"].recovery.interval.hi_ns


def test_every_slice_that_the_grammar_allows_is_measured_or_says_why(case: Case) -> None:
    """No name and slice that validation lets pass is silently unknown."""
    values = {"group": "sticky", "region": "us", "f": "add", "served_by": "gw-us", "phase": "inject"}
    arguments = {"SLO": "availability", "pN": "p50", "pN.all": "p50.all"}
    for head, family in FAMILIES.items():
        if head in ("probe", "alert", "steady_state"):
            continue  # of their own sources, not of ops
        for rest in family.rests:
            name = f"{head}.{arguments.get(rest, rest)}" if rest else head
            for key in (None, *SLICES):
                if key is not None and (key not in family.slices or name == "recovery_time.prober"):
                    continue
                found = seen(case, name, family.unit, **({key: values[key]} if key else {}))
                assert found.lo is not None or found.why, (name, key)
                assert "cannot be measured here" not in found.why, (name, key, found.why)
                assert "no measure or check named" not in found.why, (name, key)
                assert found.lo is None or found.lo <= found.hi or math.isinf(found.hi)
