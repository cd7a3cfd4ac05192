"""What came from the environment is taken out of texts, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.model.secrets import MASK, masked, masked_value


def test_every_place_of_a_secret_is_masked() -> None:
    assert masked("Bearer t0ken, again t0ken", {"t0ken"}) == "Bearer ***, again ***"


def test_a_secret_inside_another_leaves_no_rest() -> None:
    assert masked("long-secret-value", {"secret", "long-secret-value"}) == MASK


def test_a_short_value_is_masked_only_when_it_is_all() -> None:
    assert masked("eu", {"eu"}) == MASK
    assert masked("queue", {"eu"}) == "queue"
    assert masked("", {""}) == ""


def test_values_are_masked_and_keys_and_numbers_stay() -> None:
    value = {"t0ken": ["t0ken", 7, None, {"inner": "a t0ken"}]}
    assert masked_value(value, {"t0ken"}) == {"t0ken": ["***", 7, None, {"inner": "a ***"}]}


@given(st.text(max_size=60), st.sets(st.text(min_size=4, max_size=8).filter(lambda text: "*" not in text), max_size=3))
def test_masking_twice_is_masking_once_and_no_secret_is_left_whole(text: str, secrets: set[str]) -> None:
    once = masked(text, secrets)
    assert masked(once, secrets) == once
    assert not any(secret in once for secret in secrets)
