"""What the system held in the end: the final state of every key in every region asked, from the final reads.

Shared by the loss measure and the data checks. A key is an op's `key`, else its session. "Could not read" is no state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.history.events import EFFECT, SignalEvent, of_type
from harness.history.flat import lists_of_texts
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable
from harness.measure.facts import load_report
from harness.model.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "READS",
    "WRITES",
    "FinalState",
    "LastReads",
    "effects",
    "final_reads",
    "final_states",
    "key_of",
    "last_reads",
    "model_of",
    "numbered",
    "places",
    "regions_asked",
    "values_in",
]

WRITES: Mapping[str, frozenset[str]] = {
    "set": frozenset({"add"}),
    "log": frozenset({"append"}),
    "register": frozenset({"write"}),
    "jobs": frozenset({"submit"}),
}
"""Model -> the words of ops whose effect a final read can show."""

READS: Mapping[str, frozenset[str]] = {model: frozenset({"read"}) for model in ("set", "log", "register", "jobs")}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalState:
    """One ok final read: the values of one key in one region (None: reads that name none), in their order."""

    op: int
    region: str | None
    key: str | None
    values: tuple[str, ...]
    done_ns: int
    round: int


def key_of(op: Op) -> str | None:
    """The key an op is about: its own, else its session."""
    return op.key if op.key is not None else op.session


def values_in(result: str | None) -> tuple[str, ...]:
    """The values in a read's JSON result: each of a list's, or the one; () for none and for null. Texts stay, the rest is JSON."""
    if result is None:
        return ()
    try:
        parsed = json.loads(result)
    except ValueError:
        return (result,)
    items = parsed if isinstance(parsed, list) else [parsed]
    return tuple(
        item if isinstance(item, str) else json.dumps(item, separators=(",", ":"), sort_keys=True)
        for item in items
        if item is not None
    )


def final_reads(history: History) -> OpTable:
    """Every ok final `read` that was not cut; a final phase may also run journaled inputs again."""
    mask = history.ops.is_("phase", "final") & history.ops.is_("outcome", "ok") & ~history.ops.flags("cut")
    return history.ops.where(mask & history.ops.is_("f", "read"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReads:
    """The last final read of each key in each region. Read i returned `flat[start[i]:start[i + 1]]`, in order.

    As `FinalState`, but for any number of values: these stay in Arrow, where a million as Python texts cost 80 MB.
    """

    region: tuple[str | None, ...]
    place: pa.ChunkedArray
    start: NDArray[np.int64]
    flat: pa.ChunkedArray


def last_reads(reads: OpTable) -> LastReads:
    """The last of some final reads for each key and region, by completion."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = places(reads)
    (number,) = numbered(place)
    region, names = reads.codes("region")
    order = np.lexsort((reads.ints("op"), reads.ints("done_ns")))[::-1]
    which = (region[order].astype(np.int64) + 1) * (len(reads) + 1) + number[order] + 1
    last = np.sort(order[np.unique(which, return_index=True)[1]])
    texts = pc.fill_null(reads.column("result", keep=False).take(pa.array(last)).cast("string"), "[]").combine_chunks()
    plain = lists_of_texts(texts) if len(last) else None
    if plain is None:
        values = [values_in(text) for text in texts.to_pylist()]
        length = np.array([len(one) for one in values], dtype=np.int64)
        flat = pa.array([value for one in values for value in one], pa.string())
    else:
        length, flat = plain
    pa.default_memory_pool().release_unused()  # the whole texts, and what they were on the way
    return LastReads(
        region=tuple(names[code] if code >= 0 else None for code in region[last].tolist()),
        place=place.take(pa.array(last)),
        start=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        flat=pa.chunked_array([flat]),
    )


def places(table: OpTable) -> pa.ChunkedArray:
    """What each op is about, as `key_of` has it."""
    import pyarrow.compute as pc

    return pc.coalesce(table.column("key", keep=False), table.column("session").cast("string"))


def numbered(*columns: pa.ChunkedArray) -> tuple[NDArray[np.int64], ...]:
    """Text columns as numbers: equal texts have equal ones in all of them, null is -1."""
    import pyarrow as pa

    together = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    chunks = together.dictionary_encode().unify_dictionaries().chunks
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return tuple(np.split(np.concatenate([np.zeros(0, dtype=np.int64), *codes]), ends))


def final_states(history: History) -> tuple[FinalState, ...]:
    """Every ok final `read` in order of completion; `round` counts a key's reads in a region from 0. Empty without any."""
    rounds: dict[tuple[str | None, str | None], int] = {}
    states = []
    for op in sorted(final_reads(history).ops(), key=lambda op: (op.done_ns or 0, op.op)):
        place = (op.region, key_of(op))
        number = rounds[place] = rounds.get(place, -1) + 1
        states.append(
            FinalState(
                op=op.op,
                region=op.region,
                key=place[1],
                values=values_in(op.result),
                done_ns=op.done_ns or op.intended_ns,
                round=number,
            )
        )
    return tuple(states)


def regions_asked(plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(regions whose final reads count, regions read for evidence only), by name."""
    final = plan.experiment.final
    stack = plan.experiment.stack
    asked = final.regions or tuple(name for name, region in stack.regions.items() if region.entry is not None)
    return tuple(name for name in asked if name not in final.evidence), final.evidence


def model_of(history: History) -> str | None:
    """The load profile's model, as the engine reported it; None when it declares none or no report was left."""
    report = load_report(history)
    return report.model if report else None


def effects(history: History) -> tuple[str, ...]:
    """What really ran, by idempotency key, as the stack's own sink reported it: once per effect. Empty without a sink."""
    return tuple(
        event.fields["idem"]
        for event in of_type(history.events, SignalEvent)
        if event.event in (EFFECT, "executed") and "idem" in event.fields
    )
