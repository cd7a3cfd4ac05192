"""Large histories: measure, judge and render a run of many ops, and pandas reading the same Parquet; time and memory.

Each reading is a process of its own: `python -m tests.bench.histories report|pandas FOLDER`, one JSON line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.finding import Finding

__all__ = ["MILLION", "histories", "make_run", "peak_gb"]

MILLION = 1_000_000
PART = 250_000


def histories(tenfold: bool = False) -> list[Finding]:
    """A million ops; with `tenfold`, ten million as well."""
    with tempfile.TemporaryDirectory() as folder:
        small = make_run(Path(folder), MILLION)
        ours, theirs = _child("report", small), _child("pandas", small)
        ours2, theirs2 = _child("report", small), _child("pandas", small)
        best, beside = min(ours["s"], ours2["s"]), min(theirs["s"], theirs2["s"])
        found = [
            Finding(
                what="1 M ops, measure + render: pandas reads",
                ours=f"{best:.1f} s",
                beside=f"{beside:.2f} s",
                ratio=best / beside,
                limit=6,
            ),
            Finding(
                what="1 M ops, peak memory: 1.5 GB",
                ours=f"{ours['gb']:.2f} GB",
                beside="1.5 GB",
                ratio=ours["gb"] / 1.5,
                limit=1,
            ),
        ]
        if tenfold:
            large = _child("report", make_run(Path(folder), 10 * MILLION))
            found += [
                Finding(
                    what="10 M ops: 1 M ops",
                    ours=f"{large['s']:.1f} s",
                    beside=f"{best:.1f} s",
                    ratio=large["s"] / best,
                    limit=11,
                ),
                Finding(
                    what="10 M ops, peak memory: that of 1 M",
                    ours=f"{large['gb']:.2f} GB",
                    beside=f"{ours['gb']:.2f} GB",
                    ratio=large["gb"] / ours["gb"],
                    limit=None,
                ),
            ]
    return found


def _child(what: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.histories", what, str(folder)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=170).stdout
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def make_run(reports: Path, count: int) -> Path:
    """A run of `count` ops at 2000/s, with an outage of 2 s in it: logs of 200 sessions, which the final reads hold whole."""
    from harness.cli.importing import _plan, _record
    from harness.history.events import LoadEvent, PhaseEvent, PhaseName, RunEvent
    from harness.history.op import Op
    from harness.load.imported import Imported
    from harness.model.ports import LoadReport
    from harness.plan.make import plan_hash
    from harness.run.recorder import Recorder
    from harness.store.rundir import RunDir

    last_ns = count * 500_000
    ops = tuple(
        Op(op=number, f="get", intended_ns=at, sent_ns=at, done_ns=at + 1, outcome="ok")
        for number, at in enumerate((0, last_ns))
    )
    log = Imported(tool="bench", ops=ops, began_ns=1_764_000_000_000_000_000, closed_loop=False)
    plan = replace(
        _plan("bench", log, Path("bench"), ["latency.p99.all <= 1s", "bad <= 50%", "data_loss = 0"]),
        window_ns=3_000_000_000,
    )
    plan = replace(plan, hash=plan_hash(plan))
    run_dir = RunDir.create(reports, f"bench-{count}", datetime.now(UTC))
    _record(run_dir, plan, log, Path("bench"), closed=False)
    for path in run_dir.ops.glob("*.parquet"):
        path.unlink()
    run_dir.events.unlink()
    recorder = Recorder(run_dir.events)
    at = datetime.now(UTC).isoformat()
    recorder.emit(
        RunEvent(
            at_ns=0,
            run_id=run_dir.run_id,
            name="bench",
            wall_utc=at,
            origin_ns=0,
            seed=0,
            plan_hash=plan.hash,
            version="0",
        )
    )
    phases: tuple[tuple[int, PhaseName], ...] = ((0, "steady"), (19_000_000_000, "observe"), (last_ns, "seal"))
    for at_ns, phase in phases:
        recorder.emit(PhaseEvent(at_ns=at_ns, phase=phase))
    recorder.emit(
        LoadEvent(
            at_ns=last_ns,
            report=asdict(LoadReport(engine="asyncio", profile="bench", model="log", closed_loop=False, workers=())),
        )
    )
    recorder.seal()
    for begin in range(0, count, PART):
        _write(run_dir.ops / f"w0-{begin // PART:05d}.parquet", _load(begin, min(PART, count - begin)))
    _write(run_dir.ops / "w0-99999.parquet", _final(count))
    return run_dir.path


SESSIONS = 200


def _load(begin: int, count: int) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(begin)
    number = np.arange(begin, begin + count)
    due = number * 500_000
    took = rng.lognormal(15.5, 0.5, count).astype(np.int64)
    bad = (due > 20_000_000_000) & (due < 22_000_000_000)
    regions = np.array(["eu", "us"])[number % 2]
    return {
        "op": number, "user": number % SESSIONS, "writer": np.char.add("w", (number % SESSIONS).astype(str)),
        "session": np.char.add("s", (number % SESSIONS).astype(str)), "f": np.where(number % 4 == 0, "read", "append"),
        "value": np.char.add("v", number.astype(str)), "intended_ns": due, "sent_ns": due + 50_000,
        "first_ns": due + took // 2, "done_ns": due + took, "outcome": np.where(bad, "info", "ok"),
        "status": np.where(bad, 502, 200), "served_by": regions, "region": regions, "phase": np.repeat("load", count),
    }  # fmt: skip


def _final(count: int) -> dict[str, Any]:
    """What each session's log holds: all that was appended, whether it was acknowledged or not."""
    import numpy as np

    session = np.arange(SESSIONS)
    at = np.repeat(count * 500_000 + 1_000_000_000, SESSIONS)
    held = [json.dumps([f"v{n}" for n in range(first, count, SESSIONS) if n % 4]) for first in range(SESSIONS)]
    name = np.char.add("s", session.astype(str))
    return {
        "op": count + session, "user": session, "writer": name, "session": name, "f": np.repeat("read", SESSIONS),
        "intended_ns": at, "sent_ns": at, "done_ns": at + 1_000_000, "outcome": np.repeat("ok", SESSIONS), "result": held,
        "phase": np.repeat("final", SESSIONS),
    }  # fmt: skip


