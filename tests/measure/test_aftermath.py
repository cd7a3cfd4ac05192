"""Backlog, redundancy, gray time, failover, amplification: literal runs with a known answer."""

from __future__ import annotations

from dataclasses import replace

from harness.history.events import Event, NoteEvent, ProbeEvent, SignalEvent
from harness.history.op import Op
from harness.measure.measure import measure
from harness.model.measured import Instants, Interval
from harness.model.plan import Plan
from harness.model.stack import ProbeSpec, Ready
from tests.measure import scene

S, MS, EFFECT, REVERT = scene.S, scene.MS, scene.EFFECT, scene.REVERT


def moments(ops: list[Op], plan: Plan | None = None, **changes) -> Instants:
    return measure(scene.history_of(ops, **changes), plan or scene.plan_of()).instants


def with_stack(**changes) -> Plan:
    plan = scene.plan_of()
    return replace(plan, experiment=replace(plan.experiment, stack=replace(plan.experiment.stack, **changes)))


def test_a_freeze_leaves_a_backlog_until_its_answers_are_out() -> None:
    """200/s stand still for 2 s: 400 are open, and gone 15 ms after the thaw. Calm has 2 open on average."""
    found = moments(scene.ops_of(outages=(scene.outage(2, "freeze"),), timeout_ns=10 * S))
    assert 2 * S <= found.backlog_ns <= 2 * S + 30 * MS
    assert moments(scene.ops_of()).backlog_ns == 0
    assert moments(scene.ops_of(outages=(scene.outage(2),))).backlog_ns == 0, "what is refused at once does not wait"
    ends = [
        replace(op, done_ns=None, outcome="info", cut=True) if op.phase == "load" and op.intended_ns > EFFECT else op
        for op in scene.ops_of()
    ]
    stuck = moments(ends)
    assert stuck.backlog_ns is None
    assert stuck.why["backlog"].endswith("operations were still open when the load ended")


def settled(level: str = "info", **data: int) -> list[Event]:
    return [NoteEvent(at_ns=REVERT + 8 * S, code="settled", text="settled", level=level, data=data)]  # type: ignore[arg-type]


def test_full_redundancy_lies_between_the_last_look_that_failed_and_the_first_that_held() -> None:
    kind = ProbeSpec(name="r", kind="tcp", params={})
    stack = scene.plan_of().experiment.stack
    ready = {name: replace(one, ready=Ready(probe=kind, within_ns=S)) for name, one in stack.instances.items()}
    plan = with_stack(instances=ready)
    ops = scene.ops_of(outages=(scene.outage(1),))
    seen = moments(ops, plan, more=settled(not_yet_ns=REVERT + 3 * S, since_ns=REVERT + 3 * S + 200 * MS))
    assert seen.redundancy == Interval(lo_ns=11 * S - 2 * MS, hi_ns=11 * S + 200 * MS)
    first_look = moments(ops, plan, more=settled(since_ns=REVERT + 100 * MS))
    assert first_look.redundancy == Interval(lo_ns=8 * S - 2 * MS, hi_ns=8 * S + 100 * MS), (
        "not before the revert began"
    )
    never = moments(ops, plan, more=settled("warning"))
    assert never.redundancy == Interval(lo_ns=16 * S - 2 * MS, hi_ns=None)
    assert moments(ops, plan).why["redundancy"] == "unknown: the run did not come to settle"
    assert moments(ops).why["redundancy"].startswith("unknown: no instance says when it is ready")


def probe(after_ns: int, ok: bool = True) -> ProbeEvent:
    return ProbeEvent(at_ns=EFFECT + after_ns, name="health", ok=ok, took_ns=MS)


