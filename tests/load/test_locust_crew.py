"""Locust over a master and workers: bounds of another machine's clock, what each worker told, one that dies, one from elsewhere."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UnsafeError
from harness.load.locust_clock import DRIFT, ClockOffset
from harness.load.locust_crew import Crew
from harness.load.locust_engine import LocustEngine
from harness.model.arrivals import arrival_json
from harness.model.experiment import ArrivalSpec, LocustCrew
from tests.ports import free_port

MS, S = 1_000_000, 1_000_000_000
LOCUSTFILE = """\
from locust import FastHttpUser, constant_pacing, task


class Fast(FastHttpUser):
    wait_time = constant_pacing(0.05)

    @task
    def get(self):
        self.client.get("/", name="front")
"""


# ---- clocks --------------------------------------------------------------------------------------------------------------


def test_an_offset_lies_within_its_bounds_whichever_way_was_slow() -> None:
    rng = random.Random(4)
    for _ in range(200):
        offset_ns = rng.randrange(-(10**15), 10**15)
        clock, now_ns = ClockOffset(), rng.randrange(10**12)
        for _ in range(rng.randrange(1, 8)):
            there_ns = now_ns + rng.randrange(50 * MS)
            heard_ns = there_ns + rng.randrange(50 * MS)
            clock.learn(now_ns, there_ns + offset_ns, heard_ns)
            now_ns = heard_ns + rng.randrange(S)
        instant_ns = now_ns + rng.randrange(S)
        found_ns = clock.ours(instant_ns + offset_ns)
        assert abs(found_ns - instant_ns) <= clock.worst_ns


def test_questions_narrow_the_bounds_and_age_widens_them() -> None:
    clock = ClockOffset()
    clock.learn(0, 5_000 * MS + 10 * MS, 40 * MS)  # in 40 ms: within [4970, 5010] ms
    assert clock.ours(5_000 * MS) == pytest.approx(10 * MS, abs=2)
    assert clock.worst_ns == pytest.approx(20 * MS, rel=0.01)
    quick = ClockOffset()
    quick.learn(0, 5_000 * MS + 10 * MS, 40 * MS)
    quick.learn(50 * MS, 5_050 * MS + MS, 52 * MS)
    quick.ours(5_052 * MS)
    assert quick.worst_ns == pytest.approx(MS, rel=0.02)
    quick.ours(5_052 * MS + 100 * S)
    assert quick.worst_ns == pytest.approx(MS + 100 * S * DRIFT, rel=0.02)


def test_a_clock_that_was_set_begins_anew() -> None:
    clock = ClockOffset()
    clock.learn(0, S, MS)
    clock.learn(S, 90 * S, S + MS)
    assert clock.ours(90 * S) == pytest.approx(S, abs=MS)


# ---- a crew without processes ------------------------------------------------------------------------------------------


def seen(done_ns: int, took_ns: int = 5 * MS) -> dict[str, Any]:
    return {
        "done": done_ns, "sent": done_ns - took_ns, "f": "get", "name": "/", "status": 200, "bytes": 1, "exc": None
    }  # fmt: skip


def test_what_a_worker_told_waits_for_its_clock_and_keeps_its_length(tmp_path: Path) -> None:
    crew = Crew(tmp_path, origin_ns=100 * S, ours=1)
    crew.take({"t": "join", "w": "there", "number": None})
    crew.take({"t": "ops", "w": "there", "ops": [seen(905 * S)]})
    (member,) = crew.members
    assert (member.number, member.recorder.started_count) == (1, 0)  # 0 is our own child's
    crew.take({"t": "clock", "w": "there", "asked": 103 * S, "here": 903 * S, "now": 103 * S + 2 * MS})
    ((path, (row,)),) = crew.parts()
    assert path.name == "w1-00001.parquet"
    sent_ns, done_ns = row[9], row[12]
    assert done_ns - sent_ns == 5 * MS
    assert done_ns == pytest.approx(5 * S, abs=3 * MS)
    crew.take({"t": "marked", "w": "there", "what": "down applying", "here": 904 * S})
    crew.take({"t": "end", "w": "there", "requests": 1})
    (account,) = crew.accounts({}, "")
    assert (account.exit_code, account.error, account.started_count) == (0, None, 1)
    assert account.clock_error_ns is not None and account.clock_error_ns >= MS
    assert [(mark.what, round(mark.at_ns / S)) for mark in account.marks] == [("down applying", 4)]


def test_one_that_leaves_without_a_last_word_did_not_end_well(tmp_path: Path) -> None:
    crew = Crew(tmp_path, origin_ns=0, ours=2)
    for name, number in (("a", "0"), ("b", "1"), ("c", None)):
        crew.take({"t": "join", "w": name, "number": number})
    crew.take({"t": "ops", "w": "b", "ops": [seen(S)]})
    crew.take({"t": "end", "w": "a", "requests": 7})
    assert not crew.told_all(set())
    crew.take({"t": "gone", "w": "c"})
    assert crew.told_all({1})
    counted, lost, gone = crew.accounts({0: None, 1: -9}, "the log")
    assert (counted.exit_code, counted.error) == (-1, "Locust counted 7 requests and told 0")
    assert lost.exit_code == -9 and "1 requests came without a clock" in str(lost.error)
    assert (gone.exit_code, gone.error) == (-1, "Locust worker 2 went missing: the log")


# ---- live ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def locust(runner: Any, tmp_path: Path) -> Any:
    """A runner of the engine on a locustfile, over a master."""

    def make(entry: str, crew: LocustCrew, **changes: Any) -> Any:
        path = tmp_path / "locustfile.py"
        path.write_text(LOCUSTFILE)
        users = arrival_json(ArrivalSpec(users=6))
        run = runner(entry, **{"profile": str(path), "arrival": users, "crew": crew, **changes})
        run.engine = LocustEngine()
        return run

    return make


def count(run: Any, worker: int) -> int:
    return sum(len(batch.ended) for batch in run.batches if batch.worker == worker)


@pytest.mark.live
@pytest.mark.slow
async def test_three_workers_of_which_one_is_killed(target: Any, locust: Any) -> None:
    run = locust(target().url, LocustCrew(workers=3))
    try:
        await run.start()
        await run.until(lambda: all(count(run, worker) >= 10 for worker in range(3)), 40)
        assert run.engine.dead() == ()
        run.engine.mark("down applying on eu")
        os.kill(run.engine._workers[1].process.pid, signal.SIGKILL)
        await run.until(lambda: run.engine.dead() == (1,))
        before = count(run, 0)
        await run.until(lambda: count(run, 0) >= before + 10)  # the others go on
        await run.engine.stop_arrivals()
        await run.engine.drain(5 * S)
        ended_ns = run.now_ns()
    finally:
        report = await run.close()
    assert report.closed_loop
    kept, lost, other = report.workers
    for worker in (kept, other):
        assert (worker.exit_code, worker.error) == (0, None)  # Locust counted there as many as it told
        assert [mark.what for mark in worker.marks] == ["down applying on eu"]
        assert worker.clock_error_ns is not None and 0 < worker.clock_error_ns < S
    assert lost.exit_code == -signal.SIGKILL and "Locust worker 1 ended with -9" in str(lost.error)
    ops = run.ops()
    told = {number: sum(op.op >> 40 == number for op in ops) for number in range(3)}
    assert told == {worker.worker: worker.ended_count for worker in report.workers}
    assert told[1] >= 10  # what it did before it died is kept
    assert all(0 < op.intended_ns <= (op.done_ns or 0) < ended_ns + kept.clock_error_ns for op in ops)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs a clock of its own: root, unshare"
)
async def test_a_worker_with_another_clock_joins_by_master_host(target: Any, locust: Any) -> None:
    port = str(free_port())
    run = locust(target().url, LocustCrew(remote=1, bind=f"127.0.0.1:{port}"))
    # what README says for another machine; its CLOCK_MONOTONIC is a thousand hours ahead of ours
    command = ["unshare", "--time", "--monotonic", "3600000", "--kill-child", sys.executable, "-m", "locust"]
    command += ["-f", "-", "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await run.start()
        await run.until(lambda: count(run, 0) >= 30, 40)
        run.engine.mark("down applying on eu")
        marked_ns = run.now_ns()
        await asyncio.sleep(0.3)
        await run.engine.stop_arrivals()
        await run.engine.drain(5 * S)
        ended_ns = run.now_ns()
    finally:
        report = await run.close()
        worker.kill()
        worker.wait(10)
    (account,) = report.workers
    assert (account.exit_code, account.error) == (0, None)
    error_ns = account.clock_error_ns
    assert error_ns is not None and 0 < error_ns < S
    ops = run.ops()
    assert len(ops) == account.ended_count >= 30
    assert all(-error_ns < op.intended_ns <= (op.done_ns or 0) < ended_ns + error_ns for op in ops)
    (mark,) = account.marks
    assert marked_ns - error_ns - 50 * MS <= mark.at_ns <= ended_ns + error_ns


@pytest.mark.live
@pytest.mark.slow
async def test_workers_that_never_come_are_named(locust: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("harness.load.locust_engine._START_S", 3.0)
    run = locust("http://127.0.0.1:1", LocustCrew(remote=2, bind="127.0.0.1:47393"))
    with pytest.raises(UnsafeError, match="0 of 2 workers joined"):
        await run.start()
