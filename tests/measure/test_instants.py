"""Single moments: their values, and for each without one whether it did not happen or cannot be known."""

from __future__ import annotations

from dataclasses import replace

from harness.history.events import SignalEvent
from harness.history.op import Op
from harness.measure.measure import measure
from harness.model.measured import Instants
from harness.model.plan import Plan
from harness.model.stack import SignalSpec
from tests.measure import scene

S, MS, EFFECT = scene.S, scene.MS, scene.EFFECT


def moments(ops: list[Op], plan: Plan | None = None, **changes) -> Instants:
    return measure(scene.history_of(ops, **changes), plan or scene.plan_of()).instants


def test_what_nothing_names_is_unknown_by_name() -> None:
    bare = [replace(op, region=None if op.phase == "load" else op.region, served_by=None) for op in scene.ops_of()]
    assert moments(bare).why == {
        "detection": "unknown: the stack file names no events (`signals:`)",
        "failover": "unknown: no operation says under which epoch, or by which instance, it was served",
        "failback": "unknown: no operation says which region served it",
        "gray": "unknown: no health probe (`probes:` of kind http or tcp) was asked, and no alert received",
        "redundancy": "unknown: no instance says when it is ready, and there is no rule in `settled_when:`",
        "first_success": "service was not disrupted",
        "error_period": "no disruption",
        "last_error_seen": "no error was seen",
    }


def test_what_could_have_been_seen_and_was_not_did_not_happen() -> None:
    plan = scene.plan_of()
    stack = replace(plan.experiment.stack, signals=(SignalSpec(kind="log", source="gw-eu", match="x", event="moved"),))
    plan = replace(plan, experiment=replace(plan.experiment, stack=stack))
    ops = [replace(op, epoch=1) if op.phase == "load" else op for op in scene.ops_of(outages=(scene.outage(1),))]
    why = moments(ops, plan).why
    assert why["detection"] == "no event of the stack was seen"
    assert why["failover"] == "nothing was acknowledged under a newer epoch"
    assert why["failback"] == "traffic did not move to another region and back"
    assert "first_success" not in why


def test_any_event_that_the_stack_names_detects_and_an_effect_at_the_sink_does_not() -> None:
    seen = (
        SignalEvent(at_ns=EFFECT - S, source="edge", event="moved"),
        SignalEvent(at_ns=EFFECT + S // 4, source="sink", event="effect", fields={"idem": "1"}),
        SignalEvent(at_ns=EFFECT + S // 2, source="edge", event="moved"),
    )
    found = moments(scene.ops_of(outages=(scene.outage(1),)), more=seen)
    assert (found.detection_ns, found.detection_source) == (S // 2, "moved (edge)")


def test_the_error_period_of_a_partial_outage_is_not_its_longest_gap() -> None:
    """Half of the requests hang until a time-out of 2 s: errors began for 3 s and are seen for 5 s; nothing was ever away."""
    ops = []
    for op in scene.ops_of():
        hurt = op.phase == "load" and EFFECT <= op.intended_ns < EFFECT + 3 * S and op.op % 2 == 0
        late = {"outcome": "info", "error": "timeout", "done_ns": op.intended_ns + 2 * S}
        ops.append(replace(op, **late) if hurt else op)
    found = moments(ops)
    assert abs(found.error_period_ns - 3 * S) < 100 * MS
    assert abs(found.last_error_seen_ns - 5 * S) < 100 * MS
    assert found.gap_ns < 200 * MS
