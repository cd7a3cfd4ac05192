"""Linearizability: literal histories, the search and the zones against trying every order, and what each says of itself."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_oracle import legal, random_calls
from literal import CALM, KILL, Script, judge

from harness.check.linear.models import MODELS
from harness.check.linear.wgl import linearize, steps
from harness.check.linear.zones import Clusters, conflict
from harness.history.calls import FOREVER, UNKNOWN, Call
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable

REGISTER = replace(CALM, model="register")
QUEUE = replace(CALM, model="queue")


def call(n: int, f: str, value: object, begin: int, end: int, out: object = None) -> Call:
    pending = end == FOREVER
    return Call(id=n, f=f, value=value, out=UNKNOWN if pending else out, call_ns=begin, ret_ns=end)


def verdict(model: str, *calls: Call) -> str:
    return linearize(MODELS[model], calls, steps(100_000)).verdict


@given(st.integers(min_value=0), st.integers(1, 6))
def test_the_search_agrees_with_trying_every_order(seed: int, count: int) -> None:
    calls = random_calls(random.Random(seed), ["read", "write", "cas"], count)
    assert (verdict("cas-register", *calls) == "legal") is legal(MODELS["cas-register"], calls)


def as_history(calls: list[Call]) -> History:
    outcome = {True: "info", False: "ok"}
    ops = [
        Op(
            op=each.id,
            f=each.f,
            key="k",
            value=each.value if each.f == "write" else None,
            intended_ns=each.call_ns,
            sent_ns=each.call_ns,
            done_ns=each.call_ns + 99 if each.pending else each.ret_ns,
            outcome=outcome[each.pending],  # type: ignore[arg-type]
            result=json.dumps(each.out) if each.f == "read" else None,
        )
        for each in calls
    ]
    return History(ops=OpTable.of(ops), events=())


@given(st.integers(min_value=0), st.integers(1, 14))
def test_zones_agree_with_the_search(seed: int, count: int) -> None:
    calls = random_calls(random.Random(seed), ["read", "write"], count)
    acknowledged = any(each.f == "write" and not each.pending for each in calls)
    found = judge(as_history(calls), "linearizable", REGISTER).verdict
    wanted = {"legal": "valid" if acknowledged else "unknown", "illegal": "invalid"}
    assert found == wanted[verdict("register", *calls)]


@given(st.integers(min_value=0), st.integers(2, 12), st.integers(-1000, 1000))
def test_shifting_all_times_and_dropping_a_read_keep_a_legal_history_legal(seed: int, count: int, shift: int) -> None:
    rng = random.Random(seed)
    calls = random_calls(rng, ["read", "write", "cas"], count, lie=0)
    moved = [
        replace(each, call_ns=each.call_ns + shift, ret_ns=each.ret_ns + (0 if each.pending else shift))
        for each in calls
    ]
    assert verdict("cas-register", *moved) == "legal"
    fewer = [each for each in calls if each.f != "read" or rng.random() < 0.5]
    assert verdict("cas-register", *fewer) == "legal"


@pytest.mark.parametrize(
    ("model", "calls", "wanted"),
    [
        ("mutex", [call(1, "acquire", "a", 0, 1), call(2, "acquire", "b", 2, 3)], "illegal"),
        (
            "mutex",
            [call(1, "acquire", "a", 0, 1), call(3, "release", "a", 1, 2), call(2, "acquire", "b", 2, 3)],
            "legal",
        ),
        ("mutex", [call(1, "acquire", "a", 0, FOREVER), call(2, "acquire", "b", 2, 3)], "legal"),
        (
            "queue",
            [call(1, "send", "x", 0, 1), call(2, "send", "y", 2, 3), call(3, "receive", None, 4, 5, "y")],
            "illegal",
        ),
        (
            "queue",
            [call(1, "send", "x", 0, 3), call(2, "send", "y", 2, 3), call(3, "receive", None, 4, 5, "y")],
            "legal",
        ),
        ("queue", [call(3, "receive", None, 4, 5, None)], "legal"),
        (
            "set",
            [call(1, "add", 1, 0, 1), call(2, "read", None, 2, 3, (1,)), call(3, "read", None, 4, 5, ())],
            "illegal",
        ),
        (
            "append-log",
            [call(1, "append", 1, 0, 9), call(2, "append", 2, 0, 9), call(3, "read", None, 9, 9, (2, 1))],
            "legal",
        ),
        (
            "key-value",
            [call(1, "put", "a", 0, 1), call(2, "append", "b", 2, 3), call(3, "get", None, 4, 5, "a")],
            "illegal",
        ),
        ("key-value", [call(1, "get", None, 0, 1, "")], "legal"),
        (
            "multi-register",
            [
                call(1, "txn", (("w", "x", 1), ("w", "y", 1)), 0, 1, (("w", "x", 1), ("w", "y", 1))),
                call(2, "txn", (("r", "x", None), ("r", "y", None)), 2, 3, (("r", "x", 1), ("r", "y", None))),
            ],
            "illegal",
        ),
    ],
)
def test_sequential_models(model: str, calls: list[Call], wanted: str) -> None:
    assert verdict(model, *calls) == wanted
    assert (wanted == "legal") is legal(MODELS[model], calls)


def test_the_search_gives_up_on_its_budget_and_says_what_it_could_not_place() -> None:
    many = [call(n, "write", n, 0, 100) for n in range(40)] + [call(99, "read", None, 101, 102, "never written")]
    assert linearize(MODELS["register"], many, steps(5_000)).verdict == "undecided"
    few = [call(1, "write", "x", 0, 1), call(2, "write", "y", 0, 9), call(3, "read", None, 2, 3, "z")]
    found = linearize(MODELS["register"], few, steps(5_000))
    assert (found.verdict, found.stuck, found.order, found.open) == ("illegal", 3, (1, 2), ())


def test_a_model_names_the_word_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="model mutex has no 'read'; it has acquire, release"):
        linearize(MODELS["mutex"], [call(1, "read", None, 0, 1)], steps(10))


def test_a_stale_read_is_named_with_the_write_it_missed() -> None:
    s = Script("register")
    s.write("v1", 1, 2)
    s.write("v2", 3, 4)
    s.read("v2", 5, 6)
    s.read("v1", 7, 8)
    found = s.check("linearizable", REGISTER)
    assert (found.verdict, found.counts) == ("invalid", {"violations": 1})
    both = "two values were each read or written before and after the other: no order has both"
    assert found.sentence == f"key 's1': {both}"
    assert [row.op for row in found.evidence] == [1, 2, 3, 4]
    assert found.evidence[-1].text.endswith('returned "v1"')


def test_an_uncertain_write_may_come_late_or_never() -> None:
    s = Script("register")
    s.write("v1", 1, 2)
    s.write("v2", 3, 4, "info")
    s.read("v1", 5, 6)
    s.read("v2", 7, 8)
    assert s.check("linearizable", REGISTER).verdict == "valid"
    s.read("v1", 9, 10)
    assert s.check("linearizable", REGISTER).verdict == "invalid"


def test_cas_is_searched_and_replaces_what_it_says() -> None:
    s = Script("register")
    s.write("v1", 1, 2)
    s._add("cas", 3, 4, "ok", {"key": "s1", "session": "s1", "value": "v2", "version": "v1"})
    s.read("v2", 5, 6)
    assert s.check("linearizable", REGISTER).verdict == "valid"
    s._add("cas", 7, 8, "ok", {"key": "s1", "session": "s1", "value": "v3", "version": "v1"})
    found = s.check("linearizable", REGISTER)
    assert found.verdict == "invalid"
    assert found.evidence[-1].text.endswith("cannot be placed after these")


def test_a_queue_that_gives_out_of_order_is_not_linearizable() -> None:
    s = Script("queue")
    s.write("x", 1, 2, key=None, session="s1")
    s.write("y", 3, 4, session="s1")
    s.read("y", 5, 6, f="receive")
    assert s.check("linearizable", QUEUE).verdict == "invalid"


@pytest.mark.parametrize("reads", [False, True])
def test_without_acknowledgements_or_faults_it_is_unknown(reads: bool) -> None:
    s = Script("register")
    if reads:
        s.read(None, 1, 2)
    found = s.check("linearizable", replace(REGISTER, faults=(KILL,), faults_planned=1))
    assert found.verdict == "unknown"
    assert "nothing was acknowledged" in (found.why_unknown or "")


@pytest.mark.slow
def test_a_million_calls_in_zones_are_decided() -> None:
    count = 500_000
    at = np.arange(count, dtype=np.int64) * 10
    clusters = Clusters(
        register=np.arange(count, dtype=np.int64) % 7,
        write=np.arange(count, dtype=np.int64) * 2,
        write_lo_ns=at,
        low_ns=at + 3,
        low_row=np.arange(count, dtype=np.int64) * 2,
        high_ns=at + 5,
        high_row=np.arange(count, dtype=np.int64) * 2 + 1,
    )
    assert conflict(clusters) is None
    late = clusters.high_ns.copy()
    late[1000] = at[1007] + 7
    assert conflict(replace(clusters, high_ns=late)) is not None
