"""When silence counts as a death, and when as a busy machine."""

from __future__ import annotations

import pytest

from harness.run.silence import Silence, mute

S = 1_000_000_000
POLL = S // 10


def first(silence: Silence, looks: list[tuple[int, bool, bool]]) -> tuple[int, str] | None:
    """The first look (at, heard, stopped) that says to act, and what it says."""
    for at_ns, heard, stopped in looks:
        why = silence.look(at_ns, heard, stopped)
        if why is not None:
            return at_ns, why
    return None


def test_a_conductor_that_runs_and_is_silent_has_eight_seconds() -> None:
    looks = [(at, False, False) for at in range(POLL, 20 * S, POLL)]
    assert first(Silence(0), looks) == (8 * S, "the conductor was silent for 8 s")


def test_one_that_a_signal_stopped_has_five_seconds() -> None:
    looks = [(at, False, True) for at in range(POLL, 20 * S, POLL)]
    assert first(Silence(0), looks) == (5 * S, "the conductor was stopped for 5 s")


def test_beats_however_late_keep_it_in_its_place() -> None:
    beats = range(7 * S, 70 * S, 7 * S)
    looks = [(at, at in beats, False) for at in range(POLL, 70 * S, POLL)]
    assert first(Silence(0), looks) is None


def test_a_stop_that_ends_in_time_counts_from_the_beginning_again() -> None:
    looks = [(at, at % (5 * S) == 0, at % (5 * S) != 0) for at in range(POLL, 60 * S, POLL)]
    assert first(Silence(0), looks) is None


def test_time_in_which_the_reaper_itself_did_not_run_is_nobodys_silence() -> None:
    """A machine that was suspended for a minute: the beat that waits in the pipe is seen a moment later."""
    assert first(Silence(0), [(POLL, True, False), (60 * S, False, False), (60 * S + POLL, True, False)]) is None
    starved = [(at, False, False) for at in range(3 * S, 60 * S, 3 * S)]
    assert first(Silence(0), starved) == (24 * S, "the conductor was silent for 8 s"), "a second of each gap counts"


@pytest.mark.parametrize(
    ("unanswered", "stopped", "wrong"),
    [
        (0, True, None),
        (2, True, None),
        (3, True, "is stopped"),
        (3, False, None),
        (7, False, None),
        (8, False, "hangs: 8 beats without an answer"),
    ],
)
def test_a_reaper_that_is_stopped_is_given_less_time_than_one_that_is_slow(
    unanswered: int, stopped: bool, wrong: str | None
) -> None:
    assert mute(unanswered, stopped) == wrong
