"""The index of runs: one SQLite file beside them, rebuilt from their `result.json` whenever it is missing or behind."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["Failure", "Kind", "RunRow", "Spent", "index_runs"]

Kind = Literal["experiment", "drill"]
_DRILL = "blackstart/drill-result/1"
_TABLE = "create table if not exists listed(run_id text primary key, stamp text, row text)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run cost one SLO, as a share of its budget for a window. `notional`: no production traffic was declared."""

    slo: str
    target_ratio: float
    window_ns: int
    share_ratio: float
    notional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure that a run really caused: the kind of fault, and whose failure it was."""

    kind: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run of an experiment, or one drill, as lists and trends need it. Recovery is null where it could not be measured.

    `limit_ratio` is the upper bound of recovery as a share of the limit of its objective, null without one. `comparable`
    null: recorded by a version that did not note it. `mode` is of drills alone.
    """

    run_id: str
    kind: Kind = "experiment"
    name: str
    title: str = ""
    started_utc: str
    verdict: str
    recovery_lo_ns: int | None
    recovery_hi_ns: int | None
    recovery_state: str = ""
    limit_text: str = ""
    limit_ratio: float | None = None
    lost: int | None
    harmed: int | None = None
    sentence: str
    plan_hash: str
    comparable: str | None = None
    stack: str
    environment: str = ""
    mode: str = ""
    budgets: tuple[Spent, ...] = ()
    failures: tuple[Failure, ...] = ()


def index_runs(reports: Path, name: str | None = None, kind: Kind | None = "experiment") -> tuple[RunRow, ...]:
    """Every judged run under `reports`, oldest first, of one name if given; of experiments, of drills, or (None) of both.

    A folder without `result.json` is left out; a run that was judged again since is read again. Where the index cannot be
    used (a folder that is not ours to write, a damaged file), the answer is the same, from the results alone.
    """
    if not reports.is_dir():
        return ()
    try:
        rows = _indexed(reports, str(reports / "index.sqlite"))
    except sqlite3.Error:
        rows = _indexed(reports, ":memory:")
    return tuple(row for row in rows if (name is None or row.name == name) and (kind is None or row.kind == kind))


def _indexed(reports: Path, where: str) -> tuple[RunRow, ...]:
    stamps = {path.parent.name: _stamp(path) for path in reports.glob("2*Z-*/result.json")}
    with closing(sqlite3.connect(where, timeout=5)) as db, db:
        db.execute(_TABLE)
        known = dict(db.execute("select run_id, stamp from listed"))
        behind = [run_id for run_id, stamp in known.items() if stamps.get(run_id) != stamp]
        db.executemany("delete from listed where run_id = ?", [(run_id,) for run_id in behind])
        for run_id in sorted(run_id for run_id, stamp in stamps.items() if known.get(run_id) != stamp):
            row = _row(run_id, reports / run_id / "result.json")
            if row is not None:
                db.execute("insert into listed values (?, ?, ?)", (run_id, stamps[run_id], json.dumps(asdict(row))))
        return tuple(_read(json.loads(text)) for (text,) in db.execute("select row from listed order by run_id"))


def _read(raw: dict[str, Any]) -> RunRow:
    budgets = tuple(Spent(**one) for one in raw.pop("budgets"))
    failures = tuple(Failure(**one) for one in raw.pop("failures"))
    return RunRow(**raw, budgets=budgets, failures=failures)


def _stamp(path: Path) -> str:
    """Another one once the file was written anew."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"2 {found.st_mtime_ns} {found.st_size} {found.st_ino}"


def _row(run_id: str, path: Path) -> RunRow | None:
    try:
        result = json.loads(path.read_text())
        return _drill(run_id, result) if result.get("schema") == _DRILL else _experiment(run_id, result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _drill(run_id: str, result: dict[str, Any]) -> RunRow:
    run = result["run"]
    return RunRow(
        run_id=run_id,
        kind="drill",
        name=run["name"],
        title=run["title"],
        started_utc=run["started_utc"],
        verdict=result["verdict"],
        recovery_lo_ns=None,
        recovery_hi_ns=None,
        lost=None,
        sentence=result["sentence"],
        plan_hash=run["plan_hash"],
        stack="",
        mode=run["mode"],
    )


def _experiment(run_id: str, result: dict[str, Any]) -> RunRow:
    run, measures = result["run"], result["measures"]
    recovery = measures["recovery"]["interval"] or {}
    stated: dict[str, Any] = next(
        (one for one in result.get("objectives", ()) if one["measure"] == "recovery_time"), {}
    )
    margin = stated.get("margin_ratio")
    return RunRow(
        run_id=run_id,
        name=run["name"],
        title=run.get("title", ""),
        started_utc=run["started_utc"],
        verdict=result["verdict"],
        recovery_lo_ns=recovery.get("lo_ns"),
        recovery_hi_ns=recovery.get("hi_ns"),
        recovery_state=measures["recovery"].get("state", ""),
        limit_text=stated.get("limit", ""),
        limit_ratio=None if margin is None else 1 - margin,
        lost=measures["loss"]["lost"],
        harmed=measures.get("counts", {}).get("bad"),
        sentence=result["sentence"],
        plan_hash=run["plan_hash"],
        comparable=(run.get("provenance") or {}).get("comparable"),
        stack=run["stack"],
        environment=run.get("environment", ""),
        budgets=tuple(
            Spent(
                slo=one["slo"],
                target_ratio=one["target_ratio"],
                window_ns=one["window_ns"],
                share_ratio=one["cost_share_ratio"],
                notional=one["notional"],
            )
            for one in measures.get("budgets", ())
        ),
        failures=tuple(
            Failure(kind=one["kind"], service=service)
            for one in result.get("faults", ())
            if one["effect"] is not None and one.get("witnessed")
            for service in one.get("services", ())
        ),
    )
