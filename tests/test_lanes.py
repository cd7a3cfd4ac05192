"""Tests that share the engine are never side by side."""

from __future__ import annotations

from pathlib import Path

from tests.lanes import Lanes, lane_of

ROOT = Path(__file__).parent


def test_a_file_is_one_lane_and_so_is_all_that_shares_the_engine() -> None:
    scheduler = Lanes.__new__(Lanes)
    engine = {path.relative_to(ROOT.parent).as_posix() for path in ROOT.glob("engine/test_*.py")}
    assert engine
    shared = engine | {"tests/run/test_killing.py", "tests/faults/test_cut.py"}
    assert {scheduler._split_scope(f"{file}::test_it[a::b]") for file in shared} == {"engine"}
    assert all((ROOT.parent / file).exists() for file in shared)
    assert lane_of("tests/test_units.py") == "tests/test_units.py"
