"""The refusal of a stack that is not steady: what was seen, and whether the machine is too busy to tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.model.experiment import SteadyState
from harness.model.predicate import MeasureRef, Predicate
from harness.run.steady import not_steady, refused_unsteady, starved_ratio

S, MS = 1_000_000_000, 1_000_000
GOOD = Predicate(measure=MeasureRef(name="good"), op=">=", value=0.995, unit="ratio", text="good >= 99.5%")
TTFT = Predicate(measure=MeasureRef(name="ttft.p95"), op="<=", value=800 * MS, unit="ns", text="ttft.p95 <= 800ms")


class Seen:
    def __init__(self, **values: float) -> None:
        self.values = values

    def observed(self, predicate: Predicate, now_ns: int, over_ns: int) -> float | None:
        assert (now_ns, over_ns) == (9 * S, 5 * S)
        return self.values.get(predicate.measure.name.partition(".")[0])


def test_each_rule_that_does_not_hold_with_what_was_observed() -> None:
    steady = SteadyState(for_ns=5 * S, require=(GOOD, TTFT))
    assert not_steady(steady, Seen(good=1.0, ttft=200 * MS), 9 * S) == ""
    assert not_steady(steady, Seen(good=0.83, ttft=200 * MS), 9 * S) == "good >= 99.5% (observed 83 %)"
    both = "good >= 99.5% (observed 83 %); ttft.p95 <= 800ms (nothing was observed)"
    assert not_steady(steady, Seen(good=0.83), 9 * S) == both


def test_a_busy_machine_is_named() -> None:
    assert str(refused_unsteady("calm (observed 1 %)", 0.1)) == (
        "steady state not met: calm (observed 1 %); look at the stack before breaking it"
    )
    assert str(refused_unsteady("calm", None)).endswith("; look at the stack before breaking it")
    said = "this machine is busy: something waited for a processor 93% of the last 10 s"
    assert refused_unsteady("calm", 0.934).remedy == said


def test_what_the_kernel_says(tmp_path: Path) -> None:
    pressure = tmp_path / "cpu"
    assert starved_ratio(pressure) is None
    pressure.write_text(
        "some avg10=93.41 avg60=88.00 avg300=1.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert starved_ratio(pressure) == pytest.approx(0.9341)
    pressure.write_text("")
    assert starved_ratio(pressure) is None
