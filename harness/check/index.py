"""A history's ops as columns that checks share: entries (what was written, by value) and reads (what was seen, by entry).

Values are unique within a run, so a value names its write. Numbers below are positions: an *entry* is one distinct value,
whatever number of ops tried to write it; reads hold entries by number, values that nobody wrote by numbers beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from harness.check.words import LISTS, READS, WRITES, values_of
from harness.history.flat import lists_of_texts
from harness.history.table import MISSING, OpTable

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FOREVER", "Bools", "Entries", "Index", "Ints", "Reads", "Smalls", "Texts", "count_until"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Smalls = NDArray[np.int32]
_TAKEN_APART = 4096
_NUMBERED = 1_000_000
"""Values that are held as texts, before each has its number; more only where there are more entries to number them by."""
FOREVER = int(np.iinfo(np.int64).max)
"""The end of what never ended, as far as anyone knows."""


class Texts(Sequence[str]):
    """Many texts, held by Arrow: a million of them as Python strings cost 80 MB and a second."""

    def __init__(self, arrow: pa.StringArray) -> None:
        self.arrow = arrow

    def __len__(self) -> int:
        return len(self.arrow)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...

    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        found = self.arrow[place]
        return Texts(found) if isinstance(place, slice) else str(found.as_py())

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self.arrow), _TAKEN_APART):
            yield from self.arrow.slice(begin, _TAKEN_APART).to_pylist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """Distinct values and their fate; all arrays have one element per entry, in order of first appearance.

    `row`: the op that decided it (the first acknowledgement, else an uncertain one, else a failed one). `lo_ns`: the first
    sending; `ack_ns`: the first acknowledgement, `FOREVER` without one. `owner`: whose order counts, a session's, else a
    writer's. `group`: entries that share an idempotency key are one logical write and have the same number. `rivals`:
    entries that two independent ops may have written, so that nothing can be said of how often they should be there.
    """

    texts: Texts
    row: Ints
    lo_ns: Ints
    ack_ns: Ints
    acked: Bools
    failed: Bools
    load: Bools
    key: Ints
    session: Ints
    owner: Ints
    group: Ints
    rivals: Bools

    def __len__(self) -> int:
        return len(self.row)

    @property
    def info(self) -> Bools:
        """Which may have happened or not."""
        return ~self.acked & ~self.failed


@dataclass(frozen=True, kw_only=True)
class Reads:
    """Ok reads that could be taken apart, in order of sending; arrays have one element per read.

    What read i returned is `flat[start[i]:start[i + 1]]`, in order. `name` is what was read: a key, else a session, else
    everything. `foreign` are the values that nobody wrote: number len(entries) + k is `foreign[k]`. `damaged` are the rows
    of ok final reads whose result is not what the model's reads return.
    """

    row: Ints
    lo_ns: Ints
    done_ns: Ints
    name: Ints
    session: Ints
    region: Ints
    phase: NDArray[np.int8]
    start: Ints
    flat: Smalls
    foreign: tuple[str, ...]
    damaged: Ints

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def owner(self) -> Ints:
        """The read of each element of `flat`."""
        return np.repeat(np.arange(len(self.row)), np.diff(self.start))

    def values(self, read: int) -> list[int]:
        """What one read returned."""
        return list(map(int, self.flat[self.start[read] : self.start[read + 1]]))


PHASE_LOAD, PHASE_PROBE, PHASE_FINAL = 0, 1, 2


class _Seen(dict[str, int]):
    """Text that names no entry -> number: it is looked for among the idempotency keys, else becomes foreign."""

    def __init__(self, entries: Texts, by_idem: Callable[[], dict[str, int]]) -> None:
        super().__init__()
        self.entries, self._by_idem = entries, by_idem
        self.foreign: list[str] = []

    def __missing__(self, text: str) -> int:
        number = self._by_idem().get(text)
        if number is None:
            number = len(self.entries) + len(self.foreign)
            self.foreign.append(text)
        self[text] = number
        return number


class Index:
    """Everything that checks ask of one history under one model. A model that is None or unknown has no entries, no reads."""

    def __init__(self, table: OpTable, model: str | None) -> None:
        self.table, self.model = table, model
        self.told: dict[Any, Any] = {}  # what checks found out of it, by what they had asked
        sent = table.ints("sent_ns")
        self.lo_ns: Ints = np.where(sent == MISSING, table.ints("intended_ns"), sent)
        self.ok: Bools = table.is_("outcome", "ok") & ~table.flags("cut")
        self.info: Bools = table.is_("outcome", "info") | table.flags("cut")
        done = table.ints("done_ns")
        self.done_ns: Ints = np.where((done == MISSING) | self.info, FOREVER, done)
        self.load: Bools = table.is_("phase", "load")
        self.final: Bools = table.is_("phase", "final")

    def _words(self, words: frozenset[str]) -> Bools:
        mask = np.zeros(len(self.table), dtype=np.bool_)
        for word in words:
            mask |= self.table.is_("f", word)
        return mask

    @cached_property
    def is_write(self) -> Bools:
        """Which rows are writes of the model."""
        return self._words(WRITES.get(self.model or "", frozenset()))

    @cached_property
    def is_read(self) -> Bools:
        """Which rows are reads of the model."""
        return self._words(READS.get(self.model or "", frozenset()))

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Region names; reads hold their positions, -1 for none."""
        return self.table.codes("region")[1]

    @cached_property
    def _naming(self) -> tuple[Ints, Ints, tuple[str, ...]]:
        key_codes, keys = self.table.codes("key")
        session_codes, sessions = self.table.codes("session")
        numbers = {name: number for number, name in enumerate(dict.fromkeys((*keys, *sessions)))}
        # One more element, -1, at the end: code -1 (null) finds it.
        key_of = np.array([*(numbers[name] for name in keys), -1], dtype=np.int64)
        session_of = np.array([*(numbers[name] for name in sessions), -1], dtype=np.int64)
        return key_of[key_codes], session_of[session_codes], tuple(numbers)

    @property
    def names(self) -> tuple[str, ...]:
        """Keys and sessions by number. The number after the last stands for "everything"."""
        return self._naming[2]

    @cached_property
    def name(self) -> Ints:
        """What each row reads or writes, by number: its key, else its session, else everything."""
        key, session, names = self._naming
        return np.where(key >= 0, key, np.where(session >= 0, session, len(names)))

    def name_text(self, number: int) -> str:
        """What was read or written, in words."""
        return repr(self.names[number]) if 0 <= number < len(self.names) else "everything"

    @cached_property
    def entries(self) -> Entries:
        """Every distinct value that an op tried to write."""
        return _entries(self)

    @cached_property
    def nameless_acked(self) -> int:
        """Acknowledged writes that carry nothing by which they could be found again."""
        return int(np.count_nonzero(self.is_write & self.ok & self.load & (self.identities[0] < 0)))

    @cached_property
    def identities(self) -> tuple[Ints, pa.StringArray]:
        """(number, texts): what a row's write is known by, its value, else its idempotency key; -1 for none."""
        import pyarrow.compute as pc

        # A counter's values are amounts, which many ops share: only the idempotency key tells one from another.
        idem = self.table.column("idem")
        column = idem if self.model == "counter" else pc.coalesce(self.table.column("value"), idem)
        encoded = column.combine_chunks().dictionary_encode()
        if hasattr(encoded, "chunk"):  # combine_chunks gives a chunked array in some versions of Arrow
            encoded = encoded.unify_dictionaries().chunk(0)
        codes = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
        return codes, encoded.dictionary

    @cached_property
    def reads(self) -> Reads:
        """Every ok read that could be taken apart."""
        return _reads(self)

    def homes(self, where: Bools) -> Ints:
        """Which name, among those that the chosen reads read, shows each entry: its key, else its session, else everything.

        -1 where none does: such an entry was not looked for.
        """
        everything = len(self.names)
        read = np.zeros(everything + 2, dtype=np.bool_)  # the last element answers for number -1
        read[self.reads.name[where]] = True
        by_key, by_session = read[self.entries.key], read[self.entries.session]
        rest = everything if read[everything] else -1
        return np.where(by_key, self.entries.key, np.where(by_session, self.entries.session, rest))

    def latest_finals(self, region: str | None) -> Ints:
        """The reads that count as final in a region (None: any): the last one of each name."""
        reads = self.reads
        wanted = reads.phase == PHASE_FINAL
        if region is not None:
            wanted &= reads.region == (self.regions.index(region) if region in self.regions else -2)
        chosen = np.flatnonzero(wanted)
        chosen = chosen[np.lexsort((reads.done_ns[chosen], reads.name[chosen]))]
        last = np.ones(len(chosen), dtype=np.bool_)
        last[:-1] = reads.name[chosen][1:] != reads.name[chosen][:-1]
        return chosen[last]

    def seen(self, chosen: Ints) -> Bools:
        """Which entries the chosen reads show."""
        mask = np.zeros(len(self.entries) + len(self.reads.foreign), dtype=np.bool_)
        picked = np.zeros(len(self.reads), dtype=np.bool_)
        picked[chosen] = True
        mask[self.reads.flat[picked[self.reads.owner]]] = True
        return mask[: len(self.entries)]


