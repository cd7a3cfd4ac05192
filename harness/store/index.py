"""The index of runs: one SQLite file beside them, rebuilt from their `result.json` whenever it is missing or behind."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunRow", "index_runs"]

_TABLE = """create table if not exists runs(
  run_id text primary key, name text, started_utc text, verdict text, recovery_lo_ns integer, recovery_hi_ns integer,
  lost integer, sentence text, plan_hash text, stack text)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run, as lists and trends need it. Recovery is null where it could not be measured."""

    run_id: str
    name: str
    started_utc: str
    verdict: str
    recovery_lo_ns: int | None
    recovery_hi_ns: int | None
    lost: int | None
    sentence: str
    plan_hash: str
    stack: str


def index_runs(reports: Path, name: str | None = None) -> tuple[RunRow, ...]:
    """Every judged run under `reports`, oldest first, of one experiment if named. A folder without `result.json` is left out."""
    if not reports.is_dir():
        return ()
    results = {path.parent.name: path for path in reports.glob("2*Z-*/result.json")}
    with closing(sqlite3.connect(reports / "index.sqlite", timeout=5)) as db, db:
        db.execute(_TABLE)
        known = {row[0] for row in db.execute("select run_id from runs")}
        db.executemany("delete from runs where run_id = ?", [(gone,) for gone in known - results.keys()])
        for run_id in sorted(results.keys() - known):
            row = _row(run_id, results[run_id])
            if row is not None:
                marks = ",".join("?" * 10)
                db.execute(
                    f"insert or replace into runs values ({marks})", tuple(getattr(row, f) for f in RunRow.__slots__)
                )
        query = "select * from runs where (?1 is null or name = ?1) order by run_id"
        return tuple(RunRow(**dict(zip(RunRow.__slots__, row, strict=True))) for row in db.execute(query, (name,)))


def _row(run_id: str, path: Path) -> RunRow | None:
    try:
        result = json.loads(path.read_text())
        recovery = result["measures"]["recovery"]["interval"] or {}
        return RunRow(
            run_id=run_id,
            name=result["run"]["name"],
            started_utc=result["run"]["started_utc"],
            verdict=result["verdict"],
            recovery_lo_ns=recovery.get("lo_ns"),
            recovery_hi_ns=recovery.get("hi_ns"),
            lost=result["measures"]["loss"]["lost"],
            sentence=result["sentence"],
            plan_hash=result["run"]["plan_hash"],
            stack=result["run"]["stack"],
        )
    except (OSError, ValueError, KeyError):
        return None
