"""Faults as the record shows them: what was put back, and what needed no putting back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.history.events import Event, FaultEvent
from harness.measure.facts import fault_results
from tests.measure import scene


def told(*stages: str) -> tuple[bool, bool]:
    """(reverted, verified) of a fault without a length that went through these stages, on two targets."""
    (fault,) = (replace(one, for_ns=None) for one in scene.plan_of().faults)
    events: list[Event] = [
        FaultEvent(at_ns=scene.EFFECT, id=fault.id, kind=fault.kind, target=target, stage=stage)  # type: ignore[arg-type]
        for stage in stages
        for target in ("one", "two")
    ]
    plan = replace(scene.plan_of(), faults=(fault,))
    (result,) = fault_results(scene.history_of([], faults=events), plan)
    return result.reverted, result.verified


@pytest.mark.parametrize(
    ("stages", "is_over"),
    [
        (("applying", "witnessed"), (False, False)),
        (("applying", "witnessed", "returned"), (True, True)),
        (("applying", "reverting", "reverted", "verified"), (True, True)),
        (("applying", "reverting", "reverted", "unverified"), (True, False)),
        ((), (False, True)),
    ],
)
def test_a_fault_is_over_when_it_was_put_back_or_was_seen_to_return(
    stages: tuple[str, ...], is_over: tuple[bool, bool]
) -> None:
    """A fault of no length that just was not reverted is not over: that its return was seen is on record, never inferred."""
    assert told(*stages) == is_over
