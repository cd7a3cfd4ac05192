"""What a CI system is told beside the exit code: GitHub's job summary and annotations, where its environment asks for them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from harness.errors import StoreError

if TYPE_CHECKING:
    from harness.model.result import Result
    from harness.store.rundir import RunDir

__all__ = ["tell_pipeline"]


def tell_pipeline(result: Result, run_dir: RunDir, *, as_expected: bool) -> None:
    """Append the run's summary to $GITHUB_STEP_SUMMARY; annotate its document unless all came as it should.

    Annotations go to stderr, where GitHub reads workflow commands too: stdout is data. Raises StoreError when the summary
    cannot be written.
    """
    from harness.report.markdown import render_annotations

    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.write((run_dir.path / "summary.md").read_text(encoding="utf-8") + "\n")
        except OSError as exc:
            raise StoreError(f"{summary}: cannot append the job summary: {exc.strerror}") from exc
    if os.environ.get("GITHUB_ACTIONS") == "true" and not as_expected:
        sys.stderr.write(render_annotations(result))
