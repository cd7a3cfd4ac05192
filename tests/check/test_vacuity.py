"""No vacuous verdict: every check is unknown, never valid, on a history that cannot show what it asks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from literal import CATALOG, KILL, NAMES, TWO, Script, judge

from harness.check.context import CheckContext


def context(name: str) -> tuple[str, CheckContext]:
    model = sorted(CATALOG.check(name).models or {"log"})[0]
    return model, replace(TWO, model=model)


def nothing(script: Script) -> None:
    del script


def only_reads(script: Script) -> None:
    script.read([], 11, 12)
    script.finals([])


def only_uncertain(script: Script) -> None:
    script.write("1", 11, 12, "info", idem="k", epoch=1)
    script.finals([])


def only_refused(script: Script) -> None:
    script.write("1", 11, 12, "fail", idem="k", epoch=1)
    script.finals([])


def before_the_fault(script: Script) -> None:
    script.write("1", 1, 2, idem="k", epoch=1)
    script.read(["1"], 3, 4)
    script.finals(["1"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("history", [nothing, only_reads, only_uncertain, only_refused, before_the_fault])
def test_what_shows_nothing_is_unknown(name: str, history) -> None:
    model, ground = context(name)
    script = Script(model)
    history(script)
    result = judge(script.history(), name, ground)
    assert result.verdict == "unknown", result
    assert result.why_unknown and result.counts == {} and result.evidence == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_that_was_planned_and_never_applied_is_unknown(name: str) -> None:
    model, ground = context(name)
    script = Script(model)
    script.write("1", 11, 12, idem="k", epoch=1)
    script.finals(["1"])
    result = judge(script.history(), name, replace(ground, faults=(), faults_planned=1))
    assert result.verdict == "unknown" and KILL.id not in str(result.why_unknown), result