def _entries(index: Index) -> Entries:
    import pyarrow as pa

    table, (codes, texts) = index.table, index.identities
    rows = np.flatnonzero(index.is_write & (codes >= 0) & ~index.final)
    numbers, entry = np.unique(codes[rows], return_inverse=True)
    count = len(numbers)
    rank = np.where(index.ok[rows], 0, np.where(index.info[rows], 1, 2))
    order = np.lexsort((rows, index.done_ns[rows], rank, entry))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = entry[order][1:] != entry[order][:-1]
    chosen = rows[order[first]]
    lo_ns = np.full(count, FOREVER, dtype=np.int64)
    np.minimum.at(lo_ns, entry, index.lo_ns[rows])
    idem = table.numbers("idem")
    key, session, names = index._naming
    return Entries(
        texts=Texts(texts.take(pa.array(numbers))),
        row=chosen,
        lo_ns=lo_ns,
        ack_ns=np.where(index.ok[chosen], index.done_ns[chosen], FOREVER),
        acked=index.ok[chosen],
        failed=~index.ok[chosen] & ~index.info[chosen],
        load=index.load[chosen],
        key=key[chosen],
        session=session[chosen],
        owner=np.where(session[chosen] >= 0, session[chosen], len(names) + table.numbers("writer")[chosen]),
        group=np.where(idem[chosen] >= 0, idem[chosen], len(table) + np.arange(count)),
        rivals=_rivals(rank, entry, idem[rows], count),
    )


