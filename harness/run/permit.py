"""Whether a plan may be run now, before anything of it exists: protected environment, blackout windows, budget left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from harness.errors import UnsafeError
from harness.history.events import NoteEvent
from harness.model.plan import Plan
from harness.plan.preflight import blackouts_met, overdrawn

__all__ = ["Consent", "permit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What a person said on purpose: the name of the protected stack, and why to run in a blackout window."""

    confirmed: str | None = None
    during_blackout: str | None = None


def permit(plan: Plan, consent: Consent, now: datetime) -> tuple[NoteEvent, ...]:
    """What was waived and by which words, to be recorded. Raises UnsafeError for what forbids the run and was not waived."""
    stack = plan.experiment.stack
    notes = []
    if plan.protected:
        if consent.confirmed != stack.name:
            raise UnsafeError(
                f"stack {stack.name!r} is in {stack.environment!r}", remedy=f"say --confirm-target {stack.name}"
            )
        notes.append(NoteEvent(at_ns=0, code="confirmed", text=f"{stack.environment}: confirmed as {stack.name}"))
    costs = overdrawn(plan)
    if costs:
        raise UnsafeError(
            f"budget left below predicted cost: {'; '.join(costs)}",
            remedy="wait until budget is back, or state a shorter recovery limit or fault",
        )
    met = blackouts_met(plan, now)
    if met:
        windows = "; ".join(f"{window.why} ({window.from_utc} to {window.until_utc})" for window in met)
        if not (consent.during_blackout or "").strip():
            raise UnsafeError(
                f"the run would fall into a blackout window: {windows}",
                remedy='run it later, or say --during-blackout "REASON"',
            )
        text = f"run in a blackout window: {consent.during_blackout}"
        notes.append(NoteEvent(at_ns=0, code="during-blackout", text=text, level="warning", data={"windows": windows}))
    return tuple(notes)
