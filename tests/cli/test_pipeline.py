"""What CI systems are told: the job summary appended, annotations only where something did not come as it should."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli.pipeline import tell_pipeline, tell_pipeline_of_drill
from harness.errors import StoreError
from harness.model.drill_result import DrillResult
from harness.model.verdict import Verdict

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))  # results to tell of, under importlib mode
import report_samples

from tests.drill.drill_samples import HOSTILE, hostile_drill, passed_drill


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


def drill_whose_run_failed() -> tuple[DrillResult, str]:
    """And the id of that run."""
    base = passed_drill()
    steps = []
    for step in base.steps:
        runs = tuple(run.model_copy(update={"verdict": Verdict.FAIL, "wanted": False}) for run in step.runs)
        failed = {"runs": runs, "outcome": "failed", "verdict": Verdict.FAIL} if runs else {}
        steps.append(step.model_copy(update=failed))
    (run_id,) = {run.run_id for step in steps for run in step.runs}
    assert run_id is not None
    return base.model_copy(update={"steps": tuple(steps), "verdict": Verdict.FAIL, "sentence": "It failed."}), run_id


def test_a_drill_is_summed_up_and_its_steps_and_runs_are_annotated(run_dir: Any, monkeypatch: Any, capsys: Any) -> None:
    summary = run_dir.path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    drill, unwanted = drill_whose_run_failed()
    failing = report_samples.failing()
    run = failing.model_copy(update={"run": failing.run.model_copy(update={"run_id": unwanted})})
    tell_pipeline_of_drill(drill, run_dir, [run, report_samples.failing()], {step.id: 20 for step in drill.steps})
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and summary.read_text() == "### PASS\n\n"
    assert lines[0].startswith(f"::error file={drill.run.source},title=Blackstart%3A {drill.verdict}::")
    failed = [step.id for step in drill.steps if step.verdict is Verdict.FAIL]
    assert failed and all(
        any(f"{drill.run.source},line=20,title=step {step}%3A" in line for line in lines) for step in failed
    )
    assert sum("title=data_loss = 0 missed" in line for line in lines) == 1, (
        "the run that its step did not want, and it alone"
    )
    tell_pipeline_of_drill(passed_drill(), run_dir, [], {})
    assert capsys.readouterr() == ("", "")


def test_hostile_text_of_a_drill_is_no_command(run_dir: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    tell_pipeline_of_drill(hostile_drill().model_copy(update={"verdict": Verdict.FAIL}), run_dir, [], {})
    err = capsys.readouterr().err
    assert "::error::x" in HOSTILE and err
    assert all(line.startswith(("::error file=", "::warning file=")) for line in err.splitlines())
    assert not set(err) & {"\x00", "\x1b", "\u202e", "\r"}