def _rivals(rank: Ints, entry: Ints, idem: Ints, count: int) -> Bools:
    """Entries with two ops that may both have written them and do not share an idempotency key."""
    possible = rank < 2
    tries = np.bincount(entry[possible], minlength=count)
    least = np.full(count, FOREVER, dtype=np.int64)
    most = np.full(count, -1, dtype=np.int64)
    np.minimum.at(least, entry[possible], idem[possible])
    np.maximum.at(most, entry[possible], idem[possible])
    return np.asarray((tries > 1) & ((least != most) | (least < 0)), dtype=np.bool_)


def _reads(index: Index) -> Reads:
    import pyarrow as pa

    table, model = index.table, index.model or ""
    rows = np.flatnonzero(index.is_read & index.ok)
    rows = rows[np.argsort(index.lo_ns[rows], kind="stable")]
    entries = index.entries

    @cache
    def by_idem() -> dict[str, int]:
        idems = table.column("idem").take(pa.array(entries.row)).to_pylist()
        return {idem: entry for entry, idem in enumerate(idems) if idem is not None}

    seen = _Seen(entries.texts, by_idem)
    flat, start, readable = _flatten(table, rows, model, seen)
    damaged = rows[~readable & index.final[rows]]
    rows = rows[readable]
    session = index._naming[1]
    phase = np.where(index.final[rows], PHASE_FINAL, np.where(index.load[rows], PHASE_LOAD, PHASE_PROBE))
    return Reads(
        row=rows,
        lo_ns=index.lo_ns[rows],
        done_ns=index.done_ns[rows],
        name=index.name[rows],
        session=session[rows],
        region=table.numbers("region")[rows],
        phase=phase.astype(np.int8),
        start=start,
        flat=flat,
        foreign=tuple(seen.foreign),
        damaged=damaged,
    )


