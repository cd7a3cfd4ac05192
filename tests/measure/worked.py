"""The worked example of docs/measures.md as a record: 100/s from 1 s to 25 s, a kill at 8 s that clients feel for 2.5 s."""

from __future__ import annotations

from dataclasses import replace

from harness.history.events import Event, NoteEvent, ProbeEvent, SignalEvent
from harness.history.history import History
from harness.history.op import Op
from harness.model.experiment import SLO, Traffic
from harness.model.plan import Plan
from harness.model.stack import AlertsSpec, ProbeSpec, SignalSpec
from tests.measure import scene

__all__ = ["history", "plan"]

S, MS, EFFECT = scene.S, scene.MS, scene.EFFECT
LOST = (799, 800, 1200)
"""Three acknowledged writes that one region does not hold: two from before the kill (at 8.00 s), one from after it."""


def plan() -> Plan:
    """The scene's: gw-eu in region eu is killed. An availability SLO, production traffic, a probe, an event, alerts."""
    made = scene.plan_of(
        slos=(SLO(name="availability", target_ratio=0.999, window_ns=30 * 86400 * S),),
        limits=(scene.rule("alert.RegionDown.fires", "<=", 5 * S, "ns"),),
    )
    stack = replace(
        made.experiment.stack,
        probes={"edge": ProbeSpec(name="edge", kind="http", params={})},
        signals=(SignalSpec(kind="log", source="gw-us", match="promoted", event="promoted"),),
        alerts=AlertsSpec(),
    )
    traffic = Traffic(at_drill_per_s=400.0, mean_per_s=250.0, source="prod p95, 2026-10")
    return replace(made, experiment=replace(made.experiment, stack=stack, traffic=traffic))


def history() -> History:
    """Ops every 10 ms, 5 ms each; those due from 8.01 s to 10.49 s are refused at once, in two attempts."""
    ops = []
    for number in range(100, 2500):
        at = number * 10 * MS
        bad = 8010 * MS <= at <= 10490 * MS
        before = at < EFFECT + 10 * MS
        ops.append(
            Op(
                op=number,
                f="add",
                session="k",
                value=f"v{number}",
                writer="w",
                group=("sticky", "follow")[number % 2],
                intended_ns=at,
                sent_ns=at,
                first_ns=None if bad else at + 2 * MS,
                done_ns=at + MS if bad else at + 5 * MS,
                outcome="info" if bad else "ok",
                error="reset" if bad else None,
                broken=bad and number % 50 == 0,
                served_by=None if bad else ("gw-eu" if before else "gw-us"),
                region=None if bad else ("eu" if before else "us"),
                epoch=None if bad else (1 if before else 2),
                attempts=2 if bad else 1,
            )
        )
    kept = [op for op in ops if op.outcome == "ok"]
    for place, region in enumerate(("eu", "us")):
        held = ",".join(f'"{op.value}"' for op in kept if region == "us" or op.op not in LOST)
        read = Op(
            op=10**6 + place,
            f="read",
            session="k",
            intended_ns=26 * S,
            sent_ns=26 * S,
            done_ns=26 * S + MS,
            outcome="ok",
            region=region,
            result=f"[{held}]",
            phase="final",
        )
        ops.append(read)
    return History(ops=scene.OpTable.of(ops), events=scene.events_of(ops, more=tuple(_told())))


def _told() -> list[Event]:
    labels = {"alertname": "RegionDown", "fingerprint": "a", "starts_at": ""}
    return [
        NoteEvent(at_ns=MS, code="alerts", text="alerts are received", data={"url": "http://127.0.0.1:1/alerts"}),
        SignalEvent(at_ns=EFFECT + 900 * MS, source="log:gw-us", event="promoted", fields={"epoch": "2"}),
        SignalEvent(
            at_ns=EFFECT + 1200 * MS, source="alerts", event="RegionDown", fields=labels | {"status": "firing"}
        ),
        SignalEvent(at_ns=EFFECT + 4 * S, source="alerts", event="RegionDown", fields=labels | {"status": "resolved"}),
        NoteEvent(at_ns=26 * S, code="alerts-closed", text="2 posts", data={"posts": 2, "refused": 0, "left_out": 0}),
        *(
            ProbeEvent(
                at_ns=at * 500 * MS, name="edge", ok=not 17 <= at < 21, took_ns=MS, value=None if 17 <= at < 21 else 1.0
            )
            for at in range(4, 50)
        ),
    ]
