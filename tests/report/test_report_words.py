"""Advice fits the judge's codes, measures have names, anchors are stable and unique."""

from __future__ import annotations

import pytest

from harness.model.measured import Recovery
from harness.model.result import Reason
from harness.model.verdict import EXIT_CODES, Verdict
from harness.report.words import MEANING, VERDICT_BADGES, measure_label, recovered_by, slug, todo


@pytest.mark.parametrize(
    ("verdict", "code", "text", "advice"),
    [
        (Verdict.INCONCLUSIVE, "not-witnessed", "", "Check that the fault can reach its target"),
        (Verdict.INCONCLUSIVE, "gone-early", "", "Find what restored the target"),
        (Verdict.INCONCLUSIVE, "no-exposure", "", "Send load through the target"),
        (Verdict.INCONCLUSIVE, "steady-state", "", "Bring the stack to its steady state"),
        (Verdict.INCONCLUSIVE, "dead-worker", "", "See logs/ for why the worker ended"),
        (Verdict.INCONCLUSIVE, "untrusted-load", "", "Give the load generator more room"),
        (Verdict.INCONCLUSIVE, "step-failed", "", "See the step's output"),
        (Verdict.INCONCLUSIVE, "budget.availability", "", "Close the gap that is named here"),
        (Verdict.REFUSED, "refused", "port 8081 is in use", "Free the port"),
        (
            Verdict.REFUSED,
            "refused",
            "instance gateway-us was not ready within 20 s",
            "See the instance's last log lines",
        ),
        (Verdict.REFUSED, "refused", "something else", "Meet the condition"),
        (Verdict.ABORTED, "abort-rule", "good < 10% for 15s", "See how far the abort rule was crossed"),
        (Verdict.ABORTED, "abort-signal", "SIGINT", "Ask whoever stopped the run"),
        (Verdict.DIRTY, "residue", "", "Run `blackstart recover`"),
        (Verdict.FAIL, "durable", "", "The operations that prove it"),
        (Verdict.ERROR, "store", "", "Run again"),
        (Verdict.ERROR, "incomplete", "", "See `blackstart status`"),
    ],
)
def test_advice(verdict: Verdict, code: str, text: str, advice: str) -> None:
    assert todo(Reason(verdict=verdict, code=code, text=text)).startswith(advice)


def test_every_verdict_has_a_badge_and_a_meaning() -> None:
    assert set(VERDICT_BADGES) == set(MEANING) == set(EXIT_CODES)
    assert len({badge.word for badge in VERDICT_BADGES.values()}) == len(EXIT_CODES)


@pytest.mark.parametrize(
    ("measure", "kind", "label"),
    [
        ("recovery_time", "objective", "Recovery time"),
        ("recovery_time{group=follow}", "objective", "Recovery time (group follow)"),
        ("budget.availability", "objective", "Error budget used (availability)"),
        ("latency.p99.all", "objective", "Latency p99, outage included"),
        ("probe.repl-lag.max", "objective", "Probe repl-lag, max"),
        ("exactly-once.duplicates", "objective", "exactly-once: duplicates"),
        ("durable", "check", "Data check: durable"),
        ("eu-down.impact", "objective", "eu-down.impact"),
    ],
)
def test_measures_have_names(measure: str, kind: str, label: str) -> None:
    assert measure_label(measure, kind) == label


def test_anchors_are_unique() -> None:
    taken: set[str] = set()
    assert [slug("Recovery_time <= 5s", "obj", taken) for _ in range(2)] == [
        "obj-recovery-time-5s",
        "obj-recovery-time-5s-2",
    ]
    assert slug("日本", "obj", taken) == "obj-x"


def test_nobody_is_named_without_a_recovery() -> None:
    assert recovered_by(Recovery(state="none")) == ""
    assert (
        recovered_by(Recovery(state="recovered", recovered_by="stack")) == "by the stack itself, before the fault ended"
    )