def _flatten(table: OpTable, rows: Ints, model: str, seen: _Seen) -> tuple[Smalls, Ints, Bools]:
    """(all values read, one after another; where each readable read starts, and the end; which reads are readable).

    Taken apart and looked up by Arrow, a few thousand reads at a time: millions of values cost seconds in Python.
    """
    import pyarrow as pa

    column, texts, numbers = table.column("result").combine_chunks(), list[Any](), list[Smalls]()
    enough = max(_NUMBERED, 2 * len(seen.entries.arrow))  # each round goes through all entries once
    length = np.full(len(rows), -1, dtype=np.int64)
    for begin in range(0, len(rows), _TAKEN_APART):
        lengths, values = _answers(column.take(pa.array(rows[begin : begin + _TAKEN_APART])), model)
        length[begin : begin + len(lengths)] = lengths
        texts.append(values)
        if sum(map(len, texts)) > enough or begin + _TAKEN_APART >= len(rows):
            numbers.append(_numbers(pa.chunked_array(texts, type=pa.string()), seen))
            texts.clear()
            pa.default_memory_pool().release_unused()  # else the texts of one round lie beside those of the next
    found = np.concatenate(numbers) if numbers else np.zeros(0, dtype=np.int32)
    readable = length >= 0
    return found, np.concatenate([[0], np.cumsum(length[readable])]), readable


def _answers(results: Any, model: str) -> tuple[Ints, pa.StringArray]:
    """(how many values each result holds, -1 for none that can be read; all values one after another). Equal ones are taken
    apart once."""
    import pyarrow as pa

    if hasattr(results, "chunk"):  # combine_chunks gives a chunked array in some versions of Arrow
        results = results.combine_chunks() if results.num_chunks != 1 else results.chunk(0)
    encoded = results.dictionary_encode()
    code = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    lengths, values = _apart(encoded.dictionary, model)
    if len(lengths) == len(code):  # all differ, and none is null: they stand in their order
        return lengths, values
    held = np.append(np.maximum(lengths, 0), 0)  # the last element answers for code -1
    begins = np.concatenate([[0], np.cumsum(held)])[code]
    here = held[code]
    place = np.repeat(begins - np.concatenate([[0], np.cumsum(here)])[:-1], here) + np.arange(here.sum())
    return np.append(lengths, -1)[code], values.take(pa.array(place))


def _apart(texts: pa.StringArray, model: str) -> tuple[Ints, pa.StringArray]:
    """(how many values each text holds, -1 for one that is no answer of the model; all values one after another)."""
    import pyarrow as pa

    if model in LISTS and (taken := lists_of_texts(texts)) is not None:
        return taken
    length, flat = np.full(len(texts), -1, dtype=np.int64), list[str]()
    for number, text in enumerate(texts.to_pylist()):
        values = values_of(text, model)
        if values is not None:
            length[number] = len(values)
            flat += values
    return length, pa.array(flat, type=pa.string())


def _numbers(texts: pa.ChunkedArray, seen: _Seen) -> Smalls:
    """What `seen` says of each text. Entries, nearly all, are found without asking it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = pc.index_in(texts, value_set=seen.entries.arrow).fill_null(-1)
    found: Smalls = np.array(place.to_numpy(), dtype=np.int32) if len(texts) else np.zeros(0, dtype=np.int32)
    strange = np.flatnonzero(found < 0)
    for at, text in zip(strange.tolist(), texts.take(pa.array(strange)).to_pylist(), strict=True):
        found[at] = seen[text]
    return found


def count_until(groups: Ints, times: Ints, asked_groups: Ints, asked_times: Ints) -> Ints:
    """For each question, how many of the events of its group are strictly before its time. Sorted once: O(n log n)."""
    count = len(groups)
    group, time = np.concatenate([groups, asked_groups]), np.concatenate([times, asked_times])
    asked = np.concatenate([np.zeros(count, dtype=np.int64), np.ones(len(asked_groups), dtype=np.int64)])
    order = np.lexsort((1 - asked, time, group))  # questions before events of the same instant: strictly before
    running = np.cumsum(1 - asked[order])
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = group[order][1:] != group[order][:-1]
    before = np.where(fresh, running - (1 - asked[order]), 0)
    base = np.maximum.accumulate(before) if len(before) else before
    found = np.empty(len(order), dtype=np.int64)
    found[order] = running - base
    return found[count:]
