"""Gray time: clients suffer while every health signal is green. Signals are health probes and alerts."""

from __future__ import annotations

from collections.abc import Sequence

from harness.history.events import NoteEvent, ProbeEvent, SignalEvent, of_type
from harness.history.history import History
from harness.measure.alerts import ALERTS, is_firing
from harness.measure.disruptions import Attributed
from harness.measure.spans import Population
from harness.model.plan import Plan

__all__ = ["HEALTH_PROBES", "gray_ns"]

HEALTH_PROBES = frozenset({"http", "tcp"})
"""Probe kinds that say whether something is well; others measure."""


def gray_ns(
    history: History, plan: Plan, population: Population, found: Sequence[Attributed], effect_ns: int
) -> int | None:
    """Time inside disruptions while no health probe failed and no alert that came after the effect was firing.

    Between two samples the earlier one stands; before its first sample a probe says nothing. None when no health signal
    was there: no sample of an http or tcp probe, and no receiver of alerts that anything reached.
    """
    changes = _changes(history, plan, effect_ns)
    if changes is None:
        return None
    total = 0
    for attributed in found:
        span = attributed.span
        begin, end = int(population.intended_ns[span.first]), int(population.done_ns[span.last])
        red: set[str] = set()
        at_ns = begin
        for when, signal, is_red in changes:
            if when > end:
                break
            if when > begin:
                total += 0 if red else when - at_ns
                at_ns = when
            (red.add if is_red else red.discard)(signal)
        total += 0 if red else max(0, end - at_ns)
    return total


def _changes(history: History, plan: Plan, effect_ns: int) -> list[tuple[int, str, bool]] | None:
    """Every (instant, signal, whether it is red now) in time order; None when no signal could have turned red."""
    health = {name for name, spec in plan.experiment.stack.probes.items() if spec.kind in HEALTH_PROBES}
    samples = [event for event in of_type(history.events, ProbeEvent) if event.name in health]
    alerts = [event for event in of_type(history.events, SignalEvent) if event.source == ALERTS]
    listening = any(note.code == ALERTS for note in of_type(history.events, NoteEvent)) and bool(alerts)
    if not samples and not listening:
        return None
    changes = [(event.at_ns, f"probe {event.name}", not event.ok) for event in samples]
    # A Watchdog that always fires, and whatever fired before, say nothing of this fault.
    changes += [
        (event.at_ns, f"alert {event.fields.get('fingerprint')}", is_firing(event))
        for event in alerts
        if event.at_ns >= effect_ns
    ]
    return sorted(changes)
