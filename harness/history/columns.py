"""Where the columns of an op table come from: held in memory, or in Parquet files that give each when it is asked for.

A run of ten million ops has thirty-five columns, of which a measure reads eight: what nobody asks for is never decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import StoreError
from harness.history.schema import COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Columns", "HeldColumns", "StoredColumns"]

_LATER = frozenset({"gap_ns", "compared", "input", "answer"})
"""Columns that histories recorded before they came do not have: null there."""
_TEXTS = frozenset(name for name, kind, _ in COLUMNS if kind == "string")
_ORDER = ("intended_ns", "op")

Ints = NDArray[np.int64]


class Columns(Protocol):
    """Ops in their order: by `intended_ns`, then `op`."""

    def __len__(self) -> int: ...

    def column(self, name: str, keep: bool = True) -> pa.ChunkedArray:
        """One column, in one piece (very long texts: in a few); without `keep` it is read anew when it is asked for again."""
        ...

    def rows(self, at: Ints | NDArray[np.int32], name: str | None = None) -> pa.Table:
        """Chosen rows, one column of them or all, in the order asked for."""
        ...


class _Group(NamedTuple):
    """A row group: its file, its place in there, how many rows it has."""

    file: Path
    place: int
    rows: int


class HeldColumns:
    """The columns of an Arrow table, put in order."""

    def __init__(self, table: pa.Table) -> None:
        order = _order(*(table[name] for name in _ORDER))
        self._table = table if order is None else table.take(order)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, name: str, keep: bool = True) -> pa.ChunkedArray:
        return _whole(self._table[name])

    def rows(self, at: Ints | NDArray[np.int32], name: str | None = None) -> pa.Table:
        return (self._table if name is None else self._table.select([name])).take(at)


class StoredColumns:
    """The columns of Parquet files, read one by one; texts, which checks ask for again and again, are kept."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Raises StoreError for a damaged or foreign file, naming it; so do the others, for what only shows later."""
        _give_back()
        self._files = tuple(files)
        self._groups = [group for file in self._files for group in _groups(file)]
        self._order = _order(*(self._read(name) for name in _ORDER))
        self._kept: dict[str, pa.ChunkedArray] = {}

    def __len__(self) -> int:
        return sum(group.rows for group in self._groups)

    def column(self, name: str, keep: bool = True) -> pa.ChunkedArray:
        found = self._kept.get(name)
        if found is None:
            found = self._read(name)
            found = _whole(found if self._order is None else found.take(self._order))
            if keep and name in _TEXTS:
                self._kept[name] = found
        return found

    def rows(self, at: Ints | NDArray[np.int32], name: str | None = None) -> pa.Table:
        """Read from the row groups that hold them, one after another."""
        import pyarrow as pa

        places = np.asarray(at if self._order is None else np.asarray(self._order)[at], dtype=np.int64)
        wanted = np.argsort(places, kind="stable")
        ends = np.cumsum([group.rows for group in self._groups], dtype=np.int64)
        inside = np.searchsorted(ends, places[wanted], side="right")
        parts = []
        for number in np.unique(inside).tolist():
            group = self._groups[number]
            begin = ends[number] - group.rows
            parts.append(_read(group.file, name, group.place).take(places[wanted][inside == number] - begin))
        if not parts:
            empty = arrow_schema().empty_table()
            return empty if name is None else empty.select([name])
        return pa.concat_tables(parts).unify_dictionaries().take(np.argsort(wanted))

    def _read(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        parts = [chunk for file in self._files for chunk in _read(file, name)[name].chunks]
        return pa.chunked_array(parts, arrow_schema().field(name).type).unify_dictionaries()


def _give_back() -> None:
    """Have Arrow return what it frees to the system: of a long run's columns it would else keep a third."""
    import pyarrow as pa

    if pa.default_memory_pool().backend_name == "mimalloc" and "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(0)


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return column if column.num_chunks == 1 else pa.chunked_array([column.combine_chunks()], column.type)


def _order(intended: pa.ChunkedArray, ops: pa.ChunkedArray) -> Any:
    """The rows' places by `intended_ns`, then `op`; None when they stand so already."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gaps, ids = np.diff(intended.to_numpy()), np.diff(ops.to_numpy())
    if bool(np.all((gaps > 0) | ((gaps == 0) & (ids > 0)))):
        return None
    del gaps, ids
    keys = pa.table(dict(zip(_ORDER, (intended, ops), strict=True)))
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in _ORDER])
    return order.cast(pa.int32()) if len(order) < 2**31 else order


def _groups(file: Path) -> list[_Group]:
    """The row groups of a file. Raises StoreError when the file is no history."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
        missing = [name for name, _, _ in COLUMNS if name not in _LATER and name not in opened.schema_arrow.names]
        if missing:
            raise StoreError(f"{file}: not a readable history: no column {missing[0]!r}")
        return [
            _Group(file, place, opened.metadata.row_group(place).num_rows) for place in range(opened.num_row_groups)
        ]
    except (pa.ArrowException, OSError) as exc:
        raise StoreError(f"{file}: not a readable history: {exc}") from exc


def _read(file: Path, name: str | None, group: int | None = None) -> pa.Table:
    """One column of a file, or all (None) of one of its row groups, in our types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema()
    schema = schema if name is None else pa.schema([schema.field(name)])
    try:
        opened = pq.ParquetFile(file)
        there = [one for one in schema.names if one in opened.schema_arrow.names]
        table = opened.read(there) if group is None else opened.read_row_group(group, there)
        rows = opened.metadata.num_rows if group is None else table.num_rows
        for one in set(schema.names).difference(there):
            table = table.append_column(one, pa.nulls(rows, schema.field(one).type))
        return table.select(schema.names).unify_dictionaries().cast(schema)
    except (pa.ArrowException, OSError, KeyError) as exc:
        raise StoreError(f"{file}: not a readable history: {exc}") from exc
