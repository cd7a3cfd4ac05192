"""The verdict of whole literal runs: one healthy, and one for every way in which a run proves nothing, or something bad."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.history.events import AbortEvent, FaultEvent, NoteEvent, ProbeEvent
from harness.history.history import History
from harness.history.table import OpTable
from harness.judge import Inputs, judge, matches_expectation, words
from harness.judge.objectives import observed_words, steady_status
from harness.judge.observe import Case, Observation
from harness.measure.good import steady_span
from harness.measure.measure import measure
from harness.model.result import CheckResult, Safety
from harness.model.verdict import CheckVerdict, Status, Verdict
from harness.report.tiles import build_tiles
from harness.spec.predicate import parse_predicate

_spec = importlib.util.spec_from_file_location("scene", Path(__file__).parent / "measure" / "scene.py")
assert _spec is not None and _spec.loader is not None
scene = importlib.util.module_from_spec(_spec)
sys.modules["scene"] = scene
_spec.loader.exec_module(scene)

S, MS, EFFECT, REVERT = scene.S, scene.MS, scene.EFFECT, scene.REVERT


def judged(history, plan=None, checks=(), **inputs):
    plan = plan or scene.plan_of()
    return judge(history, plan, measure(history, plan), checks, Inputs(**inputs))


ONE_SECOND = (scene.outage(1),)


def run(outages=ONE_SECOND, plan=None, checks=(), ops=None, **changes):
    ops = scene.ops_of(outages=outages) if ops is None else ops
    return judged(scene.history_of(ops, **changes), plan, checks)


def codes(result):
    return {reason.code for reason in result.reasons if reason.verdict is result.verdict}


def test_a_healthy_run_passes_with_the_truth_inside_its_interval() -> None:
    result = run()
    assert result.verdict is Verdict.PASS, result.reasons
    recovery = result.measures.recovery
    assert recovery.state == "recovered" and recovery.recovered_by == "stack"
    assert recovery.interval.lo_ns <= S <= recovery.interval.hi_ns
    assert result.sentence.startswith("The region dies: service was back in at most 1")
    assert result.sentence.endswith(" s (limit 5 s), and nothing was lost.")
    assert result.faults[0].exposure.met and result.measures.loss.lost == 0
    assert result.measures.recovery_return.state == "none"
    assert (result.safety.journaled, result.safety.reverted, result.safety.verified) == (1, 1, 1)
    assert [o.status for o in result.objectives] == [Status.MET] * 3


def test_the_headline_states_the_upper_bound_that_the_tile_shows() -> None:
    result = run()
    tile = build_tiles(result, 5 * S)[0]
    bounds = re.fullmatch(r"\(([\d.]+) to ([\d.]+) (m?s)\)", tile.figure)
    assert bounds is not None, tile.figure
    assert f"service was back in at most {bounds[2]} {bounds[3]} (limit 5 s)" in result.sentence


def test_recovery_counts_from_the_fault_that_is_named() -> None:
    plan = scene.plan_of()
    other = replace(plan.faults[0], id="cut", entry="cut", at_ns=0)
    earlier = scene.fault_events(effect=EFFECT - S // 2, name="cut")
    plan = replace(plan, faults=(other, *plan.faults))
    events = [*earlier, *scene.fault_events()]
    whole = run(plan=plan, faults=events).measures.recovery
    named = run(plan=replace(plan, experiment=replace(plan.experiment, recovery_from="cut")), faults=events)
    assert whole.from_fault == "eu-down"
    assert named.measures.recovery.from_fault == "cut"
    assert named.measures.recovery.interval.hi_ns - whole.interval.hi_ns == S // 2


def test_too_slow_a_recovery_fails() -> None:
    result = run(outages=(scene.outage(6),))
    assert result.verdict is Verdict.FAIL
    assert matches_expectation(result, "FAIL:recovery_time")
    assert not matches_expectation(result, "FAIL:durable")
    assert not matches_expectation(result, "PASS")


def test_lost_writes_fail_and_are_counted() -> None:
    ops = scene.ops_of(outages=(scene.outage(1),), lost=frozenset({1000, 1001}))
    result = run(ops=ops)
    assert result.verdict is Verdict.FAIL and codes(result) == {"data_loss"}
    assert result.measures.loss.lost == 2
    assert result.measures.loss.holes == 2
    assert result.measures.loss.regions == {"eu": 2, "us": 2}


def test_recovery_by_revert_inside_the_limit_is_unknown() -> None:
    plan = scene.plan_of(limits=(scene.rule("recovery_time", "<=", 15 * S, "ns"),))
    result = run(outages=(scene.outage(8),), plan=plan)
    assert result.measures.recovery.recovered_by == "revert"
    assert result.verdict is Verdict.INCONCLUSIVE
    itself = replace(plan, faults=(replace(plan.faults[0], ends_itself=True),))
    assert run(outages=(scene.outage(8),), plan=itself).verdict is Verdict.PASS


def test_a_second_dip_after_the_revert_is_the_return() -> None:
    dips = (scene.outage(1), scene.outage(0.5, start_ns=REVERT + 10 * MS))
    result = run(outages=dips)
    assert result.measures.recovery.interval.hi_ns < 1.2 * S
    back = result.measures.recovery_return
    assert back.state == "recovered" and back.interval.lo_ns <= 0.51 * S <= back.interval.hi_ns
    assert any("second time" in finding.text for finding in result.findings)


def test_an_outage_that_never_ends_is_censored_and_fails_when_it_exceeds_the_limit() -> None:
    result = run(outages=(scene.outage(60),))
    assert result.measures.recovery.state == "censored"
    assert result.measures.recovery.interval.hi_ns is None
    assert result.verdict is Verdict.FAIL


def test_a_freeze_that_clients_wait_out_is_masked() -> None:
    result = run(outages=(scene.outage(2, "freeze"),))  # the simulated client gives up after 1 s
    assert result.measures.recovery.interval.lo_ns <= 2 * S <= result.measures.recovery.interval.hi_ns
    ops = scene.ops_of(outages=(scene.outage(1, "freeze"),), timeout_ns=10 * S)
    result = run(ops=ops)
    assert result.measures.recovery.state == "none" and result.measures.recovery.masked


def gone(stage: str):
    return [event for event in scene.fault_events() if event.stage != stage]


def swapped(old: str, new: str):
    return [replace(event, stage=new) if event.stage == old else event for event in scene.fault_events()]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"faults": swapped("witnessed", "not-witnessed")}, "not-witnessed"),
        ({"faults": gone("witnessed")}, "not-witnessed"),
        ({"faults": swapped("still-there", "gone-early")}, "gone-early"),
        ({"faults": []}, "not-injected"),
        ({"exit_code": 1}, "dead-worker"),
        ({"started": 17}, "unaccounted"),
        ({"more": (NoteEvent(at_ns=EFFECT, code="inject", text="no", level="unprovable"),)}, "inject"),
    ],
)
def test_no_vacuous_pass(changes, code: str) -> None:
    result = run(**changes)
    assert result.verdict is Verdict.INCONCLUSIVE, result.reasons
    assert code in codes(result)
    assert result.exit_code == 3


def test_load_that_bypasses_the_target_is_no_exposure() -> None:
    ops = [replace(op, region="us", served_by="gw-us") if op.phase == "load" else op for op in scene.ops_of()]
    result = run(ops=ops)
    assert result.verdict is Verdict.INCONCLUSIVE and "no-exposure" in codes(result)


def test_load_that_never_arrives_proves_nothing() -> None:
    result = run(ops=[])
    assert result.verdict is Verdict.INCONCLUSIVE and "no-load" in codes(result)


def test_no_final_read_proves_nothing() -> None:
    ops = [op for op in scene.ops_of(outages=(scene.outage(1),)) if op.phase == "load"]
    result = run(ops=ops)
    assert result.verdict is Verdict.INCONCLUSIVE and codes(result) == {"data_loss"}
    assert result.measures.loss.lost is None


def test_an_outage_before_the_fault_is_not_the_fault() -> None:
    result = run(outages=(scene.outage(0.5, start_ns=scene.T0 - 3 * S),))
    assert result.verdict is Verdict.INCONCLUSIVE and "steady-state" in codes(result)
    said = [reason.text for reason in result.reasons if "not met before" in reason.text]
    assert said == ["the steady state was not met before the faults: good >= 0.97 (observed 90.24 %)"]


def hung(begin_ns: int, end_ns: int, done_ns: int) -> list:
    """Ops due in [begin, end) end without an answer, at `done`."""
    return [
        replace(op, outcome="info", error="timeout", done_ns=done_ns, region=None, served_by=None)
        if op.phase == "load" and begin_ns <= op.intended_ns < end_ns
        else op
        for op in scene.ops_of()
    ]


def before(ops, **changes) -> tuple[Status, str]:
    plan = scene.plan_of(**changes)
    history = scene.history_of(ops)
    case = Case(history=history, plan=plan, measures=measure(history, plan), checks=())
    return steady_status(case, steady_span(history))


def test_what_was_under_way_at_t0_says_nothing_of_the_time_before() -> None:
    # 50 of the 1,000 ops of the steady state wait for an answer when the timeline begins; a fault at once would end them.
    assert before(hung(scene.T0 - 250 * MS, scene.T0, scene.T0 + 500 * MS)) == (Status.MET, "")


def test_what_was_overdue_at_t0_counts_although_it_ended_later() -> None:
    # The client gives up after 1 s: these waited longer, on a stack that hung before anything was broken.
    ops = hung(scene.T0 - 2 * S, scene.T0 - 1500 * MS, scene.T0 + 500 * MS)
    assert before(ops) == (Status.MISSED, "good >= 0.97 (observed 90.24 %)")
    limit = (scene.SLO(name="availability", target_ratio=0.99, window_ns=30 * 86400 * S),)
    slow = (scene.SLO(name="latency", target_ratio=0.99, window_ns=30 * 86400 * S, under_ns=200 * MS),)
    ops = hung(scene.T0 - 500 * MS, scene.T0, scene.T0 + 500 * MS)
    assert before(ops, slos=limit) == (Status.MET, "")
    assert before(ops, slos=slow)[0] is Status.MISSED, "over the limit of an SLO is bad before it ends"


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        (AbortEvent(at_ns=EFFECT, by="signal", reason="ctrl-c"), Verdict.ABORTED),
        (AbortEvent(at_ns=EFFECT, by="error", reason="bug"), Verdict.ERROR),
        (NoteEvent(at_ns=EFFECT, code="residue", text="left", level="dirty"), Verdict.DIRTY),
        (
            FaultEvent(at_ns=REVERT + 5 * MS, id="eu-down", kind="kill", target="gw-eu", stage="unverified"),
            Verdict.DIRTY,
        ),
        (NoteEvent(at_ns=EFFECT, code="refused", text="port in use", level="refused"), Verdict.REFUSED),
    ],
)
def test_what_outranks_a_pass(more, verdict: Verdict) -> None:
    assert run(more=(more,)).verdict is verdict


def test_a_run_refused_before_anything_was_broken_fails_no_objective() -> None:
    """What was there before the drill is no result of it: exit 4, not 1."""
    limits = (scene.rule("good", ">=", 1.0, "ratio"),)
    refused = NoteEvent(at_ns=EFFECT, code="refused", text="steady state not met: good >= 99%", level="refused")
    result = run(plan=scene.plan_of(limits=limits), faults=[], more=(refused,))
    assert result.objectives[0].status is Status.MISSED
    assert (result.verdict, result.exit_code) == (Verdict.REFUSED, 4)
    assert {reason.verdict for reason in result.reasons} == {Verdict.REFUSED}


def test_a_steady_state_that_the_record_cannot_show_proves_nothing() -> None:
    plan = scene.plan_of()
    steady = replace(
        plan.experiment.steady_state, require=(scene.rule("probe.lag.max", "<=", 1, "number"),), after=False
    )
    result = run(plan=replace(plan, experiment=replace(plan.experiment, steady_state=steady)))
    assert result.verdict is Verdict.INCONCLUSIVE and codes(result) == {"steady-state"}


def test_unresolved_faults_make_it_dirty() -> None:
    history = scene.history_of(scene.ops_of(outages=(scene.outage(1),)))
    assert judged(history, safety=Safety(unresolved=("eu-down@gw-eu",))).verdict is Verdict.DIRTY


def test_checks_are_objectives_and_their_counts_are_measures() -> None:
    plan = scene.plan_of(checks=("durable",), limits=(scene.rule("durable.lost", "=", 0, "count"),))
    bad = CheckResult(
        name="durable", kind="durable", verdict=CheckVerdict.INVALID, sentence="2 lost", counts={"lost": 2}
    )
    result = run(plan=plan, checks=(bad,))
    assert matches_expectation(result, "FAIL:durable") and matches_expectation(result, "FAIL:durable.lost")
    assert run(plan=plan, checks=()).verdict is Verdict.INCONCLUSIVE
    crashed = bad.model_copy(update={"verdict": CheckVerdict.UNKNOWN, "counts": {}, "why_unknown": "it crashed"})
    assert run(plan=plan, checks=(crashed,)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.slow
def test_a_record_torn_anywhere_is_never_a_pass_and_never_an_exception() -> None:
    whole = scene.history_of(scene.ops_of(outages=(scene.outage(1),)))
    assert judged(whole).verdict is Verdict.PASS
    for length in range(len(whole.events)):
        torn = History(ops=whole.ops, events=whole.events[:length])
        assert judged(torn).verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.DIRTY), length
        empty = History(ops=OpTable.of([]), events=whole.events[:length])
        assert judged(empty).verdict is not Verdict.PASS


def test_a_run_without_a_fault_passes_and_states_no_recovery() -> None:
    limits = (scene.rule("good", ">=", 0.99, "ratio"), scene.rule("latency.p99", "<=", S, "ns"))
    plan = replace(scene.plan_of(limits=limits), faults=())
    result = run(outages=(), plan=plan, faults=[])
    assert result.verdict is Verdict.PASS, result.reasons
    assert result.measures.recovery.state == "unknown" and result.measures.recovery.interval is None
    assert result.measures.disruptions == ()
    assert result.measures.smallest_outage_ns is not None, "the noise floor: what this load could have seen"
    broken = run(outages=(scene.outage(1),), plan=plan, faults=[])
    assert broken.verdict is not Verdict.PASS


def test_a_verdict_inside_the_noise_floor_is_refused() -> None:
    """No breach was seen, and yet an outage longer than the limit could have gone unseen at this load."""
    calm = run(outages=(), plan=scene.plan_of(limits=(scene.rule("recovery_time", "<=", S, "ns"),)))
    floor = calm.measures.smallest_outage_ns
    assert floor is not None and calm.measures.recovery.state == "none"
    for limit, status in ((floor // 2, Status.UNKNOWN), (floor, Status.MET), (0, Status.MET)):
        plan = scene.plan_of(limits=(scene.rule("recovery_time", "<=", limit, "ns"),))
        (objective,) = [one for one in run(outages=(), plan=plan).objectives if one.measure == "recovery_time"]
        assert objective.status is status, (limit, objective)
        assert ("below the noise floor" in objective.why) is (status is Status.UNKNOWN)


@pytest.mark.parametrize("ok", [None, False])
def test_a_probe_that_gave_no_sample_makes_its_objective_unknown(ok: bool | None) -> None:
    """A metric source that is empty, or only ever fails, is not a metric of zero."""
    samples = tuple(
        ProbeEvent(at_ns=EFFECT + n * S, took_ns=MS, name="lag", ok=False, error="empty answer") for n in range(5)
    )
    plan = scene.plan_of(limits=(scene.rule("probe.lag.max", "<=", 1, "number"),))
    result = run(plan=plan, more=samples if ok is False else ())
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.objectives[0].status is Status.UNKNOWN and result.objectives[0].observed == "unknown"
    assert "no sample" in result.objectives[0].why


def test_bounds_are_rounded_outward_wherever_they_stand() -> None:
    predicate = parse_predicate("recovery_time <= 5s")
    assert observed_words(Observation(lo=1_372_100_000.0, hi=1_894_900_000.0), predicate) == "1.37 to 1.90 s"
    assert observed_words(Observation(lo=2e9, hi=2e9), predicate) == "2 s"


def test_errors_that_are_no_outage_are_not_called_nothing() -> None:
    recovery = SimpleNamespace(state="none", masked=False)
    some, none = (SimpleNamespace(recovery=recovery, counts=SimpleNamespace(bad=bad, valid=486)) for bad in (16, 0))
    assert words._recovery_words(some, ()) == "16 of 486 requests failed, too few to tell an outage from chance"  # type: ignore[arg-type]
    assert words._recovery_words(none, ()) == "clients noticed nothing"  # type: ignore[arg-type]
