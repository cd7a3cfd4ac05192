"""When multi-window burn-rate alerts would have paged, had this run happened to production traffic. Simulated, never received.

Source: Google SRE Workbook, chapter 5 (multiwindow, multi-burn-rate): 2 % of the budget in 1 h, 5 % in 6 h, 10 % in 3 d, each
with a short window of 1/12. Its 14.4, 6 and 1 are share x window / alert window for a window of 30 d, and right only there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.model.experiment import SLO, Traffic
from harness.model.measured import BurnAlert

__all__ = ["ALERT_PAIRS", "Floats", "burn_alerts"]

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
ALERT_PAIRS = (
    (0.02, HOUR_NS, 5 * MINUTE_NS),
    (0.05, 6 * HOUR_NS, 30 * MINUTE_NS),
    (0.10, 72 * HOUR_NS, 6 * HOUR_NS),
)
"""(share of the budget, long window, short window). A window that is not shorter than the SLO's own is left out."""

Floats = NDArray[np.float64]


def burn_alerts(slo: SLO, bad_s: Floats, effect_s: float | None, traffic: Traffic | None) -> tuple[BurnAlert, ...]:
    """One row per pair of windows. `bad_s[i]` is the outage-equivalent time of the run's second i.

    A pair pages at the end of the first second at which the burn rate of both windows is above its threshold. The run's
    seconds carry `at_drill` of traffic, all before and after them `mean`, and all that is good: nothing but this run burns.
    Looked at until the short window holds nothing of the run any more. The budget is never clamped.
    """
    weight = traffic.at_drill_per_s / traffic.mean_per_s if traffic else 1.0
    rows = []
    for share, long_ns, short_ns in ALERT_PAIRS:
        if long_ns >= slo.window_ns:
            continue
        threshold = share * slo.window_ns / long_ns
        budget = 1 - slo.target_ratio
        after = np.zeros(short_ns // SECOND_NS)
        bad = np.concatenate((bad_s, after)) * weight
        offered = np.concatenate((np.full(len(bad_s), weight), after + 1.0))
        burns = [_burn(bad, offered, window_ns // SECOND_NS) / budget for window_ns in (long_ns, short_ns)]
        over = np.flatnonzero((burns[0] > threshold) & (burns[1] > threshold))
        rows.append(
            BurnAlert(
                share_ratio=share,
                long_ns=long_ns,
                short_ns=short_ns,
                threshold=threshold,
                peak_burn=float(burns[0].max(initial=0.0)),
                pages=bool(len(over)),
                page_ns=round((float(over[0]) + 1 - effect_s) * 1e9) if len(over) and effect_s is not None else None,
                outage_needed_ns=_needed_ns(threshold * budget, long_ns, weight),
            )
        )
    return tuple(rows)


def _burn(bad: Floats, offered: Floats, window_s: int) -> Floats:
    """The bad share of the traffic in the trailing window, at the end of each second. Before the first, 1 per second was good."""
    bads = np.concatenate(([0.0], np.cumsum(bad)))
    all_ = np.concatenate(([0.0], np.cumsum(offered)))
    end = np.arange(1, len(bad) + 1)
    begin = np.maximum(0, end - window_s)
    before = window_s - (end - begin)
    return np.asarray((bads[end] - bads[begin]) / (all_[end] - all_[begin] + before), dtype=np.float64)


def _needed_ns(bad_share: float, long_ns: int, weight: float) -> int | None:
    """How long a full outage, in otherwise mean traffic, must last to page; None when even the whole window would not.

    With all the outage's traffic at `weight` times the mean: weight x / (weight x + L - x) = bad_share, for x.
    """
    if bad_share >= 1:
        return None
    return round(bad_share * long_ns / (weight - bad_share * (weight - 1)))
