"""When the demo does a run again: only when the run itself says that this machine was too busy for it."""

from __future__ import annotations

from harness.cli.demo import too_busy
from harness.judge.trust import DROPPED, LATE
from harness.run.steady import refused_unsteady


def test_a_busy_machine_is_a_reason_to_try_again() -> None:
    refused = str(refused_unsteady("good >= 99.5% (observed 83 %)", 0.93))
    late, dropped = f"{LATE}: up to 40 ms", f"{DROPPED} 3 % of the arrivals of 3 s: at most 1 % may be"
    assert too_busy(["other", refused]) == refused
    assert too_busy([late, refused]) == late
    assert too_busy([dropped]) == dropped


def test_a_stack_that_failed_is_none() -> None:
    calm = str(refused_unsteady("good >= 99.5% (observed 83 %)", 0.1))
    assert too_busy([calm, "recovery_time <= 5s: observed 7 s", "the steady state was not met before the faults"]) == ""
    assert too_busy([]) == ""
