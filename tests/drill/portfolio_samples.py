"""Rows of stored runs, and a portfolio page of them, for the tests of pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from harness.drill.portfolio import Portfolio, render_portfolio
from harness.drill.schedule import Due
from harness.store.index import Failure, RunRow, Spent

__all__ = ["BUDGET", "DAY_NS", "NOW", "full_portfolio", "row"]

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY_NS = 86_400 * 10**9
BUDGET = Spent(slo="availability", target_ratio=0.999, window_ns=30 * DAY_NS, share_ratio=0.01, notional=True)


def row(day: int, verdict: str = "PASS", name: str = "region-kill", **more: Any) -> RunRow:
    """A run of the given day of November 2026."""
    facts: dict[str, Any] = {
        "run_id": f"202611{day:02d}T100000Z-{name}-{day:04x}",
        "name": name,
        "started_utc": f"2026-11-{day:02d}T10:00:00+00:00",
        "verdict": verdict,
        "recovery_lo_ns": 4_200_000_000,
        "recovery_hi_ns": 4_400_000_000,
        "limit_text": "<= 5 s",
        "limit_ratio": 0.88,
        "lost": 0,
        "sentence": "it came back",
        "plan_hash": "h",
        "comparable": "c",
        "stack": "genai",
        "budgets": (BUDGET,),
        "failures": (Failure(kind="kill", service="gateway"),),
    }
    return RunRow(**facts | more)


def full_portfolio() -> str:
    """A page with everything on it: fresh, failing, stale and never run; a drill overdue; a trend."""
    drill = row(22, "FAIL", "quarter", kind="drill", mode="live", budgets=(), failures=())
    due = Due(name="quarter", state="overdue", next=NOW + timedelta(days=3), since=NOW)
    rows = (row(18), row(20), row(21, "FAIL", "region-pause"), drill, row(24))
    made = Portfolio(rows=rows, names=("slow-link",), dues=(due,), now=NOW, fresh_ns=30 * DAY_NS)
    return render_portfolio(made)
