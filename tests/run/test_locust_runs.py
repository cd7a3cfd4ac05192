"""A whole run whose load is Locust over a master and three workers, one of which is killed in the middle of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness.history.table import OpTable
from tests.run.small import Small, processes_of

LOCUSTFILE = """\
from locust import FastHttpUser, constant_pacing, task


class Buyer(FastHttpUser):
    wait_time = constant_pacing(0.1)

    @task
    def buy(self):
        self.client.post("/add?item=1", name="add")
"""


@pytest.mark.live
@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_its_ops_and_nothing_proven(tmp_path: Path) -> None:
    small = Small(tmp_path / "run", profile=LOCUSTFILE)
    for old, new in (
        ("profile: profile.py:Buyer", "profile: profile.py\n  engine: locust"),
        ("{rate: 100/s}", "{users: 12}"),
        ("objectives: [recovery_time <= 5s, data_loss = 0]", "objectives: [recovery_time <= 5s]"),
    ):
        assert old in small.experiment
        small.experiment = small.experiment.replace(old, new)
    with small.start("--locust-workers", "3") as process:
        try:
            until_s = time.monotonic() + 60
            while not list(small.folder.glob("reports/*/ops/w1-*.parquet")):
                assert process.poll() is None and time.monotonic() < until_s
                time.sleep(0.02)
            workers = [line.split()[0] for line in processes_of(small.folder) if "--worker " in line]
            (victim,) = [
                pid for pid in workers if b"BLACKSTART_LOCUST_WORKER=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
            ]
            os.kill(int(victim), signal.SIGKILL)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 3
    result = small.result()
    assert result["verdict"] == "INCONCLUSIVE"
    (reason,) = [reason for reason in result["reasons"] if reason["code"] == "dead-worker"]
    assert reason["text"].startswith("1 load worker(s) died: Locust worker 1 ended with -9")
    validity = result["validity"]
    assert (validity["workers"], validity["dead_workers"], validity["closed_loop"]) == (3, 1, True)
    assert validity["accounted"] and validity["clock_error_ns"] > 0
    (run,) = small.runs
    told = OpTable.read(run / "ops").ints("op") >> 40
    assert {int(worker) for worker in told} == {0, 1, 2}
    (account,) = [
        line for line in (run / "events.jsonl").read_text().splitlines() if '"t":"load"' in line.replace(" ", "")
    ]
    for stage in ("applying", "witnessed", "reverting", "reverted"):
        assert account.count(f"cut {stage} on a") == 2  # each of the two that lived heard of it
    assert sum(result["series"]["begun_per_100ms"]) == len(told)
    page = (run / "report.html").read_text()
    assert "Closed loop: requests begun, per second, every 100 ms" in page
    assert "spans of 100 ms nothing was asked" in page
    assert [line for line in processes_of(small.folder) if "locust" in line] == []
