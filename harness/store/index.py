"""The index of runs: one SQLite file beside them, rebuilt from their `result.json` whenever it is missing or behind."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunRow", "index_runs"]

_TABLE = """create table if not exists judged(
  run_id text primary key, name text, started_utc text, verdict text, recovery_lo_ns integer, recovery_hi_ns integer,
  lost integer, sentence text, plan_hash text, stack text, stamp text)"""


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
    """Every judged run under `reports`, oldest first, of one experiment if named. A folder without `result.json` is left out.

    A run that was judged again since is read again. Where the index cannot be used (a folder that is not ours to write, a
    damaged file), the answer is the same, from the results alone.
    """
    if not reports.is_dir():
        return ()
    try:
        return _indexed(reports, str(reports / "index.sqlite"), name)
    except sqlite3.Error:
        return _indexed(reports, ":memory:", name)


def _indexed(reports: Path, where: str, name: str | None) -> tuple[RunRow, ...]:
    stamps = {path.parent.name: _stamp(path) for path in reports.glob("2*Z-*/result.json")}
    with closing(sqlite3.connect(where, timeout=5)) as db, db:
        db.execute(_TABLE)
        known = dict(db.execute("select run_id, stamp from judged"))
        behind = [run_id for run_id, stamp in known.items() if stamps.get(run_id) != stamp]
        db.executemany("delete from judged where run_id = ?", [(run_id,) for run_id in behind])
        for run_id in sorted(run_id for run_id, stamp in stamps.items() if known.get(run_id) != stamp):
            row = _row(run_id, reports / run_id / "result.json")
            if row is not None:
                values = (*(getattr(row, each) for each in RunRow.__slots__), stamps[run_id])
                db.execute(f"insert into judged values ({','.join('?' * len(values))})", values)
        columns = ", ".join(RunRow.__slots__)
        query = f"select {columns} from judged where (?1 is null or name = ?1) order by run_id"
        return tuple(RunRow(**dict(zip(RunRow.__slots__, row, strict=True))) for row in db.execute(query, (name,)))


def _stamp(path: Path) -> str:
    """Another one once the file was written anew."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"


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
