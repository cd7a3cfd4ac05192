"""Measures of literal runs, their invariances, and the live view."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history.events import EFFECT as EFFECT_TOLD
from harness.history.events import LoadEvent, NoteEvent, SignalEvent, StepEvent
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable
from harness.measure.exposure import exposure
from harness.measure.finals import values_in
from harness.measure.good import grade
from harness.measure.live import LiveWindow, quantile_of
from harness.measure.measure import measure
from harness.measure.series import series, silence
from harness.model.experiment import SLO
from harness.model.measured import Interval
from harness.model.plan import PlannedStep, Target
from harness.model.ports import LiveBatch, LiveOp

if "scene" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("scene", Path(__file__).with_name("scene.py"))
    assert _spec is not None and _spec.loader is not None
    sys.modules["scene"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["scene"])
scene = sys.modules["scene"]

S, MS, EFFECT, REVERT = scene.S, scene.MS, scene.EFFECT, scene.REVERT


def measured(ops, plan=None, **changes):
    return measure(scene.history_of(ops, **changes), plan or scene.plan_of())


@pytest.mark.slow
@pytest.mark.parametrize("errors", [0.0, 0.001, 0.01])
@pytest.mark.parametrize(("kind", "length_s"), [("refuse", 0.3), ("reset", 1), ("freeze", 3)])
def test_the_whole_way_states_an_interval_that_holds_the_truth(kind: str, length_s: float, errors: float) -> None:
    for seed in range(7):
        ops = scene.ops_of(seed, outages=(scene.outage(length_s, kind),), errors=errors)
        recovery = measured(ops).recovery
        assert recovery.interval is not None and recovery.interval.hi_ns is not None, (seed, recovery)
        assert recovery.interval.lo_ns <= int(length_s * S) + MS, (seed, recovery)
        assert recovery.interval.hi_ns >= int(length_s * S), (seed, recovery)


def shifted(history: History, by_ns: int) -> History:
    ops = [
        replace(
            op,
            intended_ns=op.intended_ns + by_ns,
            sent_ns=None if op.sent_ns is None else op.sent_ns + by_ns,
            done_ns=None if op.done_ns is None else op.done_ns + by_ns,
        )
        for op in history.ops.ops()
    ]
    return History(
        ops=OpTable.of(ops), events=tuple(replace(event, at_ns=event.at_ns + by_ns) for event in history.events)
    )


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(by_ns=st.integers(1, 10**15), add=st.integers(1, 10**9))
def test_shifting_time_and_renaming_ops_changes_no_measure(by_ns: int, add: int) -> None:
    history = scene.history_of(scene.ops_of(outages=(scene.outage(1),), errors=0.01))
    one = measure(history, scene.plan_of())
    two = measure(shifted(history, by_ns), scene.plan_of())
    assert one.recovery.interval == two.recovery.interval
    assert (one.counts, one.loss, one.budgets, one.latency) == (two.counts, two.loss, two.budgets, two.latency)
    renamed = History(ops=OpTable.of([replace(op, op=op.op + add) for op in history.ops.ops()]), events=history.events)
    assert measure(renamed, scene.plan_of()).recovery.interval == one.recovery.interval


def test_slices_sum_to_the_whole_and_drops_open_an_interval() -> None:
    ops = scene.ops_of(outages=(scene.outage(1),))
    ops = [replace(op, group=("a", "b")[op.op % 2]) if op.phase == "load" else op for op in ops]
    ops += [Op(op=2 * 10**6 + n, f="add", group="a", intended_ns=EFFECT + n, outcome="dropped") for n in range(10)]
    found = measured(ops)
    groups = [part.counts for part in found.slices if "group" in part.slice]
    for name in ("offered", "valid", "good", "bad", "dropped"):
        assert sum(getattr(part, name) for part in groups) == getattr(found.counts, name)
    counts = found.counts
    assert counts.offered == counts.valid + counts.cut + counts.dropped + counts.excluded
    assert counts.dropped == 10
    assert found.availability.lo_ratio == counts.good / (counts.valid + 10)
    assert found.availability.hi_ratio == counts.good / counts.valid


def test_budget_of_a_full_second_is_a_second() -> None:
    cost = measured(scene.ops_of(outages=(scene.outage(1),))).budgets[0]
    assert cost.outage_s == pytest.approx(1.0, abs=0.15)
    assert cost.cost_share_ratio == pytest.approx(cost.outage_s / 2592)
    assert cost.notional


def test_a_latency_slo_makes_a_waited_out_freeze_visible() -> None:
    slos = (SLO(name="fast", target_ratio=0.99, window_ns=30 * 86400 * S, under_ns=100 * MS),)
    ops = scene.ops_of(outages=(scene.outage(1, "freeze"),), timeout_ns=10 * S)
    found = measured(ops, scene.plan_of(slos=slos))
    assert found.recovery.state == "recovered"
    assert found.recovery.interval.lo_ns <= S + MS <= found.recovery.interval.hi_ns + MS
    assert found.counts.slow == found.counts.bad > 100
    assert measured(ops).recovery.masked


def test_a_step_that_ran_before_service_was_back_is_named() -> None:
    plan = scene.plan_of(steps=(PlannedStep(id="promote", argv=("x",), cwd="/", at_ns=2 * S, within_ns=S),))
    step = [
        StepEvent(at_ns=EFFECT + S // 2, id="promote", stage="started"),
        StepEvent(at_ns=EFFECT + S // 2 + MS, id="promote", stage="ended", exit_code=0),
    ]
    found = measured(scene.ops_of(outages=(scene.outage(1),)), plan, more=tuple(step))
    assert found.recovery.recovered_by == "step"


def test_flapping_counts_to_the_last_recovery_that_holds() -> None:
    flaps = tuple(scene.outage(0.5, start_ns=EFFECT + MS + n * S) for n in range(3))
    recovery = measured(scene.ops_of(outages=flaps)).recovery
    assert recovery.interval.lo_ns <= 2.5 * S + MS <= recovery.interval.hi_ns + MS
    assert recovery.recovered_by == "stack"


def test_loss_before_and_after_the_effect_has_a_span() -> None:
    ops = scene.ops_of()
    early = next(op.op for op in ops if op.done_ns > EFFECT - S)
    late = next(op.op for op in ops if op.done_ns > EFFECT + 2 * S)
    held = ",".join(f'"{op.value}"' for op in ops if op.phase == "load" and op.op not in (early, late))
    ops = [replace(op, result=f"[{held}]") if op.phase == "final" and op.region == "us" else op for op in ops]
    loss = measured(ops).loss
    assert loss.lost == 2 and loss.regions == {"eu": 0, "us": 2}
    assert loss.until_ns == pytest.approx(2 * S, abs=60 * MS)
    assert loss.span_ns == pytest.approx(3 * S, abs=60 * MS)


def test_an_unread_region_is_unknown_and_never_lost() -> None:
    ops = [op for op in scene.ops_of() if not (op.phase == "final" and op.region == "us")]
    loss = measured(ops).loss
    assert not loss.known and loss.lost is None and "us" in loss.why


@pytest.mark.parametrize("unseen", [0, 1])
def test_jobs_that_the_sink_did_not_see_are_unknown_and_never_lost(unseen: int) -> None:
    jobs = [replace(op, f="submit", idem=op.value) for op in scene.ops_of() if op.phase == "load"]
    ran = [op for op in jobs if op.outcome == "ok"][unseen:]
    told = [SignalEvent(at_ns=op.done_ns, source="log:w", event=EFFECT_TOLD, fields={"idem": op.idem}) for op in ran]
    loss = measured(jobs, model="jobs", more=told).loss
    assert (loss.known, loss.lost) == ((True, 0) if not unseen else (False, None))
    assert bool(loss.why) == bool(unseen)
    assert not unseen or (loss.why.startswith("the sink saw no effect of 1 of ") and loss.why.endswith("it is blind"))


@pytest.mark.parametrize(
    ("told", "met"), [({}, True), ({"idle": 2048}, True), ({"idle": 2049}, False), ({"bytes": 0, "idle": 0}, False)]
)
def test_exposure_by_a_link_is_more_than_crosses_it_without_load(told: dict[str, int], met: bool) -> None:
    data = {"fault": "eu-down", "bytes": 4096, **told}
    note = NoteEvent(at_ns=EFFECT, code="exposure", text="some bytes on link db", data=data)
    history, plan = scene.history_of(scene.ops_of(), more=(note,)), scene.plan_of()
    seen = exposure(history, plan, plan.faults[0], grade(history, plan), Interval(lo_ns=EFFECT, hi_ns=EFFECT))
    assert seen is not None
    assert seen.met is met
    assert seen.how.endswith("without load") is not met


def test_exposure_by_the_links_own_counters() -> None:
    from harness.judge import judge

    note = NoteEvent(
        at_ns=EFFECT, code="exposure", text="4096 bytes on link db", data={"fault": "eu-down", "bytes": 4096}
    )
    history = scene.history_of(scene.ops_of(outages=(scene.outage(1),)), more=(note,))
    plan = scene.plan_of()
    assert judge(history, plan, measure(history, plan), ()).faults[0].exposure.met
    idle = [op for op in scene.ops_of() if op.phase == "final" or not EFFECT - 5 * S < op.done_ns < EFFECT]
    history = scene.history_of(idle, more=(note,))
    seen = judge(history, plan, measure(history, plan), ()).faults[0].exposure
    assert not seen.met and seen.how.endswith("but only 0 good ops ended in that time"), "health checks are no load"


@pytest.mark.parametrize(("holder", "met"), [("gw-eu", True), ("gw-us", False)])
def test_exposure_of_a_role_is_that_of_who_held_it(holder: str, met: bool) -> None:
    plan = scene.plan_of()
    role = Target(kind="role", name="leader", candidates=("gw-eu", "gw-us"))
    fault = replace(plan.faults[0], targets=(role,), side=())
    events = [replace(event, target=holder) for event in scene.fault_events()]
    served = [replace(op, served_by="gw-eu") if op.phase == "load" else op for op in scene.ops_of()]
    history = scene.history_of(served, faults=events)
    graded = grade(history, plan)
    seen = exposure(history, plan, fault, graded, Interval(lo_ns=EFFECT, hi_ns=EFFECT))
    assert seen is not None and seen.met is met, seen


def test_values_in_a_result() -> None:
    assert values_in('["a","b"]') == ("a", "b")
    assert values_in('"x"') == ("x",)
    assert values_in('[1,{"b":2,"a":1}]') == ("1", '{"a":1,"b":2}')
    assert values_in("null") == values_in(None) == ()


def live_op(done_ns: int, outcome: str = "ok", took_ns: int = 10 * MS) -> LiveOp:
    return LiveOp(
        intended_ns=done_ns - took_ns,
        done_ns=done_ns,
        first_ns=None,
        outcome=outcome,
        f="add",
        group=None,
        region=None,
        served_by=None,
        phase="load",
        wrong=False,
    )


def batch(at_ns: int, ended=(), open_=()) -> LiveBatch:
    return LiveBatch(
        worker=0, at_ns=at_ns, ended=tuple(ended), open=tuple(open_), dropped=(), started_count=0, late_p99_ns=0
    )


def test_the_live_view_by_completion_with_overdue_ops_as_bad() -> None:
    live = LiveWindow(scene.plan_of())
    good = scene.rule("good", ">=", 0.99, "ratio", for_ns=3 * S)
    assert live.holds(good, 0, S) is None and live.observed(good, 0, S) is None
    for n in range(100):
        live.feed(batch(n * 50 * MS, [live_op(n * 50 * MS)]))
    assert live.holds(good, 5 * S, S) is True
    assert live.holds(scene.rule("latency.p95", "<=", 20 * MS, "ns"), 5 * S, 3 * S) is True
    live.feed(batch(5 * S, open_=[("add", 3 * S)] * 5))  # five ops open for 2 s, the client gives up after 1 s
    assert live.holds(good, 5 * S, S) is False
    assert live.observed(good, 5 * S, S) == pytest.approx(59 / 64)
    assert live.holds(scene.rule("good", "<", 0.1, "ratio", for_ns=3 * S), 5 * S, S) is False


def test_the_live_view_of_probes() -> None:
    live = LiveWindow(scene.plan_of())
    lag = scene.rule("probe.repl-lag.max", "=", 0, "number")
    assert live.holds(lag, S, 3 * S) is None
    live.feed_probe("repl-lag", S, 4.0)
    live.feed_probe("repl-lag", 2 * S, None)
    assert live.holds(lag, 2 * S, 3 * S) is False
    live.feed_probe("repl-lag", 5 * S, 0.0)
    assert live.holds(lag, 5 * S, 3 * S) is True


def test_quantiles_by_name() -> None:
    assert [quantile_of(name) for name in ("p50", "p99", "p99.9", "p999")] == pytest.approx([0.5, 0.99, 0.999, 0.999])
    with pytest.raises(ValueError, match="p99"):
        quantile_of("99")


def test_ops_that_were_sent_late_into_an_outage_do_not_date_it_before_its_cause() -> None:
    def late_by(late_ns: int) -> list[Op]:
        """Due 40 ms before the effect, failed after it."""
        return [
            Op(
                op=5 * 10**6 + number,
                f="add",
                session="k",
                value=f"late{number}",
                writer="w",
                intended_ns=EFFECT - 40 * MS + number,
                sent_ns=EFFECT - 40 * MS + number + late_ns,
                done_ns=EFFECT + 21 * MS,
                outcome="info",
                error="reset",
            )
            for number in range(8)
        ]

    ops = scene.ops_of(outages=(scene.outage(1),))
    for late_ns, cause in ((60 * MS, "eu-down"), (0, None)):  # a good op takes 15 ms
        found = measured(sorted([*ops, *late_by(late_ns)], key=lambda op: op.intended_ns))
        assert [disruption.cause for disruption in found.disruptions] == [cause]
        assert (found.recovery.state == "recovered") is (cause is not None)


def test_instants_of_other_clocks_widen_every_effect_by_as_much() -> None:
    ops = scene.ops_of(outages=[scene.outage(2.0)])
    exact = scene.history_of(ops)
    load = next(event for event in exact.events if isinstance(event, LoadEvent))
    worker = {**load.report["workers"][0], "clock_error_ns": 3 * MS}
    hazy = replace(load, report={**load.report, "workers": [worker]})
    events = tuple(hazy if event is load else event for event in exact.events)
    plan = scene.plan_of()
    sure, unsure = measure(exact, plan).recovery, measure(replace(exact, events=events), plan).recovery
    assert unsure.interval.lo_ns == sure.interval.lo_ns - 3 * MS
    assert unsure.interval.hi_ns == sure.interval.hi_ns + 3 * MS
    assert (unsure.effect.lo_ns, unsure.effect.hi_ns) == (sure.effect.lo_ns - 3 * MS, sure.effect.hi_ns + 3 * MS)


def test_no_bucket_of_a_series_mixes_before_the_effect_with_after() -> None:
    ops = [Op(op=n, f="add", intended_ns=S + n * 30 * MS, sent_ns=S + n * 30 * MS, done_ns=S + n * 30 * MS + MS,
              outcome="ok" if n < 40 else "info") for n in range(100)]  # fmt: skip
    history, edge = scene.history_of(ops), S + 40 * 30 * MS
    found = series(history, scene.plan_of(), edge)
    assert edge in found.t_ns and found.t_ns[0] <= S
    assert sum(found.offered) == 100 and sum(found.good) == 40
    place = found.t_ns.index(edge)
    assert found.good[:place] == found.offered[:place] and not any(found.good[place:])
    assert min(found.offered[1:-1]) >= 6, "no bucket of a steady load is next to empty"


def test_a_series_graded_in_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    history = scene.history_of(scene.ops_of(outages=[scene.outage(2.0)]))
    whole = series(history, scene.plan_of())
    monkeypatch.setattr("harness.measure.series._AT_ONCE", 7)
    assert series(history, scene.plan_of()) == whole
    assert sum(whole.offered) == int(history.ops.is_("phase", "load").sum()) and len(whole.errors) >= 1


def test_a_closed_loop_is_counted_every_100_ms() -> None:
    ops = [Op(op=n, f="add", intended_ns=at, sent_ns=at, done_ns=at + MS, outcome="ok") for n, at in enumerate(
        [S, S + 99 * MS, S + 100 * MS, S + 900 * MS]
    )]  # fmt: skip
    history = scene.history_of(ops)
    assert series(history, scene.plan_of()).begun_per_100ms == ()  # an open loop
    load = next(event for event in history.events if isinstance(event, LoadEvent))
    closed = replace(load, report={**load.report, "closed_loop": True})
    events = tuple(closed if event is load else event for event in history.events)
    begun = series(replace(history, events=events), scene.plan_of()).begun_per_100ms
    assert begun == (2, 1, 0, 0, 0, 0, 0, 0, 0, 1)
    assert silence(begun) == (7, 2, 7)
    assert silence(()) == silence((1, 2)) == (0, 0, 0)
