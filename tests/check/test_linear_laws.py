"""The metamorphic laws of linearizability (correctness.md 5.3), held by the search and by zones."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_oracle import random_calls
from test_check_linearizable import REGISTER, as_history, judge, verdict

from harness.history.calls import FOREVER, UNKNOWN, Call

Calls = list[Call]


def widened(calls: Calls, rng: random.Random) -> Calls:
    at = rng.randrange(len(calls))
    one = calls[at]
    wider = replace(
        one, call_ns=one.call_ns - rng.randrange(9), ret_ns=one.ret_ns + (0 if one.pending else rng.randrange(9))
    )
    return [*calls[:at], wider, *calls[at + 1 :]]


def fewer_reads(calls: Calls, rng: random.Random) -> Calls:
    return [each for each in calls if each.f != "read" or rng.random() < 0.6]


def one_more_pending(calls: Calls, rng: random.Random) -> Calls:
    lost = Call(id=999, f="write", value="never seen", out=UNKNOWN, call_ns=rng.randrange(40), ret_ns=FOREVER)
    return [*calls, lost]


def cut_short(calls: Calls, rng: random.Random) -> Calls:
    """All up to an instant: what is open then is pending, an open read tells nothing."""
    end = rng.randrange(40)
    begun = [each for each in calls if each.call_ns <= end]
    return [
        each if each.ret_ns <= end else replace(each, out=UNKNOWN, ret_ns=FOREVER)
        for each in begun
        if each.ret_ns <= end or each.f != "read"
    ]


def unanswered(calls: Calls, rng: random.Random) -> Calls:
    """An acknowledged write of which nobody heard."""
    writes = [at for at, each in enumerate(calls) if each.f == "write" and not each.pending]
    if not writes:
        return calls
    at = rng.choice(writes)
    return [*calls[:at], replace(calls[at], out=UNKNOWN, ret_ns=FOREVER), *calls[at + 1 :]]


def shifted(calls: Calls, rng: random.Random) -> Calls:
    by = rng.randrange(100)
    return [
        replace(each, call_ns=each.call_ns + by, ret_ns=each.ret_ns + (0 if each.pending else by)) for each in calls
    ]


def renamed(calls: Calls, rng: random.Random) -> Calls:
    """Every value under another name, every call under another number, in another order of rows."""
    name = {None: None, UNKNOWN: UNKNOWN}

    def new(value: object) -> object:
        return name.setdefault(value, f"x{len(name)}")  # type: ignore[call-overload]

    made = [
        replace(each, id=each.id + 50, value=new(each.value), out=new(each.out) if each.f == "read" else each.out)
        for each in calls
    ]
    rng.shuffle(made)
    return made


def narrowed(calls: Calls, rng: random.Random) -> Calls:
    at = rng.randrange(len(calls))
    one = calls[at]
    if one.pending or one.ret_ns == one.call_ns:
        return calls
    begin = rng.randint(one.call_ns, one.ret_ns)
    return [*calls[:at], replace(one, call_ns=begin, ret_ns=rng.randint(begin, one.ret_ns)), *calls[at + 1 :]]


KEEP_LEGAL = (widened, fewer_reads, one_more_pending, cut_short, unanswered)
CHANGE_NOTHING = (shifted, renamed)


def by_zones(calls: Calls) -> str:
    """What zones say, "legal" also where too little was acknowledged for a verdict on a run."""
    return "illegal" if judge(as_history(calls), "linearizable", REGISTER).verdict == "invalid" else "legal"


@pytest.mark.parametrize("law", KEEP_LEGAL, ids=lambda law: law.__name__)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 12))
def test_what_can_only_allow_more_keeps_a_legal_history_legal(
    law: Callable[[Calls, random.Random], Calls], seed: int, count: int
) -> None:
    rng = random.Random(seed)
    calls = random_calls(rng, ["read", "write"], count, lie=0)
    assert verdict("register", *calls) == by_zones(calls) == "legal"
    changed = law(calls, rng)
    assert verdict("register", *changed) == by_zones(changed) == "legal", changed


@pytest.mark.parametrize("law", CHANGE_NOTHING, ids=lambda law: law.__name__)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 12))
def test_what_says_the_same_in_other_words_gets_the_same_verdict(
    law: Callable[[Calls, random.Random], Calls], seed: int, count: int
) -> None:
    rng = random.Random(seed)
    calls = random_calls(rng, ["read", "write"], count, lie=0.2)
    changed = law(calls, rng)
    assert verdict("register", *changed) == by_zones(changed) == verdict("register", *calls) == by_zones(calls)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 12))
def test_narrowing_an_interval_never_mends_a_history(seed: int, count: int) -> None:
    rng = random.Random(seed)
    calls = random_calls(rng, ["read", "write"], count, lie=0.3)
    if verdict("register", *calls) == "illegal":
        changed = narrowed(calls, rng)
        assert verdict("register", *changed) == by_zones(changed) == "illegal"
