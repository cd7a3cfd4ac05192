"""When alerts fired and cleared, and when that cannot be known: literal events, effect within [8.000 s, 8.002 s], end at 25 s."""

from __future__ import annotations

from dataclasses import replace

from harness.history.events import Event, NoteEvent, SignalEvent
from harness.judge.observe import Case, observe, status_of
from harness.measure.measure import measure
from harness.model.measured import AlertRow, Interval
from harness.model.stack import AlertsSpec
from harness.model.verdict import Status
from tests.measure import scene

S, MS, EFFECT = scene.S, scene.MS, scene.EFFECT
FIRES = scene.rule("alert.Down.fires", "<=", 5 * S, "ns")
CLEARS = scene.rule("alert.Down.clears", "<=", 10 * S, "ns")


def receiver(until_ns: int = EFFECT + 17 * S, **counts: int) -> list[Event]:
    data = {"posts": 3, "refused": 0, "left_out": 0} | counts
    return [
        NoteEvent(at_ns=S, code="alerts", text="are received", data={"url": "http://127.0.0.1:1/alerts"}),
        NoteEvent(at_ns=until_ns, code="alerts-closed", text="received", data=data),
    ]


def told(after_ns: int, status: str = "firing", name: str = "Down", series: str = "a") -> SignalEvent:
    # `startsAt` says 1999: it is never looked at.
    fields = {"alertname": name, "status": status, "fingerprint": series, "starts_at": "1999-01-01T00:00:00Z"}
    return SignalEvent(at_ns=EFFECT + after_ns, source="alerts", event=name, fields=fields)


def rows(*events: Event) -> dict[str, AlertRow]:
    plan = scene.plan_of(limits=(FIRES, CLEARS))
    history = scene.history_of(scene.ops_of(outages=(scene.outage(1),)), more=events)
    return {row.name: row for row in measure(history, plan).alerts}


def judged(*events: Event) -> tuple[Status, Status, str]:
    plan = scene.plan_of(limits=(FIRES, CLEARS))
    history = scene.history_of(scene.ops_of(outages=(scene.outage(1),)), more=events)
    case = Case(history=history, plan=plan, measures=measure(history, plan), checks=())
    fires, clears = (observe(case, rule.measure, rule.unit) for rule in (FIRES, CLEARS))
    return status_of(FIRES, fires.lo, fires.hi), status_of(CLEARS, clears.lo, clears.hi), fires.why


def test_an_alert_that_fires_and_clears_is_timed_from_the_effect_by_when_we_were_told() -> None:
    row = rows(*receiver(), told(2 * S), told(9 * S, "resolved"))["Down"]
    assert row.fires == Interval(lo_ns=2 * S - 2 * MS, hi_ns=2 * S)
    assert row.clears == Interval(lo_ns=9 * S - 2 * MS, hi_ns=9 * S)
    assert (row.series, row.firings, row.before, row.standing, row.why) == (1, 1, False, False, {})
    assert judged(*receiver(), told(2 * S), told(9 * S, "resolved")) == (Status.MET, Status.MET, "")


def test_one_that_flaps_has_cleared_when_the_last_firing_ended() -> None:
    flaps = [told(2 * S), told(3 * S, "resolved"), told(4 * S), told(8 * S, "resolved")]
    row = rows(*receiver(), *flaps)["Down"]
    assert row.firings == 2
    assert row.clears == Interval(lo_ns=8 * S - 2 * MS, hi_ns=8 * S)


def test_one_that_still_fires_or_never_did_is_open_above_when_the_receiver_is_proven() -> None:
    standing = rows(*receiver(), told(2 * S))["Down"]
    assert standing.clears == Interval(lo_ns=17 * S - 2 * MS, hi_ns=None)
    other = rows(*receiver(), told(-5 * S, name="Watchdog"))["Down"]
    assert other.fires == Interval(lo_ns=17 * S - 2 * MS, hi_ns=None)
    assert other.why["clears"] == "unknown: it did not fire, so it could not clear"
    assert judged(*receiver(), told(-5 * S, name="Watchdog")) == (
        Status.MISSED,
        Status.UNKNOWN,
        "it did not fire by the end of the run",
    )


def test_without_a_receiver_or_without_one_post_nothing_is_known() -> None:
    assert judged() == (Status.UNKNOWN, Status.UNKNOWN, "no receiver of alerts was up in this run")
    silent = "nothing reached the receiver of alerts: nothing shows that anything would have"
    assert judged(*receiver(posts=0)) == (Status.UNKNOWN, Status.UNKNOWN, silent)
    assert judged(*receiver(refused=1), told(0, name="Other"))[2].startswith("1 posts to the receiver were not in")
    assert judged(*receiver(left_out=7), told(0, name="Other"))[2] == "7 changes of alerts were too many to keep"


def test_one_that_fired_before_the_fault_says_nothing_unless_another_series_of_it_fires() -> None:
    before = [told(-3 * S), *receiver()]
    assert judged(*before)[0::2] == (Status.UNKNOWN, "it was firing before the fault")
    row = rows(*before, told(S, series="b"))["Down"]
    assert (row.before, row.series, row.fires) == (True, 2, Interval(lo_ns=S - 2 * MS, hi_ns=S))


def test_an_alert_is_a_source_of_detection_when_it_begins_to_fire_and_not_when_it_ends() -> None:
    plan = scene.plan_of()
    plan = replace(plan, experiment=replace(plan.experiment, stack=replace(plan.experiment.stack, alerts=AlertsSpec())))
    ops = scene.ops_of(outages=(scene.outage(1),))
    seen = measure(scene.history_of(ops, more=(told(S, "resolved", "Old"), told(2 * S))), plan).instants
    assert (seen.detection_ns, seen.detection_source) == (2 * S, "Down (alerts)")
    none = measure(scene.history_of(ops), plan).instants
    assert none.why["detection"] == "no event of the stack was seen"
