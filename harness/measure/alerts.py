"""When alerts fired and cleared, counted from the first effect: by when we were told, whatever the alert itself says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.history.events import NoteEvent, SignalEvent, of_type
from harness.history.history import History
from harness.measure.facts import Edge
from harness.model.measured import AlertRow, Interval
from harness.model.plan import Plan

__all__ = ["ALERTS", "alert_rows", "is_firing"]

ALERTS = "alerts"
"""The source of alert events, and the code of the note that a receiver listens."""


def is_firing(event: SignalEvent) -> bool:
    """Whether it is an alert that began to fire."""
    return event.source == ALERTS and event.fields.get("status") == "firing"


def alert_rows(history: History, plan: Plan, first: Edge | None) -> tuple[AlertRow, ...]:
    """A row for every alert that was received or that an objective names, by name.

    *fires*: the first firing after the effect that did not stand before it. *clears*: the end of the last firing after it.
    Both from when we were told, less the effect's interval; open above when it had not happened by the receiver's end.
    Unknown without a receiver, and when no post at all came: then nothing shows that any would have.
    """
    events = [event for event in of_type(history.events, SignalEvent) if event.source == ALERTS]
    named = {
        stated.predicate.measure.name.removeprefix("alert.").rpartition(".")[0]
        for stated in plan.experiment.objectives
        if stated.predicate.measure.name.startswith("alert.")
    }
    names = sorted({event.event for event in events} | named)
    blind = _blind(history, events)
    return tuple(
        _row(name, [e for e in events if e.event == name], (first, _until_ns(history)), blind) for name in names
    )


def _blind(history: History, events: Sequence[SignalEvent]) -> str:
    """Why an alert that was not received may have fired all the same; empty when it would have been received."""
    notes: Mapping[str, NoteEvent] = {note.code: note for note in of_type(history.events, NoteEvent)}
    if ALERTS not in notes:
        return "no receiver of alerts was up in this run"
    closed = notes.get("alerts-closed")
    if closed is not None and closed.data.get("left_out"):
        return f"{closed.data['left_out']} changes of alerts were too many to keep"
    if closed is not None and closed.data.get("refused"):
        return f"{closed.data['refused']} posts to the receiver were not in Alertmanager's form"
    if not events:
        return "nothing reached the receiver of alerts: nothing shows that anything would have"
    return ""


def _until_ns(history: History) -> int:
    """Until when alerts were received."""
    closed = [note.at_ns for note in of_type(history.events, NoteEvent) if note.code == "alerts-closed"]
    return closed[-1] if closed else max((event.at_ns for event in history.events), default=0)


def _row(name: str, events: Sequence[SignalEvent], span: tuple[Edge | None, int], blind: str) -> AlertRow:
    first, until_ns = span
    series = len({event.fields.get("fingerprint", "") for event in events})
    if first is None:
        nothing = "unknown: nothing was injected to count from"
        return AlertRow(name=name, series=series, firings=0, why={"fires": nothing, "clears": nothing})
    before = _standing([event for event in events if event.at_ns < first.lo_ns])
    after = [event for event in events if event.at_ns >= first.lo_ns]
    firings = [event.at_ns for event in after if is_firing(event)]
    standing = _standing(events)
    why: dict[str, str] = {}
    fires = clears = None
    if firings:
        fires = _since(first, firings[0])
        ended = [event.at_ns for event in after if not is_firing(event) and event.at_ns > firings[0]]
        if not standing and ended:
            clears = _since(first, ended[-1])
        elif blind:
            why["clears"] = f"unknown: {blind}"
        else:
            clears = Interval(lo_ns=max(0, until_ns - _latest(first)), hi_ns=None)
            why["clears"] = "it was firing when the run ended"
    elif blind or before:
        why["fires"] = f"unknown: {blind or 'it was firing before the fault'}"
        why["clears"] = why["fires"]
    else:
        fires = Interval(lo_ns=max(0, until_ns - _latest(first)), hi_ns=None)
        why["fires"] = "it did not fire by the end of the run"
        why["clears"] = "unknown: it did not fire, so it could not clear"
    return AlertRow(
        name=name,
        series=series,
        firings=len(firings),
        before=bool(before),
        standing=bool(standing),
        fires=fires,
        clears=clears,
        why=why,
    )


def _standing(events: Sequence[SignalEvent]) -> set[str]:
    """The series that were firing after these events."""
    state = {event.fields.get("fingerprint", ""): is_firing(event) for event in events}
    return {fingerprint for fingerprint, firing in state.items() if firing}


def _latest(first: Edge) -> int:
    return first.lo_ns if first.hi_ns is None else first.hi_ns


def _since(first: Edge, at_ns: int) -> Interval:
    """From the effect, which lies in an interval of its own, to an instant."""
    return Interval(lo_ns=max(0, at_ns - _latest(first)), hi_ns=at_ns - first.lo_ns)
