"""What the tests of gates and comparisons share: samples, and judged run directories made from the report's sample results."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.drill.samples import Figure, Sample
from harness.model.result import Provenance
from harness.model.verdict import Verdict
from harness.report.json_ import dump
from harness.store.rundir import RunDir

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))  # its sample modules, under importlib mode


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """Results as runs leave them: tests/report/report_samples.py."""
    return importlib.import_module("report_samples")


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """A sample of one number: `sample(3, 4.1)` is run 3 with a recovery time of 4.1 s."""

    def make(number: int, recovery_s: float | None = 4.0, **more: Any) -> Sample:
        figures = {} if recovery_s is None else {"recovery_time": Figure(value=recovery_s, unit="s", resolution=0.05)}
        facts: dict[str, Any] = {
            "run_id": f"202611{number:02d}T100000Z-region-kill-{number:04x}",
            "name": "region-kill",
            "started_utc": f"2026-11-{number:02d}T10:00:00Z",
            "verdict": Verdict.PASS,
            "key": "a" * 64,
            "stack": "genai",
            "environment": "staging",
            "seed": number,
            "version": "0.1.0",
            "figures": figures,
        }
        return Sample(**facts | more)

    return make


@pytest.fixture
def keep(tmp_path: Path, samples: ModuleType) -> Callable[..., RunDir]:
    """Write a judged run to `reports/`: `keep(day, "pass", comparable=..., commit=...)`."""

    def write(day: int, kind: str = "pass", run: dict[str, Any] | None = None, **known: Any) -> RunDir:
        result = samples.SAMPLES[kind]()
        facts = {"comparable": "c" * 64, "commit": "4f2a9c1" + "0" * 33, "dirty": False}
        stamp = f"202611{day:02d}T100002Z"
        name = (run or {}).get("name", "region-kill")
        update = {
            "run_id": f"{stamp}-{name}-{day:04x}",
            "started_utc": f"2026-11-{day:02d}T10:00:02+00:00",
            "provenance": Provenance(**facts | known),
        }
        result = result.model_copy(update={"run": result.run.model_copy(update=update | (run or {}))})
        made = RunDir(tmp_path / "reports" / update["run_id"])
        (made.path / "inputs").mkdir(parents=True)
        made.write("result.json", dump(result))
        made.write("plan.json", "{}")
        return made

    return write