def _write(path: Path, made: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.history.schema import COLUMNS, arrow_schema

    schema, count = arrow_schema(), len(made["op"])
    fill = {"int16": 1, "int32": 0, "int64": 0, "bool": False, "string": "", "dict": "load"}
    columns = []
    for name, kind, nullable in COLUMNS:
        field = schema.field(name)
        plain = pa.string() if pa.types.is_dictionary(field.type) else field.type
        if name in made:
            column = pa.array(made[name]).cast(plain)
        else:
            column = pa.nulls(count, plain) if nullable else pa.array([fill[kind]] * count, plain)
        columns.append(column.dictionary_encode().cast(field.type) if pa.types.is_dictionary(field.type) else column)
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="zstd")


def _read(what: str, folder: Path) -> dict[str, float]:
    if what == "pandas":
        import pandas as pd

        begun = time.perf_counter()
        rows = len(pd.read_parquet(folder / "ops"))
    else:
        from harness.registry import catalog
        from harness.run.outcome import rejudge
        from harness.store.rundir import RunDir

        catalog()
        begun = time.perf_counter()
        rows = rejudge(RunDir(folder), catalog()).measures.counts.offered
    took = time.perf_counter() - begun
    return {"s": took, "rows": rows, "gb": peak_gb()}


def peak_gb() -> float:
    """This program's own highest resident memory. (`ru_maxrss` would be that of the process that started it, where it had more.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1e6


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_read(sys.argv[1], Path(sys.argv[2]))) + "\n")
