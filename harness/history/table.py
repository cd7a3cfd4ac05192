"""All ops of a run as columns. Measures work on the numpy columns; checks may ask for rows of a small slice.

Missing instants are `MISSING`, a value no instant has (int64's minimum), so that ns never pass through a float.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import StoreError
from harness.history.op import Op
from harness.history.schema import COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MISSING", "OpTable"]

MISSING = int(np.iinfo(np.int64).min)
_INTS = {"int16", "int32", "int64"}
_LATER = frozenset(
    {"gap_ns", "compared", "input", "answer"}
)  # columns that histories recorded before they came do not have: null there
_KINDS = {name: kind for name, kind, _ in COLUMNS}

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class OpTable:
    """An immutable table of ops over Arrow columns, sorted by `intended_ns` then `op`. Empty tables are legal everywhere.

    A part of a table (`where`) is the rows of that table and takes over a column when it is asked for: most never are.
    """

    def __init__(self, table: pa.Table) -> None:
        self._whole: OpTable | None = None
        self._at: Ints | None = None
        self._arrow: pa.Table | None = _sorted(table.schema, table.columns)

    @classmethod
    def of(cls, ops: Iterable[Op]) -> OpTable:
        """A table of literal ops, as tests and imports write them."""
        import pyarrow as pa

        rows = [{field.name: getattr(op, field.name) for field in dataclass_fields(Op)} for op in ops]
        schema = arrow_schema()
        columns = {name: pa.array([row[name] for row in rows], type=_plain(schema, name)) for name, _, _ in COLUMNS}
        return cls(pa.table(columns).cast(schema))

    @classmethod
    def read(cls, folder: Path) -> OpTable:
        """Every `*.parquet` in the folder, or an empty table. Raises StoreError for a damaged or foreign file, naming it."""
        import pyarrow as pa

        parts = [_read_part(file) for file in sorted(folder.glob("*.parquet"))]
        whole = pa.concat_tables(parts).unify_dictionaries() if parts else arrow_schema().empty_table()
        columns, schema = whole.columns, whole.schema
        del parts, whole  # what has been put in order is given back, column by column
        table = cls.__new__(cls)
        table._whole, table._at, table._arrow = None, None, _sorted(schema, columns)
        return table

    @classmethod
    def read_file(cls, file: Path) -> OpTable:
        """One Parquet file. Raises StoreError for a damaged or foreign one, naming it."""
        return cls(_read_part(file).combine_chunks())

    def __len__(self) -> int:
        return len(self._at) if self._at is not None else int(self._table.num_rows)

    @property
    def arrow(self) -> pa.Table:
        """The Arrow table itself, made when it is first asked for."""
        return self._table

    @property
    def _table(self) -> pa.Table:
        if self._arrow is None:
            import pyarrow as pa

            assert self._whole is not None
            taken = self._whole._table.take(pa.array(self._at))
            columns = [pa.chunked_array([column.combine_chunks()], column.type) for column in taken.columns]
            self._arrow = pa.table(columns, schema=taken.schema)
        return self._arrow

    def ints(self, name: str) -> Ints:
        """An integer column; `MISSING` where null."""
        column = self._cache.get(name)
        if column is None:
            import pyarrow.compute as pc

            if _KINDS[name] not in _INTS:
                raise KeyError(f"{name} is not an integer column")
            if self._whole is not None:
                column = self._whole.ints(name)[self._at]
            else:
                wide = self._table[name].cast("int64")
                column = np.asarray(pc.fill_null(wide, MISSING).to_numpy(), dtype=np.int64)
            self._cache[name] = column
        return column

    def flags(self, name: str) -> Bools:
        """A boolean column; False where null."""
        if self._whole is not None:
            return np.asarray(self._whole.flags(name)[self._at], dtype=np.bool_)
        import pyarrow.compute as pc

        return np.asarray(pc.fill_null(self._table[name], False).to_numpy(zero_copy_only=False), dtype=np.bool_)

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as (codes, names): `names[codes[i]]` is row i's text; code -1 where null. A name may have no row."""
        found = self._codes.get(name)
        if found is None:
            if self._whole is not None and _KINDS[name] == "dict":
                codes, names = self._whole.codes(name)
                found = codes[self._at], names
            else:
                found = self._coded(name)
            if _KINDS[name] == "dict":
                self._codes[name] = found
        return found

    def _coded(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        column = self._encoded(name)
        codes = np.asarray(column.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int32)
        return codes, tuple(column.dictionary.to_pylist())

    def _encoded(self, name: str) -> pa.DictionaryArray:
        column = self._table[name].combine_chunks()
        if _KINDS[name] != "dict":
            column = column.dictionary_encode()
        if hasattr(column, "num_chunks"):
            column = column.unify_dictionaries().chunk(0) if column.num_chunks else _empty_dictionary()
        return column

    def numbers(self, name: str) -> Ints:
        """A text column as codes alone: equal texts have equal numbers, null -1. For columns of many texts: kept, once told."""
        column = self._cache.get(f"codes of {name}")
        if column is None:
            column = np.asarray(
                self._encoded(name).indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64
            )
            self._cache[f"codes of {name}"] = column
        return column

    def is_(self, name: str, text: str | None) -> Bools:
        """Which rows have this text in a text column (None: which have none)."""
        if text is None:
            return self.numbers(name) < 0
        codes, names = self.codes(name)
        return np.asarray(codes == (names.index(text) if text in names else -2), dtype=np.bool_)

    def texts(self, name: str) -> list[str | None]:
        """A text column as Python strings. For small slices: a million of them cost a second."""
        return list(self._table[name].to_pylist())

    def where(self, mask: Bools) -> OpTable:
        """The rows that the mask picks, in order."""
        if bool(mask.all()):
            return self
        part = OpTable.__new__(OpTable)
        at = np.flatnonzero(mask)
        part._whole = self if self._whole is None else self._whole
        part._at = at if self._at is None else self._at[at]
        part._arrow = None
        return part

    def slice_(self, where: Mapping[str, str]) -> Bools:
        """Which rows match every `column=text` of a slice; all rows for an empty one. Raises KeyError for a foreign column."""
        mask = np.ones(len(self), dtype=np.bool_)
        for name, text in where.items():
            if _KINDS.get(name) not in {"dict", "string"}:
                raise KeyError(f"no text column {name!r}")
            mask &= self.is_(name, text)
        return mask

    def ops(self) -> Iterator[Op]:
        """Every row as an `Op`. For small slices."""
        for row in self._table.to_pylist():
            yield Op(**row)

    def rows(self, indices: Sequence[int]) -> tuple[Op, ...]:
        """Chosen rows as `Op`s."""
        import pyarrow as pa

        return tuple(Op(**row) for row in self._table.take(pa.array(indices, type=pa.int64())).to_pylist())

    @cached_property
    def _codes(self) -> dict[str, tuple[NDArray[np.int32], tuple[str, ...]]]:
        return {}

    @cached_property
    def _cache(self) -> dict[str, Ints]:
        return {}


def _sorted(schema: pa.Schema, columns: list[pa.ChunkedArray]) -> pa.Table:
    """The rows by `intended_ns` then `op`, each column in one piece. Takes the columns out of the list as it goes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    by = {"intended_ns": "ascending", "op": "ascending"}
    keys = pa.table({name: columns[schema.get_field_index(name)] for name in by})
    gaps, ids = (np.diff(keys[name].to_numpy()) for name in by)
    order = None
    if not bool(np.all((gaps > 0) | ((gaps == 0) & (ids > 0)))):
        order = pc.sort_indices(keys, sort_keys=list(by.items()))
    del keys, gaps, ids
    made = []
    columns.reverse()
    while columns:
        column = columns.pop()
        made.append(pa.chunked_array([(column if order is None else column.take(order)).combine_chunks()], column.type))
    return pa.table(made, schema=schema)


def _read_part(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema()
    try:
        table = pq.ParquetFile(file).read()
        for name in _LATER.difference(table.column_names):
            table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
        return table.select(schema.names).unify_dictionaries().cast(schema)
    except (pa.ArrowException, OSError, KeyError) as exc:
        raise StoreError(f"{file}: not a readable history: {exc}") from exc


def _plain(schema: Any, name: str) -> Any:
    import pyarrow as pa

    kind = schema.field(name).type
    return pa.string() if pa.types.is_dictionary(kind) else kind


def _empty_dictionary() -> Any:
    import pyarrow as pa

    return pa.array([], type=pa.dictionary(pa.int32(), pa.string()))
