"""Every document in `experiments/` loads with the real catalog, without an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.registry import catalog
from harness.spec.load import load_experiment, load_stack

ROOT = Path(__file__).parents[2] / "experiments"
SHIPPED = sorted(path for path in ROOT.rglob("*.yaml") if path.name != "compose.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_loads(path: Path) -> None:
    load = load_stack if path.parent.name == "stacks" else load_experiment
    loaded = load(path, catalog=catalog(), env={}, builtin=ROOT)
    assert loaded.sources[0] == path
    assert loaded.secrets == frozenset()
    assert loaded.value.name == path.stem
