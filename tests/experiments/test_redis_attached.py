"""A Redis that runs already: attached to by its pid file, cut off through a link, measured, checked, and left as it was."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.conftest import Drill
from tests.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(240)]

LIMIT_S = 20.0


def ask(port: int, *words: str) -> str:
    """The answer of redis-cli."""
    command = ["redis-cli", "-p", str(port), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout.strip()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[int, int, Path]]:
    """(port, pid, pid file) of a Redis that knows nothing of us."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    port, pidfile = free_port(), tmp_path / "redis.pid"
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    command += ["--appendonly", "yes", "--pidfile", str(pidfile)]
    with (tmp_path / "redis.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + LIMIT_S
        while (
            not pidfile.exists()
            or subprocess.run(["redis-cli", "-p", str(port), "PING"], capture_output=True).returncode
        ):
            assert server.poll() is None and time.monotonic() < deadline_s, (tmp_path / "redis.log").read_text()
            time.sleep(0.02)
        yield port, server.pid, pidfile
    finally:
        server.terminate()
        server.wait(LIMIT_S)


def test_an_attached_redis_is_cut_off_measured_and_left_running(redis: tuple[int, int, Path], drill: Drill) -> None:
    port, pid, pidfile = redis
    begun_with = ask(port, "CONFIG", "GET", "*")
    done = drill("redis-refused", f"stack.params.port={port}", f"stack.params.pidfile={pidfile}")
    done.expect("PASS")
    measures = done.result["measures"]
    assert measures["recovery"]["recovered_by"] == "revert"
    assert measures["recovery"]["interval"]["hi_ns"] >= 3_500_000_000, "it was away for 4 s"
    assert measures["counts"]["by_error"].keys() <= {"refused", "reset", "eof"}
    assert {check["name"]: check["verdict"] for check in done.result["checks"]} == {
        "durable": "valid",
        "phantom": "valid",
    }
    assert done.result["faults"][0]["exposure"]["met"] is True, "counted on the link: no op says who served it"
    # What this stack and profile name nothing for is unknown, and says what would have to be named.
    why = measures["instants"]["why"]
    assert {
        name: measures["instants"][f"{name}_ns"] for name in ("detection", "failover", "failback")
    } == dict.fromkeys(("detection", "failover", "failback"))
    assert why["detection"] == "unknown: the stack file names no events (`signals:`)"
    assert why["failover"] == "unknown: no operation says under which epoch, or by which instance, it was served"
    assert why["failback"] == "unknown: no operation says which region served it"
    report = (done.path / "report.html").read_text()
    for text in why.values():
        assert text.replace("`", "") in report.replace("`", "")

    assert ask(port, "INFO", "server").split("process_id:")[1].split()[0] == str(pid), "the same process as before"
    assert ask(port, "CONFIG", "GET", "*") == begun_with, "its settings are untouched"
    keys = ask(port, "KEYS", "*").split()
    assert keys
    assert all(key.startswith("blackstart:") and int(ask(port, "TTL", key)) > 0 for key in keys[:3])


def test_a_redis_that_does_not_run_is_refused(tmp_path: Path, drill: Drill) -> None:
    done = drill("redis-refused", f"stack.params.port={free_port()}", f"stack.params.pidfile={tmp_path / 'none.pid'}")
    assert (done.code, done.result["verdict"]) == (4, "REFUSED")
    assert "instance redis: not running (there is no pid file" in done.result["sentence"]
