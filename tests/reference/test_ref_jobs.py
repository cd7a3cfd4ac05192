"""The job queue: what is leased, what is done once, and what is set aside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.reference.jobs import Queue
from harness.reference.mutants import NO_LEDGER_KEY

S = 1_000_000_000


class Clock:
    now = 100 * S

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[Queue]:
    one = Queue(tmp_path / "jobs", 2.0, clock=clock)
    yield one
    one.close()


def test_a_job_is_taken_once_by_its_key_and_survives_reopening(queue: Queue, tmp_path: Path, clock: Clock) -> None:
    assert queue.submit("a", "s", "add") and not queue.submit("a", "s", "add")
    again = Queue(tmp_path / "jobs", 2.0, clock=clock)
    assert again.of("s") == [{"idem": "a", "state": "waiting", "attempts": 0}]
    assert again.of("other") == []
    again.close()


def test_a_leased_job_is_no_one_elses_until_its_lease_runs_out(queue: Queue, clock: Clock) -> None:
    queue.submit("a", "s", "add")
    first = queue.claim()
    assert first is not None and first["attempt"] == 1 and queue.claim() is None
    clock.now += 3 * S
    second = queue.claim()
    assert second is not None and second["id"] == first["id"] and second["attempt"] == 2
    assert not queue.finish(first["id"], first["lease"], good=True)  # too late: it is another's
    assert queue.finish(second["id"], second["lease"], good=True)
    assert not queue.finish(second["id"], second["lease"], good=True)
    assert queue.about() == {"waiting": 0, "leased": 0, "done": 1, "dead": 0, "backlog": 0, "oldest_s": 0.0}


def test_what_fails_three_times_is_set_aside_and_the_rest_goes_on(queue: Queue, clock: Clock) -> None:
    queue.submit("bad", "s", "poison")
    queue.submit("good", "s", "add")
    for attempt in (1, 2, 3):
        job = queue.claim()
        assert job is not None and (job["idem"], job["attempt"]) == ("bad", attempt)
        assert queue.finish(job["id"], job["lease"], good=False)
    clock.now += S
    assert queue.about()["oldest_s"] == 1.0
    job = queue.claim()
    assert job is not None and job["idem"] == "good"
    assert [one["state"] for one in queue.of("s")] == ["dead", "leased"]


def test_a_worker_that_dies_with_the_last_attempt_kills_the_job(queue: Queue, clock: Clock) -> None:
    queue.submit("a", "s", "add")
    for _ in range(3):
        assert queue.claim() is not None
        clock.now += 3 * S
    assert queue.claim() is None and queue.about()["dead"] == 1


def test_an_effect_is_done_once_unless_the_ledger_has_no_key(queue: Queue, tmp_path: Path) -> None:
    assert queue.effect("a") and not queue.effect("a") and queue.effect("b")
    mutant = Queue(tmp_path / "other", 2.0, frozenset({NO_LEDGER_KEY}))
    assert mutant.effect("a") and mutant.effect("a")
    mutant.close()