def test_gray_is_what_clients_suffer_while_all_is_green() -> None:
    plan = with_stack(probes={"health": ProbeSpec(name="health", kind="http", params={})})
    ops = scene.ops_of(outages=(scene.outage(3),))
    green = moments(ops, plan, more=[probe(n * S // 2) for n in range(-4, 20)])
    assert abs(green.gray_ns - 3 * S) < 100 * MS
    half = moments(ops, plan, more=[probe(n * S // 2, ok=n < 2 or n > 8) for n in range(-4, 20)])
    assert abs(half.gray_ns - S) < 100 * MS, "green for 1 s, then red until after the end"
    fields = {"alertname": "Down", "status": "firing", "fingerprint": "a", "starts_at": ""}
    firing = SignalEvent(at_ns=EFFECT + 2 * S, source="alerts", event="Down", fields=fields)
    watchdog = SignalEvent(at_ns=S, source="alerts", event="Watchdog", fields=fields | {"fingerprint": "w"})
    up = NoteEvent(at_ns=MS, code="alerts", text="up")
    alerted = moments(ops, more=[up, watchdog, firing])
    assert abs(alerted.gray_ns - 2 * S) < 100 * MS, "an alert is a health signal; one that fired all along says nothing"
    assert moments(ops).gray_ns is None


def test_failover_is_by_epoch_else_by_who_served_when_that_says_it() -> None:
    ops = scene.ops_of(outages=(scene.outage(1),))
    found = moments(ops)  # gw-eu, which is killed, served all before; gw-us all after
    assert S <= found.failover_ns <= S + 60 * MS
    both = [replace(op, served_by="gw-us") if op.op % 2 and op.served_by else op for op in ops]
    assert moments(both).failover_ns is None
    assert moments(both).why["failover"].endswith("several instances served before")
    epochs = [replace(op, epoch=1 if op.intended_ns < EFFECT + 2 * S else 2) for op in both]
    assert 2 * S <= moments(epochs).failover_ns <= 2 * S + 60 * MS
    stay = [replace(op, served_by="gw-eu") if op.served_by else op for op in ops]
    assert moments(stay).why["failover"] == "no other instance acknowledged anything"


def test_retries_are_amplified_by_attempts_during_over_before() -> None:
    ops = [
        replace(op, attempts=3 if op.phase == "load" and EFFECT <= op.intended_ns <= REVERT else 1 + (op.op % 2))
        for op in scene.ops_of(outages=(scene.outage(1),))
    ]
    found = moments(ops)
    assert abs(found.attempts_before - 1.5) < 0.01
    assert abs(found.attempts_during - 3) < 0.01
    assert abs(found.retry_amplification - 2) < 0.02


def test_failback_is_when_traffic_is_shared_as_before_and_stays_so() -> None:
    """All in eu before the kill, all in us until 2 s after the revert, then in eu again: 10 s, told in steps of 1 s."""
    back = REVERT + 2 * S
    ops = [
        replace(op, region="eu" if op.intended_ns < EFFECT or op.intended_ns >= back else "us") if op.region else op
        for op in scene.ops_of(outages=(scene.outage(1),))
    ]
    found = moments(ops)
    assert 10 * S <= found.failback_ns <= 11 * S
    # 3 of 100 elsewhere is within 5 points; half of it is not.
    some = [replace(op, region="us") if op.region and op.op % 33 == 0 else op for op in ops]
    assert 10 * S <= moments(some).failback_ns <= 11 * S
    half = [replace(op, region="us") if op.region and op.intended_ns >= back and op.op % 2 else op for op in ops]
    assert moments(half).failback_ns is None


def test_nobody_is_named_when_the_last_error_and_the_revert_are_too_near_to_tell() -> None:
    """Service was back 40 ms before the revert, which the ops around it cannot tell from after it."""
    ends = REVERT - 40 * MS - (EFFECT + MS)
    ops = scene.ops_of(outages=(scene.outage(ends / S),))
    quiet = [op for op in ops if op.phase != "load" or not REVERT - 40 * MS <= op.intended_ns < REVERT + 5 * MS]
    recovery = measure(scene.history_of(quiet), scene.plan_of()).recovery
    assert recovery.recovered_by == "unclear"
    assert recovery.interval.lo_ns <= ends + MS <= recovery.interval.hi_ns
    by = {
        length: measure(scene.history_of(scene.ops_of(outages=(scene.outage(length),))), scene.plan_of()).recovery
        for length in (1, 8.5)
    }
    assert {length: one.recovered_by for length, one in by.items()} == {1: "stack", 8.5: "revert"}
