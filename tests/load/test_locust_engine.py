"""Engine `locust`: a locustfile as its author left it, in Locust itself; what it did is in our records, as a closed loop."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError, UnsafeError
from harness.load.engines import ENGINES, open_engine
from harness.load.locust_engine import LocustEngine
from harness.model.arrivals import arrival_json
from harness.model.experiment import ArrivalSpec

pytestmark = [pytest.mark.slow, pytest.mark.live]

LOCUSTFILE = """\
from locust import FastHttpUser, HttpUser, constant_pacing, task


class Fast(FastHttpUser):
    fixed_count = 2
    wait_time = constant_pacing(0.05)

    @task
    def get(self):
        self.client.get("/", name="front")


class Slow(HttpUser):
    fixed_count = 1
    wait_time = constant_pacing(0.1)

    @task
    def post(self):
        self.client.post("/add?item=1", name="/cart")
"""


@pytest.fixture
def locust(runner: Any, tmp_path: Path) -> Any:
    """A runner of the engine on a locustfile."""

    def make(entry: str, body: str = LOCUSTFILE, **changes: Any) -> Any:
        path = tmp_path / "locustfile.py"
        path.write_text(body)
        users = arrival_json(ArrivalSpec(users=3))
        run = runner(entry, **{"profile": str(path), "arrival": users, **changes})
        run.engine = LocustEngine()
        return run

    return make


def test_the_engines_by_name() -> None:
    assert {name: type(open_engine(name)).__name__ for name in ENGINES} == {
        "asyncio": "AsyncioEngine",
        "locust": "LocustEngine",
    }


async def test_every_request_is_an_op(target: Any, locust: Any) -> None:
    server = target()
    run = locust(server.url)
    try:
        await run.start()
        await run.until(lambda: run.ended_count >= 60)
        server.process.kill()
        await run.until(lambda: any(op.outcome == "fail" for batch in run.batches for op in batch.ended))
        begun_ns = run.now_ns()
        await run.engine.stop_arrivals()
        await run.engine.drain(3 * 10**9)
    finally:
        report = await run.close()
    ops = run.ops()
    (worker,) = report.workers
    assert (report.engine, report.closed_loop, report.model, worker.exit_code) == ("locust", True, None, 0), (
        worker.error
    )
    assert worker.started_count == worker.ended_count == len(ops)  # and as many as Locust counted itself
    assert {op.f for op in ops} == {"get", "post"}
    good = [op for op in ops if op.outcome == "ok"]
    assert {(op.f, op.key, op.status) for op in good} == {("get", "front", 200), ("post", "/cart", 200)}
    late = [op.op for op in ops if not 0 < op.intended_ns <= (op.done_ns or 0) < begun_ns + 10**10]
    assert late == []
    bad = [op for op in ops if op.outcome != "ok"]
    assert "refused" in {op.error for op in bad}, {op.error for op in bad}
    assert {op.outcome for op in bad if op.error == "refused"} == {"fail"}  # surely not done, read or write


async def test_one_that_is_stopped_under_load_told_what_it_counted(target: Any, locust: Any) -> None:
    body = """\
import gevent
from locust import FastHttpUser, events, task


@events.quitting.add_listener
def linger(**_):
    gevent.sleep(0.3)  # its users go on meanwhile


class Busy(FastHttpUser):
    fixed_count = 3

    @task
    def get(self):
        self.client.get("/")
"""
    run = locust(target().url, body)
    try:
        await run.start()
        await run.until(lambda: run.ended_count >= 100)
    finally:
        report = await run.close()
    (worker,) = report.workers
    assert (worker.exit_code, worker.error) == (0, None)
    assert worker.started_count == len(run.ops()) > 100


async def test_a_locust_that_dies_is_told_and_its_ops_are_kept(target: Any, locust: Any) -> None:
    run = locust(target().url)
    try:
        await run.start()
        await run.until(lambda: run.ended_count >= 30)
        assert run.engine.dead() == ()
        run.engine._head.process.send_signal(signal.SIGKILL)
        await run.until(lambda: run.engine.dead() == (0,))
    finally:
        report = await run.close()
    (worker,) = report.workers
    assert worker.exit_code == -signal.SIGKILL
    assert "Locust ended with -9" in worker.error
    assert len(run.ops()) == worker.started_count >= 30


async def test_what_cannot_be_is_refused(locust: Any, monkeypatch: Any) -> None:
    run = locust("http://127.0.0.1:1", arrival=arrival_json(ArrivalSpec(rate_per_s=5)))
    with pytest.raises(SpecError, match="a closed loop: expected users"):
        await run.start()
    run = locust("http://127.0.0.1:1", options={"path": "/"})
    with pytest.raises(SpecError, match="no options, got path"):
        await run.start()
    run = locust("http://127.0.0.1:1", body="import nothing_of_that_name\n")
    with pytest.raises(UnsafeError, match=r"(?s)did not come up: .*nothing_of_that_name"):
        await run.start()
    monkeypatch.setattr("harness.load.locust_engine.find_spec", lambda _: None)
    run = locust("http://127.0.0.1:1")
    with pytest.raises(UnsafeError, match="not installed"):
        await run.start()
