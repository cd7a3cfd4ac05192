"""Every file that a result is rendered to, by name. The store writes them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.model.result import Result
from harness.report.extras import ReportExtras
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.metrics import render_metrics

__all__ = ["outputs"]


def outputs(result: Result, extras: ReportExtras | None = None) -> Mapping[str, str]:
    """File name to text: report.html, junit.xml, summary.md, metrics.txt. UTF-8, the same for the same input."""
    return {
        "report.html": render_html(result, extras),
        "junit.xml": render_junit(result),
        "summary.md": render_markdown(result),
        "metrics.txt": render_metrics(result),
    }
