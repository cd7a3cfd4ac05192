"""The index of runs says what their results say now, and is never needed."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from harness.store.index import Failure, Spent, index_runs

RUN = "20261123T100002Z-region-kill-7f3a"


def judged(reports: Path, verdict: str, run_id: str = RUN) -> Path:
    folder = reports / run_id
    folder.mkdir(exist_ok=True)
    result = {
        "run": {"name": "region-kill", "started_utc": "2026-11-23T10:00:02Z", "plan_hash": "h", "stack": "genai"},
        "verdict": verdict,
        "sentence": "it came back",
        "measures": {"recovery": {"interval": {"lo_ns": 1, "hi_ns": 2}}, "loss": {"lost": 0}},
    }
    draft = folder / "draft"
    draft.write_text(json.dumps(result))
    os.replace(draft, folder / "result.json")
    return folder


def verdicts(reports: Path) -> list[str]:
    return [row.verdict for row in index_runs(reports)]


def test_a_run_that_is_judged_again_is_read_again(tmp_path: Path) -> None:
    judged(tmp_path, "PASS")
    assert verdicts(tmp_path) == ["PASS"]
    judged(tmp_path, "FAIL")
    assert verdicts(tmp_path) == ["FAIL"]


def test_drills_are_listed_beside_experiments(tmp_path: Path) -> None:
    judged(tmp_path, "PASS")
    folder = tmp_path / "20261124T100002Z-quarter-0001"
    folder.mkdir()
    run = {"name": "quarter", "title": "Q", "started_utc": "2026-11-24T10:00:02Z", "plan_hash": "d", "mode": "live"}
    body = {"schema": "blackstart/drill-result/1", "run": run, "verdict": "FAIL", "sentence": "page was skipped."}
    (folder / "result.json").write_text(json.dumps(body))
    assert [(row.kind, row.name, row.verdict) for row in index_runs(tmp_path, kind=None)] == [
        ("experiment", "region-kill", "PASS"),
        ("drill", "quarter", "FAIL"),
    ]
    assert verdicts(tmp_path) == ["PASS"], "what compares experiments never meets a drill"
    assert [row.mode for row in index_runs(tmp_path, "quarter", "drill")] == ["live"]


def test_what_a_run_cost_and_caused_is_kept_through_the_index(tmp_path: Path) -> None:
    folder = judged(tmp_path, "PASS")
    result = json.loads((folder / "result.json").read_text())
    cost = {"slo": "a", "target_ratio": 0.999, "window_ns": 10, "cost_share_ratio": 0.25, "notional": True}
    result["measures"]["budgets"] = [cost | {"bad": 1}]
    result["objectives"] = [{"measure": "recovery_time", "limit": "<= 5 s", "margin_ratio": 0.4}]
    result["faults"] = [
        {
            "kind": "kill",
            "targets": ["gw-1"],
            "services": ["gateway"],
            "effect": {"lo_ns": 1, "hi_ns": 2},
            "witnessed": True,
        },
        {"kind": "pause", "targets": ["gw-1"], "services": ["gateway"], "effect": None, "witnessed": False},
    ]
    (folder / "result.json").write_text(json.dumps(result))
    for _ in range(2):  # read, then out of the index
        (row,) = index_runs(tmp_path)
        assert row.budgets == (Spent(slo="a", target_ratio=0.999, window_ns=10, share_ratio=0.25, notional=True),)
        assert row.failures == (Failure(kind="kill", service="gateway"),), "what was never applied was not caused"
        assert (row.limit_text, row.limit_ratio) == ("<= 5 s", 0.6)


def test_a_run_that_is_gone_is_not_listed(tmp_path: Path) -> None:
    folder = judged(tmp_path, "PASS")
    judged(tmp_path, "FAIL", "20261124T100002Z-region-kill-0000")
    assert verdicts(tmp_path) == ["PASS", "FAIL"]
    (folder / "result.json").unlink()
    assert verdicts(tmp_path) == ["FAIL"]


def test_a_damaged_index_changes_nothing(tmp_path: Path) -> None:
    judged(tmp_path, "PASS")
    (tmp_path / "index.sqlite").write_bytes(b"not a database, but as long as a header of one would be, and longer" * 20)
    assert verdicts(tmp_path) == ["PASS"]
    assert (tmp_path / "index.sqlite").read_bytes().startswith(b"not a database"), "it is left for a person to look at"


def test_an_index_of_an_older_version_changes_nothing(tmp_path: Path) -> None:
    judged(tmp_path, "PASS")
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("create table runs(run_id text primary key, name text)")
    assert verdicts(tmp_path) == ["PASS"]
