"""The reference stack on PostgreSQL, Redis and HAProxy: the same drills come to the same, healthy and with a defect."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.experiments.conftest import Done, Drill

BIN = Path("/usr/lib/postgresql/15/bin")
pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not (BIN / "postgres").exists(), reason="needs postgresql-15"),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy"),
]
REAL = "stack=genai-real"


def valid(done: Done) -> set[str]:
    return {check["name"] for check in done.result["checks"] if check["verdict"] == "valid"}


def test_a_region_with_its_database_and_its_cache_dies_and_nothing_is_lost(drill: Drill) -> None:
    done = drill("region-kill", REAL)
    done.expect("PASS")
    killed = {name for fault in done.result["faults"] for name in fault["targets"]}
    assert killed == {"gateway-eu", "engine-eu", "journal-eu", "postgres-eu", "redis-eu"}
    assert done.result["measures"]["recovery"]["state"] == "recovered"
    assert done.result["measures"]["loss"]["lost"] == 0
    assert {"durable", "exactly-once", "converged", "sealed", "replay"} <= valid(done)


def test_a_primary_that_acknowledges_too_early_is_found_there_too(drill: Drill) -> None:
    done = drill("region-kill", "stack={file: genai-real, params: {mutant: ack-before-replicate}}")
    done.expect("FAIL")
    assert "durable" not in valid(done)
    assert done.result["measures"]["loss"]["lost"] > 0


def test_a_database_that_hangs_costs_its_region_the_lead(drill: Drill) -> None:
    done = drill("store-freeze")
    done.expect("PASS")
    assert [fault["targets"] for fault in done.result["faults"]] == [["postgres-eu"]]
    assert done.result["measures"]["recovery"]["state"] == "recovered"
