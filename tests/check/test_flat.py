"""Reads taken apart by Arrow say what JSON says; logs that are passed over at a glance are those in which nothing is found."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest
from generate import valid
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import MUTATIONS

from harness.check.ground import Ground
from harness.check.index import Texts
from harness.check.order import either, logs, misplaced, reordered
from harness.check.session_order import _forks
from harness.history.flat import lists_of_texts
from harness.model.experiment import CheckSpec

PLAIN = st.text(st.characters(blacklist_characters='"\\', blacklist_categories=("Cs", "Cc")), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(PLAIN, max_size=4), min_size=1, max_size=4), st.booleans())
def test_plain_lists_are_what_json_says(lists: list[list[str]], tight: bool) -> None:
    texts = [json.dumps(each, ensure_ascii=False, separators=(",", ":") if tight else None) for each in lists]
    found = lists_of_texts(pa.array(texts))
    assert found is not None
    assert (found[0].tolist(), found[1].to_pylist()) == (
        [len(each) for each in lists],
        [v for each in lists for v in each],
    )


@pytest.mark.parametrize(
    "text", ['["a\\"b"]', "[1]", '["a", 1]', "null", '"a"', '["a"', '["a"]]', "{}", '["a"  ,"b"]', ""]
)
def test_everything_else_is_left_to_the_parser(text: str) -> None:
    assert lists_of_texts(pa.array(['["a"]', text])) is None


def test_texts_are_a_sequence_of_strings() -> None:
    texts = Texts(pa.array([str(number) for number in range(5000)]))
    assert (len(texts), texts[4999], list(texts[1:3])) == (5000, "4999", ["1", "2"])
    assert list(texts) == [str(number) for number in range(5000)] and list(Texts(pa.array([], pa.string()))) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_passed_over_at_a_glance_has_nothing_to_find(seed: int) -> None:
    rng = random.Random(seed)
    made = valid(rng, sessions=rng.randint(1, 3), turns=rng.randint(1, 9))
    mutant = rng.choice(MUTATIONS)(made, rng)
    made = mutant.made if mutant is not None else made
    ground = Ground(history=made.history(), spec=CheckSpec(name="x", kind="session-order"), context=made.context)
    everything, close, orders = list(logs(ground)), list(logs(ground, either)), list(logs(ground, misplaced))
    assert [each for log in everything for each in _forks(ground, log)] == [
        each for log in close for each in _forks(ground, log)
    ]
    pairs = [each for log in everything for each in reordered(ground, log)]
    assert pairs == [each for log in close for each in reordered(ground, log)]
    assert pairs == [each for log in orders for each in reordered(ground, log)]
