"""A million operations as a run leaves them, for what it costs to judge them: sessions' logs, and registers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from harness.check.context import CheckContext, FaultSpan
from harness.check.run import run_check
from harness.history.history import History
from harness.history.schema import COLUMNS, arrow_schema
from harness.history.table import OpTable
from harness.model.experiment import CheckSpec
from harness.registry import catalog
from tests.bench.histories import peak_gb

OPS = 1_000_000
S = 1_000_000_000
REGIONS = ("eu-west", "us-east")
LOGS = (
    "durable", "exactly-once", "session-order", "converged", "phantom", "fresh", "session-guarantees", "single-writer",
)  # fmt: skip
"""Every check of logs that needs no search; streams (`resume`) are another load."""


def context(model: str) -> CheckContext:
    """One fault in the middle of ten thousand seconds."""
    span = FaultSpan(id="cut", effect_lo_ns=5000 * S, effect_hi_ns=5000 * S, end_lo_ns=5020 * S, end_hi_ns=5020 * S)
    return CheckContext(model=model, regions=REGIONS, faults=(span,), faults_planned=1)


def logs(part: int = 0) -> pa.Table:
    """A million operations of sessions that append 81 times and read 9 times, and the final reads of both regions: 90 % writes.

    Each part has sessions of its own, at the same time as those of the others.
    """
    sessions = OPS // 92
    each = np.arange(part * sessions, (part + 1) * sessions)
    rows: dict[str, list[Any]] = {name: [] for name in ("session", "f", "value", "at", "result", "region", "phase")}
    for step in range(90):
        at = (each * 101 + step * 100_000) * 1_000_000
        rows["at"].append(at)
        rows["session"].append([f"s{n}" for n in each])
        if step % 10 == 9:
            texts = [json.dumps([f"s{n}-{k}" for k in range(step) if k % 10 != 9]) for n in each]
            row = ("read", None, texts, None, "load")
        else:
            row = ("append", [f"s{n}-{step}" for n in each], None, "eu-west", "load")
        for name, value in zip(("f", "value", "result", "region", "phase"), row, strict=True):
            rows[name].append(value if isinstance(value, list) else [value] * sessions)
    whole = [json.dumps([f"s{n}-{k}" for k in range(90) if k % 10 != 9]) for n in each]
    for place, region in enumerate(REGIONS):
        rows["at"].append((40_000_000 + 2 * each + place) * 1_000_000)
        for name, value in (("f", "read"), ("value", None), ("region", region), ("phase", "final")):
            rows[name].append([value] * sessions)
        rows["session"].append([f"s{n}" for n in each])
        rows["result"].append(whole)
    flat = {name: [item for part in parts for item in part] for name, parts in rows.items() if name != "at"}
    return _table(flat | {"at": np.concatenate(rows["at"])}, part)


def registers(part: int = 0) -> pa.Table:
    """A million operations on a hundred registers, each written and read in turn by eight clients that overlap."""
    n = np.arange(OPS)
    at = n * 10_000_000
    writes = n % 2 == 0
    key, number = n % 200 // 2, n // 200
    value = [f"k{k}-{v}" if w else None for k, v, w in zip(key.tolist(), number.tolist(), writes.tolist(), strict=True)]
    shown = [
        None if w else f'"k{k}-{v}"' for k, v, w in zip(key.tolist(), number.tolist(), writes.tolist(), strict=True)
    ]
    facts = {
        "session": [f"k{k}" for k in key.tolist()],
        "f": np.where(writes, "write", "read").tolist(),
        "value": value,
    }
    return _table(facts | {"at": at, "result": shown, "region": ["eu-west"] * OPS, "phase": ["load"] * OPS}, part)


def _table(facts: dict[str, Any], part: int) -> pa.Table:
    """Rows of the schema: what `facts` do not say is alike everywhere."""
    count = len(facts["at"])
    at = np.asarray(facts["at"], dtype=np.int64)
    given: dict[str, Any] = {
        "op": part * OPS + np.arange(count), "intended_ns": at, "sent_ns": at, "done_ns": at + 5_000_000, "key": facts["session"],
        "session": facts["session"], "writer": facts["session"], "outcome": ["ok"] * count, "epoch": np.ones(count, dtype=np.int64),
        "attempts": np.ones(count, dtype=np.int16), "f": facts["f"], "value": facts["value"], "idem": facts["value"],
        "result": facts["result"], "region": facts["region"], "phase": facts["phase"],
    }  # fmt: skip
    schema, columns = arrow_schema(), []
    for name, kind, nullable in COLUMNS:
        field = schema.field(name)
        values = given.get(name)
        if values is None:
            values = [None] * count if nullable else np.zeros(count, dtype=bool if kind == "bool" else np.int64)
        columns.append(
            pa.array(values, type=pa.string()).dictionary_encode()
            if kind == "dict"
            else pa.array(values).cast(field.type)
        )
    return pa.Table.from_arrays(columns, schema=schema)


LOADS = {"logs": (logs, "log", LOGS), "registers": (registers, "register", ("linearizable",))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Seconds to read every column of the Parquet and, in a process of its own, for all the checks, which read those that they ask
    for: by the clock and of processor time; the most memory that the checks' process ever held.

    On a machine that others use too, processor time is what can be compared.
    """

    read_s: float
    checks_s: float
    read_cpu_s: float
    checks_cpu_s: float
    peak_bytes: int


def judged(load: str, millions: int = 1) -> Judged:
    """What it costs to read so many operations, and what to judge them: two processes, so that neither has the other's memory."""
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as folder:
        for part in range(millions):
            pq.write_table(LOADS[load][0](part), Path(folder, f"{part}.parquet"))
        return Judged(**_child("read", load, folder), **_child("judge", load, folder))


def _child(what: str, load: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.judging", what, load, folder]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def read(folder: str) -> dict[str, float]:
    """Read every column of what lies in a folder."""
    begun, cpu = time.perf_counter(), time.process_time()
    assert OpTable.read(Path(folder)).arrow.num_rows
    return {"read_s": time.perf_counter() - begun, "read_cpu_s": time.process_time() - cpu}


def judge(load: str, folder: str) -> dict[str, float]:
    """Judge what lies in a folder; all must be valid."""
    _, model, names = LOADS[load]
    catalog()
    ground = context(model)
    begun, cpu = time.perf_counter(), time.process_time()
    history = History(ops=OpTable.read(Path(folder)), events=())
    for name in names:
        result = run_check(history, CheckSpec(name=name, kind=name), ground, catalog())
        if result.verdict != "valid":
            raise RuntimeError(f"{name}: {result.sentence}, {result.why_unknown}")
    checks_s, checks_cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    return {"checks_s": checks_s, "checks_cpu_s": checks_cpu_s, "peak_bytes": round(peak_gb() * 1e9)}


if __name__ == "__main__":
    asked, which, where = sys.argv[1:]
    sys.stdout.write(json.dumps(read(where) if asked == "read" else judge(which, where)))
