"""What a late or dropping load leaves standing: each objective by its own margin, never the whole run at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.history.op import Op
from harness.judge import judge
from harness.measure.measure import measure
from harness.model.experiment import SLO, SteadyState
from harness.model.plan import Plan
from harness.model.result import Result
from harness.model.verdict import Status, Verdict
from tests.measure import scene

S, MS, EFFECT, DRAIN = scene.S, scene.MS, scene.EFFECT, scene.DRAIN
LATE_NS = 40 * MS
"""More than three mean gaps at 200/s, 15 ms."""


def late(ops: list[Op], by_ns: int = LATE_NS, every: int = 20) -> list[Op]:
    """One op in twenty was sent late: so is the p99."""
    return [
        replace(op, sent_ns=op.intended_ns + by_ns, done_ns=max(op.done_ns, op.intended_ns + by_ns + 5 * MS))
        if op.phase == "load" and op.op % every == 0
        else op
        for op in ops
    ]


def judged(ops: list[Op], *limits, **changes) -> Result:
    plan: Plan = scene.plan_of(limits=limits or (scene.rule("recovery_time", "<=", 5 * S, "ns"),), **changes)
    history = scene.history_of(sorted(ops, key=lambda op: (op.intended_ns, op.op)))
    return judge(history, plan, measure(history, plan), ())


def status(result: Result, place: int = 0) -> Status:
    return result.objectives[place].status


def outage(length_s: float = 1) -> list[Op]:
    return scene.ops_of(outages=(scene.outage(length_s),))


def test_a_limit_far_from_what_was_seen_stands_though_the_load_was_late() -> None:
    result = judged(late(outage()))
    assert result.validity.late_p99_ns == LATE_NS and result.validity.resolution_ns < LATE_NS
    assert result.verdict is Verdict.PASS, result.reasons
    assert any(finding.severity == "low" and "started late (p99 40" in finding.text for finding in result.findings)


def test_a_limit_nearer_than_the_lateness_is_unknown_and_only_that_one() -> None:
    limits = (scene.rule("recovery_time", "<=", 1040 * MS, "ns"), scene.rule("gap", "<=", 3 * S, "ns"))
    assert [status(judged(outage(), *limits), place) for place in (0, 1)] == [Status.MET, Status.MET]
    result = judged(late(outage()), *limits)
    assert [status(result, place) for place in (0, 1)] == [Status.UNKNOWN, Status.MET]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert {reason.code for reason in result.reasons} == {"recovery_time", "untrusted-load"}
    assert result.objectives[0].why == "the load was started late (p99 40 ms): an outage as long could have decided it"


@pytest.mark.parametrize(("limit_ms", "expected"), [(50, Status.UNKNOWN), (900, Status.MET)])
def test_a_latency_limit_claims_what_lies_between_it_and_the_latency(limit_ms: int, expected: Status) -> None:
    result = judged(late(outage(), every=60), scene.rule("latency.p95", "<=", limit_ms * MS, "ns"))
    assert result.validity.late_p99_ns == LATE_NS
    assert status(result) is expected


@pytest.mark.parametrize(("room", "expected"), [(0.03, Status.MET), (0.001, Status.UNKNOWN), (-0.03, Status.MISSED)])
def test_a_share_claims_the_outage_that_would_turn_it(room: float, expected: Status) -> None:
    """40 ms of outage are a sixth of a percent of a run of 23 s."""
    exact = judged(outage(), scene.rule("good", ">=", 0.9, "ratio")).objectives[0].lo
    assert exact is not None
    assert status(judged(late(outage()), scene.rule("good", ">=", exact - room, "ratio"))) is expected


def test_a_budget_claims_the_outage_that_would_turn_it() -> None:
    slos = (SLO(name="availability", target_ratio=0.999, window_ns=30 * 86400 * S),)
    cost = judged(outage(), slos=slos).measures.budgets[0].cost_share_ratio
    per_s = 1 / 2592
    for room_s, expected in ((0.02, Status.UNKNOWN), (0.08, Status.MET)):
        limit = scene.rule("budget.availability", "<=", cost + room_s * per_s, "ratio")
        assert status(judged(late(outage()), limit, slos=slos)) is expected, room_s


def test_a_limit_that_is_missed_through_late_ops_alone_is_no_failure() -> None:
    """A starved generator times out by itself: its late ops, all bad, seem to stretch a second into six."""
    starved = [
        replace(op, sent_ns=op.intended_ns + 300 * MS, done_ns=op.intended_ns + S, outcome="info", error="timeout")
        if op.phase == "load" and EFFECT + S < op.intended_ns < EFFECT + 6 * S and op.op % 2
        else op
        for op in outage()
    ]
    result = judged(starved, scene.rule("recovery_time", "<=", 3 * S, "ns"))
    assert result.measures.recovery.interval.lo_ns > 4 * S
    assert status(result) is Status.UNKNOWN and result.verdict is Verdict.INCONCLUSIVE
    assert "without the late ops it would not be missed" in result.objectives[0].why


def test_an_outage_that_lasts_is_missed_however_late_the_load() -> None:
    assert status(judged(late(outage(7)))) is Status.MISSED


def test_what_does_not_rest_on_pace_stands_alone() -> None:
    calm = SteadyState(for_ns=5 * S, require=(), after=False)
    plan = scene.plan_of(limits=(scene.rule("data_loss", "=", 0, "count"),))
    plan = replace(plan, experiment=replace(plan.experiment, steady_state=calm))
    history = scene.history_of(late(outage(), by_ns=3 * S))
    result = judge(history, plan, measure(history, plan), ())
    assert result.verdict is Verdict.PASS, result.reasons


def dropping(ops: list[Op], begin_ns: int, end_ns: int) -> list[Op]:
    """One arrival in ten of a stretch was not started."""
    return [
        replace(op, outcome="dropped", sent_ns=None, done_ns=None, region=None, served_by=None)
        if op.phase == "load" and begin_ns <= op.intended_ns < end_ns and op.op % 10 == 0
        else op
        for op in ops
    ]


def test_dropped_arrivals_make_unknown_what_the_load_measured_then() -> None:
    limits = (scene.rule("recovery_time", "<=", 5 * S, "ns"), scene.rule("data_loss", "=", 0, "count"))
    early = judged(dropping(outage(), EFFECT, EFFECT + 4 * S), *limits)
    assert [objective.status for objective in early.objectives] == [Status.UNKNOWN, Status.MET, Status.MET]
    assert early.objectives[0].why.startswith("the load generator dropped")
    assert early.objectives[2].measure == "steady_state.after"
    late_drops = judged(dropping(outage(), DRAIN - 4 * S, DRAIN), *limits)
    assert [objective.status for objective in late_drops.objectives] == [Status.UNKNOWN, Status.MET, Status.UNKNOWN]


def test_no_impact_needs_a_load_that_would_have_seen_one() -> None:
    plan = scene.plan_of(limits=())
    plan = replace(plan, faults=(replace(plan.faults[0], expect_no_impact=True),))

    def impact(ops: list[Op]) -> Status:
        history = scene.history_of(ops)
        return judge(history, plan, measure(history, plan), ()).objectives[0].status

    assert impact(scene.ops_of()) is Status.MET
    assert impact(late(scene.ops_of(), by_ns=400 * MS)) is Status.UNKNOWN
    assert impact(late(outage())) is Status.MISSED
