"""PostgreSQL, primary and standby: what an asynchronous standby loses is exactly what was acknowledged while it was cut off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.history.table import OpTable
from tests.experiments.conftest import Done, Drill

BIN = Path("/usr/lib/postgresql/15/bin")
pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not (BIN / "postgres").exists() or shutil.which("psql") is None, reason="needs postgresql-15"),
]


def effect(done: Done, fault: str) -> tuple[int, int]:
    """When a fault took effect: not before, not after."""
    found: dict[str, Any] = next(one for one in done.result["faults"] if one["id"] == fault)
    return found["effect"]["lo_ns"], found["effect"]["hi_ns"]


def acknowledged(done: Done, since_ns: int, until_ns: int) -> int:
    """Rows acknowledged by the first primary in a span."""
    ops = OpTable.read(done.path / "ops").ops()
    served = [op.done_ns for op in ops if op.outcome == "ok" and op.f == "add" and op.served_by == "primary"]
    return sum(since_ns < done_ns <= until_ns for done_ns in served if done_ns is not None)


def test_an_asynchronous_standby_loses_what_was_acknowledged_during_the_cut(drill: Drill) -> None:
    done = drill("postgres-failover")
    done.expect("FAIL")
    (durable,) = (check for check in done.result["checks"] if check["name"] == "durable")
    assert durable["verdict"] == "invalid"
    cut, killed = effect(done, "replication-cut"), effect(done, "primary-down")
    lost = done.result["measures"]["loss"]["lost"]
    assert acknowledged(done, cut[1], killed[0]) <= lost <= acknowledged(done, cut[0], killed[1])
    assert lost > 0
    assert done.result["measures"]["loss"]["recoverable"] == lost, "the fenced primary still has every one of them"
    assert durable["evidence"]
    listed = done.result["measures"]["loss"]["writes"]
    assert len({row["op"] for row in listed}) == lost, "every lost row is listed, once"
    assert all(cut[0] <= row["acked_ns"] <= killed[1] for row in listed), "each was acknowledged during the cut"
    assert {check["name"]: check["verdict"] for check in done.result["checks"] if check["name"] != "durable"} == {
        "phantom": "valid",
        "single-writer": "valid",
    }
    assert done.result["measures"]["recovery"]["recovered_by"] == "step"
    assert done.result["measures"]["instants"]["failover_ns"] >= 1_000_000_000, "the timeline of the promoted standby"
    assert "fenced:" in (done.path / "logs" / "primary.log").read_text()


def test_a_synchronous_standby_loses_nothing(drill: Drill) -> None:
    done = drill("postgres-failover-sync")
    done.expect("PASS")
    assert done.result["measures"]["loss"] | {"lost": 0, "known": True} == done.result["measures"]["loss"]
    assert done.result["measures"]["recovery"]["recovered_by"] == "step"


def test_without_the_server_it_is_refused(drill: Drill, tmp_path: Path) -> None:
    done = drill("postgres-failover", f"stack.params.bin={tmp_path}")
    assert (done.code, done.result["verdict"]) == (4, "REFUSED")
    assert f"no PostgreSQL in {tmp_path}: install it" in done.result["sentence"]
