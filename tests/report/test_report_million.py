"""The page of a run of a million operations: small, the same twice, every objective in its text, nothing fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.registry import catalog
from harness.report.all import outputs
from harness.run.outcome import rejudge
from harness.store.rundir import RunDir
from tests.bench.histories import MILLION, make_run

pytestmark = pytest.mark.slow


@pytest.mark.timeout(300)
def test_a_million_operations_make_a_small_page(tmp_path: Path, read: type[Any]) -> None:
    run_dir = RunDir(make_run(tmp_path, MILLION))
    result = rejudge(run_dir, catalog())
    assert result.measures.counts.valid == MILLION
    made = (run_dir.path / "report.html").read_bytes()
    assert len(made) < 300_000
    page = read(made.decode())
    for one in result.objectives:
        assert one.text in page.text and one.observed in page.text
    assert not {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "embed", "image", "use"}
    assert outputs(result) == outputs(result), "the same input, the same bytes"
