"""Simulated burn-rate pages: thresholds and instants worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.measure.measure import measure
from harness.measure.paging import burn_alerts
from harness.model.experiment import SLO, Traffic
from harness.model.measured import BurnAlert
from tests.measure import scene

S = scene.S
DAY = 86_400 * S


def slo_of(days: int = 30, target: float = 0.999) -> SLO:
    return SLO(name="availability", target_ratio=target, window_ns=days * DAY)


def outage(before_s: int, length_s: int, after_s: int, share: float = 1.0) -> np.ndarray:
    return np.concatenate((np.zeros(before_s), np.full(length_s, share), np.zeros(after_s)))


def fast(days: int = 30, length_s: int = 60, traffic: Traffic | None = None, share: float = 1.0) -> BurnAlert:
    return burn_alerts(slo_of(days), outage(10, length_s, 10, share), 10.0, traffic)[0]


def test_thresholds_are_those_of_the_slos_own_window() -> None:
    assert [round(a.threshold, 3) for a in burn_alerts(slo_of(30), outage(1, 1, 1), 1.0, None)] == [14.4, 6.0, 1.0]
    assert [round(a.threshold, 3) for a in burn_alerts(slo_of(28), outage(1, 1, 1), 1.0, None)] == [13.44, 5.6, 0.933]
    assert [round(a.threshold, 3) for a in burn_alerts(slo_of(7), outage(1, 1, 1), 1.0, None)] == [3.36, 1.4, 0.233]
    # An alert window is never longer than the SLO's own.
    assert [a.long_ns // (3600 * S) for a in burn_alerts(slo_of(1), outage(1, 1, 1), 1.0, None)] == [1, 6]


def test_a_full_outage_pages_after_52_seconds_of_a_30_day_slo_and_after_13_of_a_7_day_one() -> None:
    """14.4 x 0.001 x 3600 s = 51.84 s; the 5 minute window passed 14.4 after 4.32 s."""
    assert fast(length_s=60).page_ns == 52 * S
    assert fast(length_s=60).outage_needed_ns == 51_840_000_000
    assert fast(days=7).page_ns == 13 * S  # 3.36 x 0.001 x 3600 s = 12.1 s
    assert not fast(length_s=51).pages
    assert fast(length_s=51).peak_burn == pytest.approx(51 / 3600 / 0.001)
    assert fast(length_s=120, share=0.5).page_ns == 104 * S


def test_traffic_at_the_drill_weighs_the_runs_seconds() -> None:
    """Twice the mean: 2x / (3600 + x) = 0.0144, x = 26.11 s (10 s of it came before, good and doubled)."""
    busy = Traffic(at_drill_per_s=400.0, mean_per_s=200.0, source="p95")
    assert fast(traffic=busy).page_ns == 27 * S
    assert fast(traffic=busy).outage_needed_ns == pytest.approx(26.11 * S, rel=1e-3)
    quiet = Traffic(at_drill_per_s=100.0, mean_per_s=200.0, source="night")
    assert not fast(traffic=quiet).pages


def test_the_short_window_must_burn_too() -> None:
    """60 s of outage in a long run at 1/12 each 5 minutes: the hour burns, and the page comes in a 5 minutes that does."""
    spread = np.tile(outage(0, 6, 294), 12)  # 2 % bad for an hour: burn 20 of 0.1 %
    page = burn_alerts(slo_of(), spread, 0.0, None)[0]
    assert page.pages
    # After 8 fits of 6 s the hour holds 48 s; the 4th second of the ninth makes 51.84.
    assert page.page_ns == (8 * 300 + 4) * S


def test_a_budget_beyond_itself_is_not_clamped_and_no_load_costs_nothing() -> None:
    whole = scene.plan_of(slos=(SLO(name="availability", target_ratio=0.999, window_ns=3600 * S),))
    cost = measure(scene.history_of(scene.ops_of(outages=(scene.outage(8),))), whole).budgets[0]
    assert cost.cost_share_ratio == pytest.approx(8 / 3.6, rel=0.05)
    assert cost.pages == (), "no alert window fits into an SLO window of an hour"
    empty = measure(scene.history_of([]), whole).budgets[0]
    assert (empty.outage_s, empty.pages) == (0.0, ())


def test_pages_of_a_run_count_from_the_effect() -> None:
    plan = scene.plan_of(slos=(replace(slo_of(), window_ns=6 * 3600 * S),))
    page = measure(scene.history_of(scene.ops_of(outages=(scene.outage(3),))), plan).budgets[0].pages[0]
    # 0.02 x 6 h / 1 h = 0.12: 0.43 s of outage, seen at the end of the second in which it falls.
    assert page.threshold == pytest.approx(0.12)
    assert page.page_ns is not None and 0 < page.page_ns <= 2 * S
