"""Checks against histories right by construction, then made wrong, renamed, shifted, merged; and by brute force."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations

import pytest
from generate import CHECKED, STEP, Made, valid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from literal import CALM, Script, judge, verdicts
from mutations import MUTATIONS, Mutant

from harness.check.context import CheckContext
from harness.history.events import PhaseEvent, SignalEvent

BRISK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32)


def made_from(seed: int, **more: int) -> Made:
    rng = random.Random(seed)
    return valid(rng, sessions=rng.randint(1, 3), turns=rng.randint(1, 9), reads=rng.random() < 0.8, **more)


# "unknown" on a right history: only for want of something to look at, never for these.
MAY_BE_UNKNOWN = {"fresh", "session-guarantees", "converged"}


@BRISK
@given(SEEDS)
def test_a_right_history_is_valid(seed: int) -> None:
    made = made_from(seed)
    for kind in CHECKED:
        result = judge(made.history(), kind, made.context)
        assert result.verdict != "invalid", (kind, result)
        assert result.verdict == "valid" or kind in MAY_BE_UNKNOWN, (kind, result.why_unknown)
        if result.verdict == "unknown":
            assert result.why_unknown in (
                "no read under load began after an acknowledgement",
                "no session read after it had written or read",
            )


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
@BRISK
@given(SEEDS)
def test_a_mutation_is_found_by_its_checks_and_by_no_other(
    mutate: Callable[[Made, random.Random], Mutant | None], seed: int
) -> None:
    mutant = mutate(made_from(seed), random.Random(seed))
    if mutant is None:
        return
    history, context = mutant.made.history(), mutant.made.context
    for kind in CHECKED:
        result = judge(history, kind, context)
        if kind in mutant.must:
            assert result.verdict == "invalid", (kind, result)
            assert 1 <= len(result.evidence) <= 12
            assert sum(result.counts.values()) > 0
        if kind in mutant.must_not:
            assert result.verdict != "invalid", (kind, result)
    if mutant.names is not None:
        named = {row.op for kind in mutant.must for row in judge(history, kind, context).evidence}
        assert mutant.names in named


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_mutation_often_applies(mutate: Callable[[Made, random.Random], Mutant | None]) -> None:
    """Else the test above would pass for want of mutants."""
    assert sum(mutate(made_from(seed), random.Random(seed)) is not None for seed in range(40)) >= 10


@BRISK
@given(SEEDS)
def test_without_a_final_read_nothing_that_needs_one_is_valid(seed: int) -> None:
    made = made_from(seed, sink=False)
    made = replace(made, ops=tuple(op for op in made.ops if op.phase != "final"))
    for kind in ("durable", "exactly-once", "session-order", "converged", "phantom"):
        assert judge(made.history(), kind, made.context).verdict == "unknown"


@BRISK
@given(SEEDS)
def test_unread_is_never_lost(seed: int) -> None:
    made = made_from(seed)
    rng = random.Random(seed)
    finals = [op for op in made.ops if op.phase == "final"]
    gone = rng.choice(finals)
    kept = tuple(op for op in made.ops if op.phase != "final" or (op.session, op.region) != (gone.session, gone.region))
    found = verdicts(replace(made, ops=kept).history(), made.context, CHECKED)
    assert "invalid" not in found.values()


# ---- laws


def damaged(seed: int) -> Made:
    """A right history, or one with one random mutation."""
    made, rng = made_from(seed), random.Random(seed)
    mutant = rng.choice((*MUTATIONS, lambda made, rng: None))(made, rng)
    return made if mutant is None else mutant.made


def summary(made: Made) -> dict[str, tuple[str, dict[str, int], dict[str, int]]]:
    found = {}
    for kind in CHECKED:
        result = judge(made.history(), kind, made.context)
        found[kind] = (str(result.verdict), result.counts, result.volume)
    return found


@BRISK
@given(SEEDS, st.integers(-(10**9), 10**9))
def test_shifting_all_times_changes_nothing(seed: int, by: int) -> None:
    made = damaged(seed)
    ops = tuple(
        replace(
            op,
            intended_ns=op.intended_ns + by,
            sent_ns=None if op.sent_ns is None else op.sent_ns + by,
            done_ns=None if op.done_ns is None else op.done_ns + by,
        )
        for op in made.ops
    )
    events = tuple(replace(event, at_ns=event.at_ns + by) for event in made.events)
    spans = tuple(
        replace(
            span,
            effect_lo_ns=span.effect_lo_ns + by,
            effect_hi_ns=(span.effect_hi_ns or 0) + by,
            end_lo_ns=(span.end_lo_ns or 0) + by,
            end_hi_ns=(span.end_hi_ns or 0) + by,
        )
        for span in made.context.faults
    )
    shifted = Made(ops=ops, events=events, context=replace(made.context, faults=spans))
    assert summary(shifted) == summary(made)


@BRISK
@given(SEEDS)
def test_renaming_and_shuffling_changes_nothing(seed: int) -> None:
    made, rng = damaged(seed), random.Random(seed)
    values = {value for op in made.ops for value in _values(op.result) | {op.value} if value is not None}
    numbers = rng.sample(range(1000), 1000)
    name = {value: f"v{numbers.pop()}" for value in sorted(values)}
    session = {f"s{n}": f"x{numbers.pop()}" for n in range(4)}
    region = {"eu-west": "here", "us-east": "there"}
    ops = []
    for op in made.ops:
        is_read = op.f == "read"
        result = json.dumps([name[value] for value in json.loads(op.result or "[]")]) if is_read else op.result
        ops.append(
            replace(
                op,
                op=op.op + 1000,
                value=name.get(op.value or ""),
                idem=None if op.idem is None else f"q{op.idem}",
                session=session[op.session or ""],
                key=session[op.key or ""],
                writer=f"w{op.writer}",
                region=region.get(op.region or ""),
                result=result,
            )
        )
    rng.shuffle(ops)
    events = tuple(
        replace(event, fields={"idem": f"q{event.fields['idem']}"}) if isinstance(event, SignalEvent) else event
        for event in made.events
    )
    other = Made(ops=tuple(ops), events=events, context=replace(made.context, regions=("here", "there")))
    assert summary(other) == summary(made)


def _values(result: str | None) -> set[str]:
    parsed = json.loads(result or "[]")
    return set(parsed) if isinstance(parsed, list) else set()


@BRISK
@given(SEEDS, SEEDS)
def test_two_histories_side_by_side_are_as_bad_as_the_worse(one: int, two: int) -> None:
    """Merging a right history of other sessions into a wrong one neither hides nor adds anything."""
    made, beside = damaged(one), made_from(two)
    moved = tuple(
        replace(
            op,
            op=op.op + 10_000,
            session=f"b{op.session}",
            key=f"b{op.key}",
            writer=f"b{op.writer}",
            value=None if op.value is None else f"b{op.value}",
            idem=None if op.idem is None else f"b{op.idem}",
            result=json.dumps([f"b{value}" for value in json.loads(op.result or "[]")])
            if op.f == "read"
            else op.result,
        )
        for op in beside.ops
    )
    signals = tuple(
        replace(event, fields={"idem": f"b{event.fields['idem']}"})
        for event in beside.events
        if isinstance(event, SignalEvent)
    )
    merged = replace(made, ops=made.ops + moved, events=made.events + signals)
    for kind in ("durable", "exactly-once", "session-order", "resume", "phantom"):
        alone, both = judge(made.history(), kind, made.context), judge(merged.history(), kind, made.context)
        assert (alone.verdict, alone.counts) == (both.verdict, both.counts), kind


@BRISK
@given(SEEDS)
def test_an_acknowledgement_that_becomes_uncertain_never_makes_a_violation(seed: int) -> None:
    made, rng = made_from(seed), random.Random(seed)
    acked = [n for n, op in enumerate(made.ops) if op.f == "append" and op.outcome == "ok"]
    at = rng.choice(acked)
    ops = list(made.ops)
    ops[at] = replace(ops[at], outcome="info")
    assert "invalid" not in verdicts(replace(made, ops=tuple(ops)).history(), made.context, CHECKED).values()


@BRISK
@given(SEEDS)
def test_dropping_a_read_under_load_never_makes_a_violation(seed: int) -> None:
    made, rng = made_from(seed), random.Random(seed)
    kept = tuple(op for op in made.ops if op.f != "read" or op.phase == "final" or rng.random() < 0.5)
    assert "invalid" not in verdicts(replace(made, ops=kept).history(), made.context, CHECKED).values()


@BRISK
@given(SEEDS, st.integers(1, 20))
def test_widening_an_interval_never_makes_a_violation(seed: int, by: int) -> None:
    made, rng = made_from(seed), random.Random(seed)
    at = rng.randrange(len(made.ops))
    ops = list(made.ops)
    op = ops[at]
    ops[at] = replace(op, sent_ns=(op.sent_ns or 0) - by * STEP, done_ns=(op.done_ns or 0) + by * STEP)
    assert "invalid" not in verdicts(replace(made, ops=tuple(ops)).history(), made.context, CHECKED).values()


# ---- brute force


def legal(ops: list[tuple[str, int, int, str]], shown: tuple[str, ...]) -> bool:
    """Whether a correct log could end as `shown`, by trying every set of uncertain ops in every order that time allows."""
    sure = [op for op in ops if op[3] == "ok"]
    maybe = [op for op in ops if op[3] == "info"]
    for count in range(len(maybe) + 1):
        for some in combinations(maybe, count):
            for order in permutations([*sure, *some]):
                timely = all(
                    not (later[3] == "ok" and later[2] < earlier[1])
                    for place, earlier in enumerate(order)
                    for later in order[place + 1 :]
                )
                if timely and tuple(op[0] for op in order) == shown:
                    return True
    return False


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_small_logs_agree_with_brute_force(data: st.DataObject) -> None:
    """One session, one region: a log is possible if and only if all four checks hold."""
    count = data.draw(st.integers(1, 4))
    ops = []
    for n in range(count):
        sent = data.draw(st.integers(0, 6))
        done = sent + data.draw(st.integers(0, 3))
        ops.append(("abcd"[n], sent, done, data.draw(st.sampled_from(["ok", "ok", "info", "fail"]))))
    shown = tuple(data.draw(st.lists(st.sampled_from("abcde"[: count + 1]), max_size=5)))
    if not any(op[3] == "ok" for op in ops):
        return
    script = Script()
    for value, sent, done, outcome in ops:
        script.write(value, sent, done, outcome)
    script.final(list(shown))
    kinds = ("durable", "exactly-once", "session-order", "phantom")
    found = verdicts(script.history(), CALM, kinds)
    assert set(found.values()) <= {"valid", "invalid"}
    # A log too long is one that shows something twice or from nowhere, which the alphabet makes both possible.
    assert (set(found.values()) == {"valid"}) == legal(ops, shown), found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=3, unique=True), min_size=1, max_size=4))
def test_forks_agree_with_comparing_every_pair(reads: list[list[str]]) -> None:
    script = Script()
    for value in "abc":
        script.write(value, 0, 50)  # all concurrent: only the reads can disagree
    for n, values in enumerate(reads):
        script.read(values, 51 + n)
    script.final(sorted(reads, key=len)[-1])
    apart = any(one[: len(two)] != two[: len(one)] for one in reads for two in reads)
    result = script.check("session-order", CALM)
    assert (result.counts["forks"] > 0) == apart


def test_an_empty_history_proves_nothing() -> None:
    empty = Made(ops=(), events=(PhaseEvent(at_ns=0, phase="final"),), context=CheckContext(model="log"))
    assert set(verdicts(empty.history(), empty.context, CHECKED).values()) == {"unknown"}
