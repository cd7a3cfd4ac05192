"""The stack's pure parts: the oracle, hysteresis, and the edge's decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.reference import oracle
from harness.reference.governor import JournalView, Limits, RegionView, Route, decide, handed_over
from harness.reference.health import DOWN, SUSPECT, UP, Health, Thresholds
from harness.reference.journal import Config
from harness.reference.mutants import parse_mutants
from harness.reference.oracle import PINS, Basis

MS = 1_000_000
LIMITS = Limits()


def test_every_token_is_a_pure_function_of_its_basis() -> None:
    basis = Basis(pins=PINS, prompt=oracle.prompt_sha([{"role": "user", "content": "hello"}], PINS.template))
    text = oracle.answer(basis, 20)
    assert text == "".join(oracle.token(basis, index) for index in range(20))
    assert oracle.split(text) == tuple(oracle.token(basis, index) for index in range(20))
    assert oracle.answer(basis, 8) + "".join(oracle.token(basis, index) for index in range(8, 20)) == text
    for other in (
        Basis(pins=PINS, prompt=basis.prompt, seed=1),
        Basis(pins=replace(PINS, tokenizer="tok.r2"), prompt=basis.prompt),
        Basis(pins=PINS, prompt=oracle.prompt_sha([{"role": "user", "content": "hello!"}], PINS.template)),
    ):
        assert oracle.answer(other, 20) != text
    assert all(16 <= oracle.length(replace(basis, seed=seed), 16, 24) <= 24 for seed in range(50))


def test_mutants_are_parsed_from_flags_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENAI_MUTANT", raising=False)
    assert parse_mutants([""]) == frozenset()
    assert parse_mutants(["no-idempotency,shallow-health"]) == {"no-idempotency", "shallow-health"}
    monkeypatch.setenv("GENAI_MUTANT", "ack-before-replicate")
    assert parse_mutants([]) == {"ack-before-replicate"}
    assert parse_mutants(["metastable"]) > {"no-admission", "retry-storm"}  # a pair brings its parts
    with pytest.raises(ValueError, match="unknown name 'no-such'"):
        parse_mutants(["no-such"])


def test_a_hiccup_is_no_outage() -> None:
    health = Health(Thresholds(), 0)
    assert health.state == SUSPECT and not health.probe(False, 10 * MS)
    assert health.probe(True, 0) and health.state == UP
    for number in range(1, 4):
        health.probe(False, number * 100 * MS)
    assert health.state == SUSPECT  # three bad probes, but only 300 ms
    assert health.probe(True, 400 * MS) and health.state == UP


def test_an_outage_is_seen_after_its_time_and_return_takes_three_good_probes() -> None:
    health = Health(Thresholds(), 0)
    health.probe(True, 0)
    states = [health.probe(False, number * 250 * MS) and health.state for number in range(1, 7)]
    assert states == [SUSPECT, False, False, False, False, DOWN]
    assert [health.probe(True, (1750 + n * 250) * MS) and health.state for n in range(3)] == [False, False, UP]


def test_live_failures_alone_bring_a_region_down_only_when_most_fail_for_long() -> None:
    health = Health(Thresholds(), 0)
    health.probe(True, 0)
    assert not any(health.live(False, number * 50 * MS) for number in range(20))  # 1 s: not long enough
    assert health.state == UP
    assert any(health.live(False, number * 50 * MS) for number in range(20, 40))
    assert health.state == DOWN


BOTH = Config(epoch=4, primary="eu", sync=("eu", "us"), mode="sync")
ROUTE = Route(config=BOTH, promotable=("eu", "us"))
JOURNAL = JournalView(config=BOTH, joined=True, peer_silent_ns=20 * MS, peer_lag=0, config_age_ns=60_000 * MS)
EU = RegionView(region="eu", state=UP, heard_ns=10_000 * MS, journal=JOURNAL)
US = RegionView(region="us", state=UP, heard_ns=10_000 * MS, journal=replace(JOURNAL, joined=False, peer_lag=None))
NOW = 10_100 * MS


def test_a_calm_stack_asks_for_nothing() -> None:
    assert decide(ROUTE, (EU, US), NOW, LIMITS, "sync") is None


def test_bootstrap_waits_for_both_journals() -> None:
    empty = replace(JOURNAL, config=None)
    eu, us = replace(EU, journal=empty), replace(US, journal=empty)
    assert decide(None, (eu, replace(us, journal=None)), NOW, LIMITS, "sync") is None
    step = decide(None, (eu, us), NOW, LIMITS, "sync")
    assert step is not None and step.route.config == Config(epoch=1, primary="eu", sync=("eu", "us"), mode="sync")
    known = decide(None, (EU, us), NOW, LIMITS, "sync")  # one knows epoch 4: go past it, and trust nobody's copy
    assert known is not None and known.route.config.epoch == 5 and known.route.promotable == ("eu",)


def test_only_a_promotable_region_is_promoted() -> None:
    down = replace(EU, state=DOWN)
    step = decide(ROUTE, (down, US), NOW, LIMITS, "sync")
    assert step is not None and step.event == "promoted"
    assert step.route == Route(config=replace(BOTH, epoch=5, primary="us", sync=("us",)), promotable=("us",))
    assert decide(replace(ROUTE, promotable=("eu",)), (down, US), NOW, LIMITS, "sync") is None
    assert decide(ROUTE, (down, replace(US, state=SUSPECT)), NOW, LIMITS, "sync") is None


def test_an_asynchronous_primary_is_replaced_only_after_its_lease() -> None:
    config = replace(BOTH, mode="async")
    route, down = Route(config=config, promotable=("eu", "us")), replace(EU, state=DOWN)
    assert decide(route, (down, US), EU.heard_ns + LIMITS.lease_ns - 1, LIMITS, "async") is None
    step = decide(route, (down, US), EU.heard_ns + LIMITS.lease_ns, LIMITS, "async")
    assert step is not None and step.event == "promoted"


def test_a_silent_standby_is_taken_out_and_comes_back_in_two_steps() -> None:
    silent = replace(EU, journal=replace(JOURNAL, peer_silent_ns=1_500 * MS))
    out = decide(ROUTE, (silent, US), NOW, LIMITS, "sync")
    assert out is not None and out.event == "standby-removed"
    assert out.route == Route(config=replace(BOTH, epoch=5, sync=("eu",)), promotable=("eu",))

    alone = replace(EU, journal=replace(JOURNAL, config=out.route.config, peer_lag=500))
    assert decide(out.route, (alone, US), NOW, LIMITS, "sync") is None  # too far behind
    near = replace(EU, journal=replace(JOURNAL, config=out.route.config, peer_lag=3))
    joining = decide(out.route, (near, US), NOW, LIMITS, "sync")
    assert joining is not None and joining.event == "standby-joining"
    assert joining.route == Route(config=replace(BOTH, epoch=6), promotable=("eu",))

    unconfirmed = replace(EU, journal=replace(JOURNAL, config=joining.route.config, joined=False))
    assert decide(joining.route, (unconfirmed, US), NOW, LIMITS, "sync") is None
    joined = decide(
        joining.route, (replace(EU, journal=replace(JOURNAL, config=joining.route.config)), US), NOW, LIMITS, "sync"
    )
    assert joined is not None and joined.route == Route(config=joining.route.config, promotable=("eu", "us"))


def test_old_news_decide_nothing_about_members() -> None:
    silent = replace(EU, journal=replace(JOURNAL, peer_silent_ns=1_500 * MS))
    assert decide(ROUTE, (silent, US), NOW + 2_000 * MS, LIMITS, "sync") is None
    other_epoch = replace(silent, journal=replace(JOURNAL, config=replace(BOTH, epoch=3), peer_silent_ns=1_500 * MS))
    assert decide(ROUTE, (other_epoch, US), NOW, LIMITS, "sync") is None


def test_the_role_is_handed_over_only_to_one_that_holds_everything() -> None:
    moved = Route(config=replace(BOTH, epoch=6, primary="us"), promotable=("us",))
    assert all(handed_over(route, to, "asked") is None for route, to in ((None, "eu"), (moved, "us"), (moved, "eu")))
    step = handed_over(replace(moved, promotable=("us", "eu")), "eu", "asked")
    assert step is not None and (step.route.config.epoch, step.route.config.primary) == (7, "eu")
