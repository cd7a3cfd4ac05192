"""The evidence about who was told and when: alerts received during the run, pages that burn rates would have caused."""

from __future__ import annotations

from harness.model.measured import AlertRow, BurnAlert, Interval
from harness.model.result import Result
from harness.report.evidence import cells, table
from harness.report.numbers import number
from harness.report.page import Section, Table
from harness.units import format_duration, format_ratio

__all__ = ["alerts_section", "pages_table"]


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


def pages_table(result: Result) -> Table | None:
    """When multi-window burn-rate alerts would have paged; None without a budget."""
    rows = [
        cells(
            cost.slo,
            f"{format_ratio(page.share_ratio)} in {format_duration(page.long_ns)} and {format_duration(page.short_ns)}",
            number(round(page.threshold, 2)),
            number(round(page.peak_burn, 2)),
            _page(page),
            "–" if page.outage_needed_ns is None else format_duration(page.outage_needed_ns),
        )
        for cost in result.measures.budgets
        for page in cost.pages
    ]
    heads = ("SLO", "Alert", "#Threshold", "#Peak burn", "Would have paged", "Pages after a full outage of")
    return table("Burn-rate alerts, simulated: all other traffic good", heads, rows) if rows else None


def _page(page: BurnAlert) -> str:
    if not page.pages:
        return "no"
    return "yes" if page.page_ns is None else f"{format_duration(page.page_ns)} after the effect"


def _told(row: AlertRow, what: str) -> str:
    span: Interval | None = row.fires if what == "fires" else row.clears
    if span is None:
        return row.why.get(what, "–")
    return f"> {format_duration(span.lo_ns)}" if span.hi_ns is None else f"after {format_duration(span.hi_ns)}"
