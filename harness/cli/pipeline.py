"""What a CI system is told beside the exit code: GitHub's job summary and annotations, where its environment asks for them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from harness.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.model.drill_result import DrillResult
    from harness.model.result import Result
    from harness.store.rundir import RunDir

__all__ = ["tell_pipeline", "tell_pipeline_of_drill"]


def tell_pipeline(result: Result, run_dir: RunDir, *, as_expected: bool) -> None:
    """Append the run's summary to $GITHUB_STEP_SUMMARY; annotate its document unless all came as it should.

    Annotations go to stderr, where GitHub reads workflow commands too: stdout is data. Raises StoreError when the summary
    cannot be written.
    """
    from harness.report.markdown import render_annotations

    _append_summary(run_dir)
    if _annotates() and not as_expected:
        sys.stderr.write(render_annotations(result))


def tell_pipeline_of_drill(
    result: DrillResult, run_dir: RunDir, runs: Sequence[Result], lines: Mapping[str, int]
) -> None:
    """The same for a drill that is no PASS: its own document, and those of the `runs` that came out as no step wants.

    `lines`: where each step is in the drill's document.
    """
    from harness.drill.outputs import render_drill_annotations
    from harness.report.markdown import render_annotations

    _append_summary(run_dir)
    if _annotates():
        unwanted = {run.run_id for step in result.steps for run in step.runs if not run.wanted}
        sys.stderr.write(render_drill_annotations(result, lines))
        sys.stderr.writelines(render_annotations(run) for run in runs if run.run.run_id in unwanted)


def _annotates() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _append_summary(run_dir: RunDir) -> None:
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return
    try:
        with open(summary, "a", encoding="utf-8") as file:
            file.write((run_dir.path / "summary.md").read_text(encoding="utf-8") + "\n")
    except OSError as exc:
        raise StoreError(f"{summary}: cannot append the job summary: {exc.strerror}") from exc
