"""Arrivals: monotone, at the planned rate, the same list for any number of workers, a function of the seed alone."""

from __future__ import annotations

from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.arrivals import (
    arrival_from_json,
    arrival_json,
    arrivals,
    expected_count,
    peak_rate_per_s,
    stripe,
)
from harness.model.experiment import ArrivalSpec, Sine, Spikes, Stage

S = 1_000_000_000
SHAPES = ("even", "poisson", "gamma")

stages = st.lists(
    st.builds(
        Stage,
        rate_per_s=st.floats(min_value=0, max_value=500),
        for_ns=st.integers(min_value=0, max_value=5 * S),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
waves = st.builds(
    Sine,
    swing_ratio=st.floats(min_value=0, max_value=1),
    period_ns=st.integers(min_value=S // 10, max_value=100 * S),
)
bursts = st.builds(
    Spikes,
    rate_per_s=st.floats(min_value=0.1, max_value=5000),
    for_ns=st.integers(min_value=S // 100, max_value=S),
    every_ns=st.integers(min_value=S + 1, max_value=20 * S),
)
rates = st.floats(min_value=0.1, max_value=5000)
specs = st.one_of(
    st.builds(ArrivalSpec, shape=st.sampled_from(SHAPES), rate_per_s=rates, sine=waves),
    st.builds(ArrivalSpec, shape=st.sampled_from(SHAPES), rate_per_s=rates, spikes=bursts),
    st.builds(ArrivalSpec, shape=st.sampled_from(SHAPES), rate_per_s=st.floats(min_value=0.1, max_value=5000)),
    st.builds(ArrivalSpec, shape=st.sampled_from(SHAPES), stages=stages),
)


def first(spec: ArrivalSpec, n: int, seed: int = 7, start_ns: int = 0) -> list[int]:
    return list(islice(arrivals(spec, seed, start_ns), n))


def until(spec: ArrivalSpec, end_ns: int, seed: int = 7) -> list[int]:
    return list(takewhile(lambda at: at < end_ns, arrivals(spec, seed, 0)))


@given(spec=specs, seed=st.integers(min_value=0, max_value=2**40), start=st.integers(min_value=0, max_value=10**15))
def test_instants_never_decrease_and_start_no_earlier_than_the_start(spec: ArrivalSpec, seed: int, start: int) -> None:
    instants = first(spec, 300, seed, start)
    assert instants == sorted(instants)
    assert all(at >= start for at in instants)


@given(spec=specs, seed=st.integers(min_value=0, max_value=2**40))
def test_the_start_only_shifts_and_the_seed_decides(spec: ArrivalSpec, seed: int) -> None:
    plain = first(spec, 100, seed)
    assert first(spec, 100, seed) == plain
    assert [at - 5 * S for at in first(spec, 100, seed, 5 * S)] == plain


@given(spec=specs, workers=st.integers(min_value=1, max_value=7))
def test_the_stripes_of_any_number_of_workers_are_one_list(spec: ArrivalSpec, workers: int) -> None:
    whole = first(spec, 140)
    parts = [item for worker in range(workers) for item in islice(stripe(iter(whole), worker, workers), len(whole))]
    assert sorted(parts) == list(enumerate(whole))
    assert all(number % workers == 0 for number, _ in stripe(iter(whole), 0, workers))


@given(spec=specs, edges=st.tuples(*[st.integers(min_value=0, max_value=20 * S)] * 3).map(sorted))
def test_expected_counts_add_up(spec: ArrivalSpec, edges: list[int]) -> None:
    low, middle, high = edges
    parts = expected_count(spec, low, middle) + expected_count(spec, middle, high)
    assert parts == pytest.approx(expected_count(spec, low, high), abs=1e-6, rel=1e-9)


@given(stages=stages)
def test_even_arrivals_under_stages_are_as_many_as_expected(stages: tuple[Stage, ...]) -> None:
    spec = ArrivalSpec(shape="even", stages=stages)
    assert abs(len(until(spec, 6 * S)) - expected_count(spec, 0, 6 * S)) <= 1.001


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rate_is_the_planned_one(shape: str) -> None:
    spec = ArrivalSpec(shape=shape, rate_per_s=200)
    due = len(until(spec, 100 * S))
    # Poisson: sd 141 of 20000; gamma of shape 1/4: twice that
    assert due == pytest.approx(20_000, abs={"even": 1, "poisson": 700, "gamma": 1400}[shape])


def test_even_arrivals_are_exact() -> None:
    assert first(ArrivalSpec(shape="even", rate_per_s=3), 4) == [0, 333333333, 666666667, S]
    assert list(islice(arrivals(ArrivalSpec(shape="even", rate_per_s=1000), 1, 0), 1_000_000, 1_000_001)) == [1000 * S]


def test_gamma_is_burstier_than_poisson() -> None:
    def variation(shape: str) -> float:
        instants = first(ArrivalSpec(shape=shape, rate_per_s=100), 20_000)
        gaps = [b - a for a, b in pairwise(instants)]
        mean = sum(gaps) / len(gaps)
        return float((sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 / mean)

    assert variation("poisson") == pytest.approx(1, abs=0.05)
    assert variation("gamma") == pytest.approx(2, abs=0.2)


def test_stages_ramp_from_the_rate_before_and_the_last_rate_goes_on() -> None:
    spec = ArrivalSpec(shape="even", stages=(Stage(rate_per_s=100, for_ns=S), Stage(rate_per_s=300, for_ns=2 * S)))
    assert expected_count(spec, 0, S) == 100  # the first stage begins at its own rate
    assert expected_count(spec, S, 3 * S) == pytest.approx(400)
    assert expected_count(spec, S, 2 * S) == pytest.approx(150)
    assert expected_count(spec, 10 * S, 11 * S) == pytest.approx(300)
    assert len([at for at in until(spec, 4 * S) if at >= 3 * S]) == pytest.approx(300, abs=1)


def test_a_stage_of_no_length_jumps_and_a_last_rate_of_zero_ends() -> None:
    ramp = (Stage(rate_per_s=0, for_ns=0), Stage(rate_per_s=100, for_ns=2 * S), Stage(rate_per_s=0, for_ns=0))
    spec = ArrivalSpec(shape="even", stages=ramp)
    instants = list(arrivals(spec, 1, 0))
    assert len(instants) == 100
    assert instants[-1] < 2 * S
    assert peak_rate_per_s(spec) == 100


def test_a_sine_swings_around_its_rate() -> None:
    spec = ArrivalSpec(shape="even", rate_per_s=100, sine=Sine(swing_ratio=0.5, period_ns=8 * S))
    instants = until(spec, 8 * S)
    assert len(instants) == 800  # a whole period has the mean rate
    # 100 * integral of 1 + sin(2 pi t / 8) / 2 over half a period: 400 + 100 * 8 / (2 pi)
    assert sum(at < 4 * S for at in instants) == 528
    assert (peak_rate_per_s(spec), spec.lowest_rate_per_s) == (150.0, 50.0)
    assert expected_count(spec, 0, 4 * S) == pytest.approx(527.32, abs=0.01)


def test_spikes_come_at_the_end_of_each_turn() -> None:
    spec = ArrivalSpec(shape="even", rate_per_s=10, spikes=Spikes(rate_per_s=200, for_ns=S // 2, every_ns=5 * S))
    instants = until(spec, 10 * S)
    assert len(instants) == 2 * (45 + 100)
    assert sum(4.5 * S <= at < 5 * S for at in instants) == 100
    assert (peak_rate_per_s(spec), spec.lowest_rate_per_s) == (200, 10)


@pytest.mark.parametrize(
    "more", [{"sine": {"swing_ratio": 0.5, "period_ns": S}, "stages": [{"rate_per_s": 1, "for_ns": 1}]}]
)
def test_a_wave_needs_a_rate(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected a rate for sine or spikes"):
        arrival_from_json(more)


def test_a_trace_is_replayed_as_it_is() -> None:
    spec = ArrivalSpec(trace="requests.csv")
    trace = (0.5, 0.25, 0.25, 3.0)
    assert list(arrivals(spec, 1, S, trace_s=trace)) == [S + S // 4, S + S // 4, S + S // 2, 4 * S]
    assert expected_count(spec, 0, S, trace_s=trace) == 3
    assert peak_rate_per_s(spec, S, trace_s=trace) == 3
    assert list(arrivals(spec, 1, 0)) == []
    assert peak_rate_per_s(spec) == 0


def test_a_closed_loop_has_no_arrivals() -> None:
    with pytest.raises(ValueError, match="closed loop"):
        arrivals(ArrivalSpec(users=5), 1)


@given(spec=specs)
def test_json_round_trip(spec: ArrivalSpec) -> None:
    if spec.rate_per_s is None or spec.rate_per_s > 0:
        assert arrival_from_json(arrival_json(spec)) == spec


def test_json_with_two_sources_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        arrival_from_json({"rate_per_s": 5, "users": 3})
