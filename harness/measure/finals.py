"""What the system held in the end: the final state of every key in every region asked, from the final reads.

Shared by the loss measure and the data checks. A key is an op's `key`, else its session. "Could not read" is no state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from harness.history.events import EFFECT, SignalEvent, of_type
from harness.history.history import History
from harness.history.op import Op
from harness.measure.facts import load_report
from harness.model.plan import Plan

__all__ = [
    "READS",
    "WRITES",
    "FinalState",
    "effects",
    "final_states",
    "key_of",
    "model_of",
    "regions_asked",
    "values_in",
]

WRITES: Mapping[str, frozenset[str]] = {
    "set": frozenset({"add"}),
    "log": frozenset({"append"}),
    "register": frozenset({"write"}),
    "jobs": frozenset({"submit"}),
}
"""Model -> the words of ops whose effect a final read can show."""

READS: Mapping[str, frozenset[str]] = {model: frozenset({"read"}) for model in ("set", "log", "register", "jobs")}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalState:
    """One ok final read: the values of one key in one region (None: reads that name none), in their order."""

    op: int
    region: str | None
    key: str | None
    values: tuple[str, ...]
    done_ns: int
    round: int


def key_of(op: Op) -> str | None:
    """The key an op is about: its own, else its session."""
    return op.key if op.key is not None else op.session


def values_in(result: str | None) -> tuple[str, ...]:
    """The values in a read's JSON result: each of a list's, or the one; () for none and for null. Texts stay, the rest is JSON."""
    if result is None:
        return ()
    try:
        parsed = json.loads(result)
    except ValueError:
        return (result,)
    items = parsed if isinstance(parsed, list) else [parsed]
    return tuple(
        item if isinstance(item, str) else json.dumps(item, separators=(",", ":"), sort_keys=True)
        for item in items
        if item is not None
    )


def final_states(history: History) -> tuple[FinalState, ...]:
    """Every ok final `read` in order of completion; `round` counts a key's reads in a region from 0. Empty without any."""
    mask = history.ops.is_("phase", "final") & history.ops.is_("outcome", "ok") & ~history.ops.flags("cut")
    mask &= history.ops.is_("f", "read")  # a final phase may also run journaled inputs again
    rounds: dict[tuple[str | None, str | None], int] = {}
    states = []
    for op in sorted(history.ops.where(mask).ops(), key=lambda op: (op.done_ns or 0, op.op)):
        place = (op.region, key_of(op))
        number = rounds[place] = rounds.get(place, -1) + 1
        states.append(
            FinalState(
                op=op.op,
                region=op.region,
                key=place[1],
                values=values_in(op.result),
                done_ns=op.done_ns or op.intended_ns,
                round=number,
            )
        )
    return tuple(states)


def regions_asked(plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(regions whose final reads count, regions read for evidence only), by name."""
    final = plan.experiment.final
    stack = plan.experiment.stack
    asked = final.regions or tuple(name for name, region in stack.regions.items() if region.entry is not None)
    return tuple(name for name in asked if name not in final.evidence), final.evidence


def model_of(history: History) -> str | None:
    """The load profile's model, as the engine reported it; None when it declares none or no report was left."""
    report = load_report(history)
    return report.model if report else None


def effects(history: History) -> tuple[str, ...]:
    """What really ran, by idempotency key, as the stack's own sink reported it: once per effect. Empty without a sink."""
    return tuple(
        event.fields["idem"]
        for event in of_type(history.events, SignalEvent)
        if event.event in (EFFECT, "executed") and "idem" in event.fields
    )
