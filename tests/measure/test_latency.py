"""Percentiles, several at once, and the windows of the rule, against their plain definitions; waits between chunks."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.latency import percentile, percentiles
from harness.measure.measure import measure
from harness.measure.windows import Rule, violating
from harness.model.chance import critical_bad

if "scene" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("scene", Path(__file__).with_name("scene.py"))
    assert _spec is not None and _spec.loader is not None
    sys.modules["scene"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["scene"])
scene = sys.modules["scene"]

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


@given(st.lists(st.integers(-(10**15), 10**15), max_size=300))
def test_percentiles_are_those_of_the_nearest_rank(values: list[int]) -> None:
    found = percentiles(np.array(values, dtype=np.int64), QUANTILES)
    if len(values) < 20:
        assert found == (None,) * 5
        return
    ordered = sorted(values)
    assert found == tuple(ordered[ceil(round(q * len(values), 6)) - 1] for q in QUANTILES)
    assert found[3] == percentile(np.array(values, dtype=np.int64), 0.99)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=60))
def test_windows_violate_as_their_definition_says(ops: list[tuple[int, bool]]) -> None:
    ops.sort(key=lambda op: op[0])
    at, bad = np.array([op[0] for op in ops]), np.array([op[1] for op in ops])
    rule = Rule(window_ns=7, level_ratio=0.9, bad_upper_ratio=0.001, steady=100, steady_bad=0)
    found, begin = violating(at, bad, rule)
    for place, end_ns in enumerate(at.tolist()):
        inside = [index for index, start_ns in enumerate(at.tolist()) if end_ns - 7 < start_ns <= end_ns]
        bads = sum(bool(bad[index]) for index in inside)
        want = bads > 0.1 * len(inside) + 1e-9 and bads >= critical_bad(len(inside), 0.001)
        assert bool(found[place]) == want
        assert not want or begin[place] == inside[0]


def test_waits_between_chunks_are_told_of_streams_that_broke_too() -> None:
    ops = scene.ops_of()
    gaps = {op.op: 1000 * op.op for op in ops[1400:1500]}
    ops = [replace(op, chunks=3, gap_ns=gaps[op.op]) if op.op in gaps else op for op in ops]
    broken = max(gaps)
    ops = [replace(op, outcome="info", error="eof", broken=True) if op.op == broken else op for op in ops]
    rows = [row for row in measure(scene.history_of(ops), scene.plan_of()).latency if row.measure == "chunk_gap"]
    (whole,) = [row for row in rows if row.population == "all" and row.f is None]
    assert (whole.count, whole.max_ns) == (100, 1000 * broken)
    assert whole.p50_ns == sorted(gaps.values())[49]
