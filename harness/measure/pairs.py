"""Which of many (place, text) pairs are among many others: exact, and a share of the texts at a time, so that millions fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.measure.finals import numbered

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["among"]

_AT_ONCE = 1_000_000
_NOWHERE = -2

Ints = NDArray[np.int64]
Places = NDArray[np.int32]
Bools = NDArray[np.bool_]


def among(places: Places, texts: pa.ChunkedArray, other_places: Places, others: pa.ChunkedArray) -> Bools:
    """For each (place, text) whether the others hold it too; no null does. Places are numbers from -1 on, in both the same.

    Texts that are equal fall into the same share, each share is compared by itself: memory beyond what is given is that of
    a million texts, unless most of them end alike.
    """
    found = np.zeros(len(texts), dtype=np.bool_)
    for mine, theirs in _shares(texts, others):
        number, other = numbered(_taken(texts, mine), _taken(others, theirs))
        found[mine] = _held(places[mine], number, other_places[theirs], other)
    return found


def _taken(texts: pa.ChunkedArray, at: Ints | slice) -> pa.ChunkedArray:
    import pyarrow as pa

    return texts if isinstance(at, slice) else texts.take(pa.array(at))


def _shares(texts: pa.ChunkedArray, others: pa.ChunkedArray) -> Iterator[tuple[Ints | slice, Ints | slice]]:
    """Rows of the two whose texts may be equal, share by share."""
    import pyarrow as pa

    count = -(-(len(texts) + len(others)) // _AT_ONCE)
    if count < 2:
        yield slice(None), slice(None)
        return
    mine, theirs = _ending(texts) % count, _ending(others) % count
    for share in range(count):
        yield np.flatnonzero(mine == share), np.flatnonzero(theirs == share)
        pa.default_memory_pool().release_unused()


def _ending(texts: pa.ChunkedArray) -> NDArray[np.uint16]:
    """A number of each text's length and last two bytes: equal texts have equal ones. Ids differ at their ends."""
    parts = [np.zeros(0, dtype=np.uint16)]
    for chunk in texts.chunks:
        _, offsets, data = chunk.buffers()
        if not len(chunk):
            continue
        ends = np.frombuffer(offsets, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        size = np.diff(ends).astype(np.uint16)
        bytes_ = np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(1, dtype=np.uint8)
        number = size * np.uint16(17)
        for back, factor in ((1, 251), (2, 13)):
            byte = bytes_[np.maximum(ends[1:] - back, 0)].astype(np.uint16) * np.uint16(factor)
            number += np.where(size >= back, byte, np.uint16(0))
        parts.append(number)
    return np.concatenate(parts)


def _held(place: Places, value: Ints, at: Places, flat: Ints) -> Bools:
    """Which values are held at their places: value `flat[i]` is at place `at[i]`; -1 is no value."""
    most = 1 + max((int(column.max()) for column in (value, flat) if len(column)), default=0)
    place_of = np.full(most + 1, _NOWHERE)  # the last is of no value
    place_of[flat] = at
    place_of[-1] = _NOWHERE
    if np.array_equal(place_of[flat], at):  # no value is at two places: nothing needs to be sorted
        return np.asarray(place_of[value] == place, dtype=np.bool_)
    width = most + 1
    held = at.astype(np.int64) * width + flat
    return np.asarray(np.isin(place.astype(np.int64) * width + value, held) & (value >= 0), dtype=np.bool_)
