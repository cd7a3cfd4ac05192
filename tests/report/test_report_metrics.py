"""metrics.txt: figures as they stand in the result, absent where nothing was measured, unbroken by hostile text."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from harness.report.metrics import render_metrics

LINE = re.compile(r'[a-z_]+\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\} -?[0-9.e+-]+')


def test_a_passing_run_has_all_its_figures(samples: ModuleType) -> None:
    result = samples.passing()
    lines = render_metrics(result).splitlines()
    name = result.run.name
    assert lines[0] == f'blackstart_exit_code{{experiment="{name}"}} 0'
    hi_s = result.measures.recovery.interval.hi_ns / 1e9
    assert f'blackstart_recovery_seconds{{experiment="{name}",which="failover",bound="upper"}} {hi_s:.10g}' in lines
    assert f'blackstart_lost_writes{{experiment="{name}"}} 0' in lines
    assert sum("blackstart_objective_met" in line for line in lines) == len(result.objectives)
    assert lines[-1] == "# EOF"


def test_what_was_not_measured_has_no_line(samples: ModuleType) -> None:
    text = render_metrics(samples.refused())
    assert 'blackstart_exit_code{experiment="' in text
    assert "blackstart_recovery_seconds" not in text
    assert "blackstart_lost_writes" not in text


@pytest.mark.parametrize("name", ["passing", "failing", "dirty", "inconclusive", "hostile"])
def test_every_line_is_well_formed(samples: ModuleType, name: str) -> None:
    lines = render_metrics(getattr(samples, name)()).splitlines()
    assert all(LINE.fullmatch(line) for line in lines[:-1]), lines
