"""The index of runs says what their results say now, and is never needed."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from harness.store.index import index_runs

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
