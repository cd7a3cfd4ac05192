"""What CI systems are told: the job summary appended, annotations only where something did not come as it should."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli.pipeline import tell_pipeline
from harness.errors import StoreError

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))  # results to tell of, under importlib mode
import report_samples


@pytest.fixture
def run_dir(tmp_path: Path) -> Any:
    (tmp_path / "summary.md").write_text("### PASS\n")
    return SimpleNamespace(path=tmp_path)


def test_nothing_is_told_outside_a_pipeline(run_dir: Any, monkeypatch: Any, capsys: Any) -> None:
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    tell_pipeline(report_samples.failing(), run_dir, as_expected=False)
    assert capsys.readouterr() == ("", "")


def test_the_summary_is_appended_and_misses_are_annotated(run_dir: Any, monkeypatch: Any, capsys: Any) -> None:
    summary = run_dir.path / "step.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    tell_pipeline(report_samples.failing(), run_dir, as_expected=False)
    out, err = capsys.readouterr()
    assert summary.read_text() == "before\n### PASS\n\n"
    assert out == ""
    assert err.startswith("::error file=")
    tell_pipeline(report_samples.failing(), run_dir, as_expected=True)
    assert capsys.readouterr() == ("", "")


def test_a_summary_that_cannot_be_written_is_said(run_dir: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(run_dir.path / "no" / "such" / "folder"))
    with pytest.raises(StoreError, match="cannot append the job summary"):
        tell_pipeline(report_samples.passing(), run_dir, as_expected=True)
