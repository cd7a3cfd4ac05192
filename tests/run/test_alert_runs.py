"""Whole runs that receive alerts from a pager in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.run.small import EXPERIMENT, STACK, Small

PAGER = Path(__file__).with_name("pager.py")
WITH_PAGER = STACK.replace(
    "links:\n",
    f'  pager: {{host: {{process: [{sys.executable}, -I, {PAGER}, "http://${{link:a}}/items", "${{run:alerts}}"]}}}}\n'
    "signals: {alerts: webhook}\nlinks:\n",
)
OBJECTIVES = "objectives: [alert.ShopDown.fires <= 20s, alert.ShopDown.clears <= 30s, alert.DiskFull.fires <= 10ms]"


@pytest.mark.live
@pytest.mark.slow
def test_alerts_of_a_run_are_received_timed_and_judged(tmp_path: Path) -> None:
    experiment = EXPERIMENT.replace("objectives: [recovery_time <= 5s, data_loss = 0]", OBJECTIVES)
    small = Small(tmp_path / "project", stack=WITH_PAGER, experiment=experiment)
    code, out, talk = small.run()
    assert code == 1, (out, talk)
    (run,) = small.runs
    result = json.loads((run / "result.json").read_text())
    judged = {one["text"]: one["status"] for one in result["objectives"]}
    assert judged["alert.ShopDown.fires <= 20s"] == "met"
    assert judged["alert.ShopDown.clears <= 30s"] == "met"
    assert judged["alert.DiskFull.fires <= 10ms"] == "missed", "the receiver was proven, and it did not fire"
    rows = {row["name"]: row for row in result["measures"]["alerts"]}
    assert rows["ShopDown"]["fires"]["hi_ns"] < rows["ShopDown"]["clears"]["lo_ns"]
    assert rows["Watchdog"]["before"] is True
    instants = result["measures"]["instants"]
    assert instants["detection_source"] == "ShopDown (alerts)"
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    closed = next(event for event in events if event.get("code") == "alerts-closed")
    assert closed["data"]["posts"] >= 3
    assert (closed["data"]["refused"], closed["data"]["left_out"]) == (0, 0)
    assert "ShopDown" in (run / "report.html").read_text()
