"""The run's clock and the wall's: a step of the wall changes no duration, and is told."""

from __future__ import annotations

import pytest

from harness.run.clock import MonotonicClock, WallWatch

S = 1_000_000_000


@pytest.mark.parametrize(
    ("step_s", "said"),
    [(0, ""), (0.4, ""), (3600, "stepped forward by 60 m during"), (-3600, "stepped back by 60 m during")],
)
def test_a_step_of_the_wall_clock_is_told_and_moves_no_duration(step_s: float, said: str) -> None:
    clock = MonotonicClock(origin_ns=MonotonicClock().origin_ns - 5 * S)
    shift = [0]
    watch = WallWatch(clock, lambda: 1_700_000_000 * S + clock.now_ns() + shift[0])
    before_ns = clock.now_ns()
    shift[0] = int(step_s * S)
    assert 0 <= clock.now_ns() - before_ns < 60 * S
    told = watch.stepped()
    assert (said in told) if said else told == "", told
