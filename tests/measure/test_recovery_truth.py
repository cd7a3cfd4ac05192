"""The stated interval against a truth that the simulated server keeps itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.measure.recovery import Regained, regained
from harness.measure.spans import Population, find_spans
from harness.measure.windows import Rule
from harness.model import chance

_spec = importlib.util.spec_from_file_location("simulate", Path(__file__).with_name("simulate.py"))
assert _spec is not None and _spec.loader is not None
simulate = importlib.util.module_from_spec(_spec)
sys.modules["simulate"] = simulate
_spec.loader.exec_module(simulate)

S = simulate.S
RATE = 200.0
LENGTH = 20 * S
START = 8 * S
SEEDS = range(20)


def seen(seed: int, *, slow_ns: int | None = None, **world) -> Population:
    answers = sorted(
        simulate.answers(seed, rate=RATE, length_ns=LENGTH, **world), key=lambda answer: answer.intended_ns
    )
    return Population(
        intended_ns=np.array([answer.intended_ns for answer in answers]),
        done_ns=np.array([answer.done_ns for answer in answers]),
        bad=np.array([not a.ok or (slow_ns is not None and a.done_ns - a.intended_ns > slow_ns) for a in answers]),
        calm_ns=15_000_000,
    )


def rule_for(seen: Population, steady_ns: int = 5 * S) -> Rule:
    calm = seen.intended_ns < steady_ns
    bad = int(np.count_nonzero(seen.bad & calm))
    steady = int(np.count_nonzero(calm))
    return Rule(
        window_ns=chance.window_ns(3 * S, RATE),
        level_ratio=0.99,
        bad_upper_ratio=chance.upper_bound(bad, steady),
        steady=steady,
        steady_bad=bad,
    )


def measured(seen: Population) -> list[Regained]:
    return [regained(seen, span) for span in find_spans(seen, rule_for(seen))]


@pytest.mark.parametrize("length_s", [0.3, 1, 3])
@pytest.mark.parametrize("kind", ["refuse", "reset", "freeze"])
def test_a_square_outage_lies_inside_the_interval_in_every_seed(kind: str, length_s: float) -> None:
    length_ns = int(length_s * S)
    timeout_ns = length_ns // 2 if kind == "freeze" else S
    for seed in SEEDS:
        outage = simulate.Outage(kind, START, length_ns)
        found = measured(seen(seed, outages=(outage,), timeout_ns=timeout_ns))
        assert len(found) == 1, (kind, length_s, seed, found)
        assert found[0].hi_ns is not None
        assert found[0].lo_ns <= outage.end_ns <= found[0].hi_ns, (kind, length_s, seed, found)


@pytest.mark.parametrize("length_s", [0.3, 1, 3])
def test_a_freeze_shorter_than_the_timeout_is_seen_through_a_latency_limit_alone(length_s: float) -> None:
    outage = simulate.Outage("freeze", START, int(length_s * S))
    for seed in SEEDS:
        world = {"outages": (outage,), "timeout_ns": 10 * S}
        assert measured(seen(seed, **world)) == []
        found = measured(seen(seed, slow_ns=100_000_000, **world))
        assert len(found) == 1
        assert found[0].hi_ns is not None
        assert found[0].lo_ns <= outage.end_ns <= found[0].hi_ns, (length_s, seed, found)


@pytest.mark.parametrize("length_s", [1, 3])
def test_half_an_outage_lies_inside_the_interval_in_nearly_every_seed(length_s: float) -> None:
    outage = simulate.Outage("partial", START, int(length_s * S))
    inside = 0
    seeds = range(200)
    for seed in seeds:
        found = measured(seen(seed, outages=(outage,)))
        inside += len(found) == 1 and found[0].hi_ns is not None and found[0].lo_ns <= outage.end_ns <= found[0].hi_ns
    assert inside >= 0.95 * len(seeds)


@pytest.mark.slow
@pytest.mark.parametrize("errors", [0.0, 0.001, 0.01])
def test_calm_runs_show_no_disruption(errors: float) -> None:
    invented = sum(bool(measured(seen(seed, errors=errors))) for seed in range(200))
    assert invented == 0


def test_flapping_counts_to_the_last_recovery_and_two_outages_apart_are_two() -> None:
    near = (simulate.Outage("refuse", START, S), simulate.Outage("refuse", START + 2 * S, S))
    far = (simulate.Outage("refuse", START, S), simulate.Outage("refuse", START + 7 * S, S))
    assert len(measured(seen(1, outages=near))) == 1
    only = measured(seen(1, outages=near))[0]
    assert only.hi_ns is not None
    assert only.lo_ns <= near[1].end_ns <= only.hi_ns
    assert len(measured(seen(1, outages=far))) == 2


def test_background_errors_do_not_stretch_an_outage() -> None:
    outage = simulate.Outage("refuse", START, S)
    for seed in SEEDS:
        found = measured(seen(seed, outages=(outage,), errors=0.01))
        assert len(found) == 1
        assert abs(found[0].lo_ns - outage.end_ns) < 100_000_000, (seed, found)


def test_an_outage_that_never_ends_is_right_censored() -> None:
    found = measured(seen(3, outages=(simulate.Outage("refuse", START, LENGTH),)))
    assert len(found) == 1
    assert found[0].hi_ns is None


def test_a_slow_tail_of_errors_is_part_of_the_disruption() -> None:
    outage = simulate.Outage("refuse", START, S)
    tail = simulate.Outage("partial", START + S, 4 * S, share=0.15)
    for seed in SEEDS:
        found = measured(seen(seed, outages=(outage, tail)))
        assert len(found) == 1, (seed, found)
        assert found[0].lo_ns > START + 4 * S


def test_nothing_at_all_is_no_disruption() -> None:
    empty = np.zeros(0, dtype=np.int64)
    none = Population(intended_ns=empty, done_ns=empty, bad=np.zeros(0, dtype=np.bool_), calm_ns=0)
    assert find_spans(none, Rule(window_ns=S, level_ratio=0.99, bad_upper_ratio=0.01, steady=300, steady_bad=0)) == ()


def test_an_op_that_is_slow_through_our_own_lateness_alone_does_not_bound_recovery() -> None:
    """After a freeze its answers come all at once: the generator is late by 60 ms, and answers behind them look slow."""
    ms = S // 1000
    intended = np.concatenate((np.arange(0, 1000, 10), [1002, 1010, 1020, 1030, 1200])) * ms
    frozen = (intended >= 500 * ms) & (intended < 1000 * ms)
    done = np.where(frozen, 1000 * ms, intended + 5 * ms)
    late = np.zeros(len(intended), dtype=np.int64)
    done[-5:-1] = [1115 * ms, 1115 * ms, 1116 * ms, 1116 * ms]
    late[-5:-1] = [1 * ms, 60 * ms, 55 * ms, 45 * ms]
    over = np.maximum(0, done - intended - 100 * ms)
    world = {"intended_ns": intended, "done_ns": done, "bad": over > 0, "calm_ns": 5 * ms}
    rule = Rule(window_ns=500 * ms, level_ratio=0.99, bad_upper_ratio=0.01, steady=400, steady_bad=0)
    (naive,) = (regained(Population(**world), span) for span in find_spans(Population(**world), rule))
    assert naive.lo_ns > 1000 * ms, "the server was back at 1000 ms"
    seen = Population(**world, late_ns=late, over_ns=over)
    (found,) = (regained(seen, span) for span in find_spans(seen, rule))
    assert found.lo_ns == 890 * ms, "the last op that the server itself kept for more than 100 ms"
    assert found.hi_ns == naive.hi_ns
