"""Recovery in a partial outage: the report states how long errors began and when the last was seen, never the short gap."""

from __future__ import annotations

from typing import Any

import pytest

from harness.model.measured import Disruption, Instants, Measures
from harness.report.evidence import recovery_section
from harness.report.page import Table
from harness.report.scene import scene_of
from harness.report.tiles import build_tiles
from tests.report import report_samples as samples

S, MS = 1_000_000_000, 1_000_000


def recovery_rows(measures: Measures) -> dict[str, tuple[str, ...]]:
    """The clocks: name -> the other cells."""
    result = samples.passing().model_copy(update={"measures": measures})
    blocks = recovery_section(result, scene_of(result)).blocks
    clocks = next(block for block in blocks if isinstance(block, Table) and block.caption.startswith("Clocks"))
    return {row[0].text: tuple(cell.text for cell in row[1:]) for row in clocks.rows}


def changed(**changes: Any) -> Measures:
    return samples.passing().measures.model_copy(update=changes)


@pytest.mark.parametrize(("bad", "said"), [(132, "not how long the outage was: 50 % of its"), (262, "longest time")])
def test_the_longest_gap_is_named_for_what_it_is(bad: int, said: str) -> None:
    span = Disruption(start_ns=20 * S, end_ns=23 * S, cause="a", edge="inject", bad=bad, valid=262, last_bad_ns=22 * S)
    moments = Instants(gap_ns=90 * MS, error_period_ns=2_600 * MS, last_error_seen_ns=4_600 * MS)
    rows = recovery_rows(changed(disruptions=(span,), instants=moments))
    assert rows["Longest gap"][0] == "90 ms"
    assert rows["Longest gap"][1].startswith(said)
    assert rows["Error period"][0] == "2.6 s"
    assert rows["Last error seen"][0] == "4.6 s"


def test_page_one_has_both_the_error_period_and_the_last_error() -> None:
    moments = Instants(gap_ns=90 * MS, error_period_ns=2_600 * MS, last_error_seen_ns=4_600 * MS)
    result = samples.passing().model_copy(update={"measures": changed(instants=moments)})
    tile = build_tiles(result, None)[0]
    assert tile.lines[-1] == "Errors for 2.6 s; the last one seen at 4.6 s"


def test_a_moment_without_a_value_says_why() -> None:
    why = {"failover": "unknown: no operation says under which epoch it was served"}
    rows = recovery_rows(changed(instants=Instants(why=why)))
    assert rows["Failover"][0] == why["failover"]
