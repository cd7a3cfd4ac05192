"""The evidence about who was told and when: alerts received during the run."""

from __future__ import annotations

from harness.model.result import AlertRow, Interval, Result
from harness.report.evidence import cells, table
from harness.report.page import Section
from harness.units import format_duration

__all__ = ["alerts_section"]


def alerts_section(result: Result) -> Section | None:
    """Every alert that was received or that an objective names; None without any."""
    rows = [
        cells(row.name, f"{row.series:,}", f"{row.firings:,}", _told(row, "fires"), _told(row, "clears"))
        for row in result.measures.alerts
    ]
    if not rows:
        return None
    heads = ("Alert", "#Series", "#Firings", "Fired", "Cleared")
    lead = "From the effect of the first fault to when the receiver was told; what alerts say of time is not used."
    return Section(anchor="alerts", title="Alerts", lead=lead, blocks=(table("Alerts received", heads, rows),))


def _told(row: AlertRow, what: str) -> str:
    span: Interval | None = row.fires if what == "fires" else row.clears
    if span is None:
        return row.why.get(what, "–")
    return f"> {format_duration(span.lo_ns)}" if span.hi_ns is None else f"after {format_duration(span.hi_ns)}"
