"""docs/measures.md: every measure of the grammar stands there, and every number of its example is what is measured."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from harness.judge.observe import Case, observe
from harness.measure.measure import measure
from harness.measure.paging import burn_alerts
from harness.model.experiment import SLO
from harness.model.predicate import MeasureRef, Unit
from harness.spec.predicate import FAMILIES
from tests.measure import scene, worked

PAGE = (Path(__file__).parents[2] / "docs" / "measures.md").read_text()
S, MS = scene.S, scene.MS


def section(title: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/measures.md has no section {title}"
    return " ".join(found[1].split())


@pytest.fixture(scope="module")
def case() -> Case:
    history, plan = worked.history(), worked.plan()
    return Case(history=history, plan=plan, measures=measure(history, plan), checks=())


def test_every_measure_has_its_section_with_every_form_and_an_example() -> None:
    for head, family in FAMILIES.items():
        assert "xample" in section(head) or head == "steady_state", head
        for rest in family.rests:
            text = section(head)
            if rest and head in ("recovery_time", "data_loss"):
                assert "xample" in section(f"{head}.{rest}")
            elif rest and head in ("probe", "alert"):
                assert f".{rest.rpartition('.')[2]}`" in text, (head, rest)
            elif rest:
                assert f"`{head}.{rest}`" in text, (head, rest)


@pytest.mark.parametrize(
    ("name", "unit", "lo", "hi", "said"),
    [
        ("good", "ratio", 2051 / 2300, 2051 / 2300, "2,051 of 2,300 valid ops were good: 89.17 %"),
        ("bad", "ratio", 249 / 2300, 249 / 2300, "249 of 2,300: 10.83 %"),
        ("valid", "count", 2300, 2300, "2,300"),
        ("mid_stream", "count", 4, 4, "Example: 4."),
        ("attempts", "number", 2549 / 2300, 2549 / 2300, "= 1.108"),
        ("recovery_time", "ns", 2488 * MS, 2505 * MS, "2.488 s to 2.505 s"),
        ("recovery_time.return", "ns", 0, 0, "0 s, no breach"),
        ("gap", "ns", 2500 * MS, 2500 * MS, "2.500 s"),
        ("first_success", "ns", 2505 * MS, 2505 * MS, "2.505 s"),
        ("last_error_seen", "ns", 2491 * MS, 2491 * MS, "2.491 s"),
        ("detection", "ns", 900 * MS, 900 * MS, "0.900 s, `promoted (log:gw-us)`"),
        ("failover", "ns", 2505 * MS, 2505 * MS, "2.505 s"),
        ("data_loss", "count", 3, 3, "3 of 2,151 acknowledged writes"),
        ("data_loss.share", "ratio", 3 / 2151, 3 / 2151, "0.139 %"),
        ("data_loss.span", "ns", 4010 * MS, 4010 * MS, "4.010 s"),
        ("data_loss.until", "ns", 4005 * MS, 4005 * MS, "4.005 s"),
        ("budget.availability", "ratio", 2.49 * 1.6 / 2592, 2.49 * 1.6 / 2592, "0.1537 %"),
        ("burn.availability", "number", 249 / 2.3, 249 / 2.3, "108.3"),
        ("latency.p99", "ns", 5 * MS, 5 * MS, "`latency.p99` is 5 ms"),
        ("latency.p99.all", "ns", 5 * MS, 5 * MS, "so is `latency.p99.all`"),
        ("ttft.p99", "ns", 2 * MS, 2 * MS, "`ttft.p99` is 2 ms"),
        ("probe.edge.max", "number", 1, 1, "`probe.edge.max` is 1"),
        ("alert.RegionDown.fires", "ns", 1198 * MS, 1200 * MS, "1.198 s to 1.200 s"),
        ("alert.RegionDown.clears", "ns", 3998 * MS, 4000 * MS, "3.998 s to 4.000 s"),
    ],
)
def test_each_number_of_the_example_is_what_is_measured(
    case: Case, name: str, unit: Unit, lo: float, hi: float, said: str
) -> None:
    seen = observe(case, MeasureRef(name=name), unit)
    assert seen.lo is not None and seen.hi is not None
    assert (seen.lo, seen.hi) == (pytest.approx(lo), pytest.approx(hi))

    title = name if name.startswith(("data_loss.", "recovery_time.")) else name.partition(".")[0]
    assert said in section(title), name


def test_the_numbers_that_only_reports_give(case: Case) -> None:
    measures, instants = case.measures, case.measures.instants
    assert measures.availability is not None and measures.availability.wire_ratio == pytest.approx(2051 / 2549)
    assert measures.recovery.recovered_by == "stack"
    assert instants.error_period_ns == 2480 * MS
    assert instants.gray_ns == 490 * MS
    assert instants.backlog_ns == 0
    assert round(instants.attempts_during or 0, 3) == 1.311 and instants.attempts_before == 1.0
    assert instants.why["failback"] == "traffic did not move to another region and back"
    assert "redundancy" in instants.why
    (cost,) = measures.budgets
    assert cost.outage_s == pytest.approx(2.49) and int(cost.affordable or 0) == 650
    page = cost.pages[0]
    assert (page.threshold, round(page.peak_burn, 2), page.pages) == (pytest.approx(14.4), 1.11, False)
    assert page.outage_needed_ns == pytest.approx(32.6 * S, rel=1e-3)
    for days, threshold in ((28, 13.44), (7, 3.36)):
        slo = SLO(name="a", target_ratio=0.999, window_ns=days * 86400 * S)
        assert burn_alerts(slo, np.zeros(1), None, None)[0].threshold == pytest.approx(threshold)
        assert f"{threshold}" in section("burn")
    assert observe(case, MeasureRef(name="recovery_time.prober"), "ns").why == "no prober"
