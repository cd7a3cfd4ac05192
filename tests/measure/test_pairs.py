"""Pairs compared share by share come to what a set of all pairs says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from harness.measure import pairs
from harness.measure.pairs import among

ODD = ["", "a", "ba", "aa", "é", "日本", "x" * 300, "v10", "v110", "v1", None]


@pytest.mark.parametrize("at_once", [1, 7, 1_000_000])
@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_a_set_of_pairs_says(seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_AT_ONCE", at_once)
    rng = np.random.default_rng(seed)
    texts, others = ([ODD[place] for place in rng.integers(0, len(ODD), count)] for count in rng.integers(0, 40, 2))
    places, at = (rng.integers(-1, 3, len(column)).astype(np.int32) for column in (texts, others))
    held = set(zip(at.tolist(), others, strict=True))

    found = among(places, _column(texts, 3), at, _column(others, 5))

    expected = [text is not None and (place, text) in held for place, text in zip(places.tolist(), texts, strict=True)]
    assert found.tolist() == expected


def test_equal_texts_fall_into_one_share_and_ids_spread_over_all() -> None:
    ids = pa.chunked_array([[f"v{number}" for number in range(5000)], [f"v{number}" for number in range(5000)]])
    ending = pairs._ending(ids)
    assert np.array_equal(ending[:5000], ending[5000:])
    assert np.bincount(ending[:5000] % 8).max() < 2 * 5000 / 8
    uuids = pa.chunked_array([[f"{number * 2654435761 % 2**32:08x}-{number:04x}" for number in range(5000)]])
    assert np.bincount(pairs._ending(uuids) % 8).max() < 2 * 5000 / 8


def _column(texts: list[str | None], at: int) -> pa.ChunkedArray:
    """In two chunks, the second of which begins inside a buffer."""
    whole = pa.array(texts, pa.string())
    return pa.chunked_array([whole.slice(0, at), whole.slice(at)], pa.string())
