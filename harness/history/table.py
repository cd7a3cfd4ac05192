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

from harness.history.columns import Columns, HeldColumns, StoredColumns
from harness.history.op import Op
from harness.history.schema import COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MISSING", "OpTable"]

MISSING = int(np.iinfo(np.int64).min)
_NONE = int(np.iinfo(np.int32).min)
_FEW = 1000
"""A part of less than one row in so many is read from the row groups that hold it."""
_INTS = {"int16", "int32", "int64"}
_KINDS = {name: kind for name, kind, _ in COLUMNS}

Ints = NDArray[np.int64]
Narrow = NDArray[np.int32]
Codes = NDArray[np.int8] | NDArray[np.int32]
Bools = NDArray[np.bool_]


class OpTable:
    """An immutable table of ops over Arrow columns, sorted by `intended_ns` then `op`. Empty tables are legal everywhere.

    A part of a table (`where`) is the rows of that table and takes over a column when it is asked for: most never are.
    """

    def __init__(self, table: pa.Table) -> None:
        self._columns: Columns = HeldColumns(table)
        self._whole: OpTable | None = None
        self._at: Ints | Narrow | None = None

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
        """Every `*.parquet` in the folder, or an empty table. The files must stay: a column is read when it is asked for.

        Raises StoreError for a damaged or foreign file, naming it; so does whatever reads a column that is damaged.
        """
        return cls._stored(sorted(folder.glob("*.parquet")))

    @classmethod
    def read_file(cls, file: Path) -> OpTable:
        """One Parquet file; as `read`."""
        return cls._stored([file])

    @classmethod
    def _stored(cls, files: Sequence[Path]) -> OpTable:
        if not files:
            return cls(arrow_schema().empty_table())
        table = cls.__new__(cls)
        table._columns, table._whole, table._at = StoredColumns(files), None, None
        return table

    def __len__(self) -> int:
        return len(self._at) if self._at is not None else len(self._columns)

    @property
    def arrow(self) -> pa.Table:
        """The whole Arrow table, made when it is asked for."""
        return self._taken(np.arange(len(self)))

    def column(self, name: str, keep: bool = True) -> pa.ChunkedArray:
        """One Arrow column, in one piece (very long texts: in a few). Raises KeyError for one that there is not.

        Texts are kept for whoever asks next, but not without `keep`: they are most of what a long run holds.
        """
        if name not in _KINDS:
            raise KeyError(f"no column {name!r}")
        if self._at is None:
            return self._columns.column(name, keep)
        import pyarrow as pa

        if _FEW * len(self._at) < len(self._columns):
            taken = self._columns.rows(self._at, name)[name]
        else:
            taken = self._columns.column(name, keep).take(pa.array(self._at))
        return pa.chunked_array([taken.combine_chunks()], taken.type)

    def _taken(self, places: Ints) -> pa.Table:
        """Chosen rows with every column."""
        return self._columns.rows(places if self._at is None else self._at[places])

    def ints(self, name: str) -> Ints:
        """An integer column; `MISSING` where null."""
        if _KINDS[name] not in _INTS:
            raise KeyError(f"{name} is not an integer column")
        pressed = self._origin._pressed(name)
        return _spread(pressed if self._at is None else pressed[self._at])

    def _pressed(self, name: str) -> Ints | Narrow:
        """A column of the whole table in 32 bits where its values fit, `_NONE` where null; kept."""
        found = self._cache.get(name)
        if found is None:
            import pyarrow.compute as pc

            column = self.column(name)
            if column.null_count == len(column):
                found = np.broadcast_to(np.array(_NONE, dtype=np.int32), len(column))  # takes no memory
            else:
                lowest, highest = pc.min_max(column).as_py().values()
                narrow = lowest > _NONE and highest < -_NONE
                kind, none = ("int32", _NONE) if narrow else ("int64", MISSING)
                filled = pc.fill_null(column.cast(kind), np.array(none, dtype=kind).item())
                found = np.asarray(filled.to_numpy(), dtype=kind)
            self._cache[name] = found
        return found

    @property
    def _origin(self) -> OpTable:
        """The table that this one is a part of; itself when it is whole."""
        return self if self._whole is None else self._whole

    def flags(self, name: str) -> Bools:
        """A boolean column; False where null."""
        if self._whole is not None:
            return np.asarray(self._whole.flags(name)[self._at], dtype=np.bool_)
        found = self._flags.get(name)
        if found is None:
            import pyarrow.compute as pc

            found = np.asarray(pc.fill_null(self.column(name), False).to_numpy(zero_copy_only=False), dtype=np.bool_)
            self._flags[name] = found
        return found

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as (codes, names): `names[codes[i]]` is row i's text; code -1 where null. A name may have no row."""
        codes, names = self._narrow(name)
        return codes.astype(np.int32, copy=False), names

    def _narrow(self, name: str) -> tuple[Codes, tuple[str, ...]]:
        """As `codes`, in a byte each where that is enough; kept for the whole table where names are few."""
        if _KINDS[name] != "dict":
            return self._coded(name)
        kept = self._origin._codes
        if name not in kept:
            found, names = self._origin._coded(name)
            kept[name] = found.astype(np.int8) if len(names) < 128 else found, names
        codes, names = kept[name]
        return codes if self._at is None else codes[self._at], names

    def _coded(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        column = self._encoded(name)
        codes = np.asarray(column.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int32)
        return codes, tuple(column.dictionary.to_pylist())

    def _encoded(self, name: str) -> pa.DictionaryArray:
        column = self.column(name).combine_chunks()
        if _KINDS[name] != "dict":
            column = column.dictionary_encode()
        if hasattr(column, "num_chunks"):
            column = column.unify_dictionaries().chunk(0) if column.num_chunks else _empty_dictionary()
        return column

    def numbers(self, name: str) -> Ints:
        """A text column as codes alone: equal texts have equal numbers, null -1. For columns of many texts: kept, once told."""
        column = self._numbers.get(name)
        if column is None:
            column = np.asarray(
                self._encoded(name).indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64
            )
            self._numbers[name] = column
        return column

    def is_(self, name: str, text: str | None) -> Bools:
        """Which rows have this text in a text column (None: which have none)."""
        if text is None:
            codes = self._narrow(name)[0] if _KINDS[name] == "dict" else self.numbers(name)
            return np.asarray(codes < 0, dtype=np.bool_)
        codes, names = self._narrow(name)
        return np.asarray(codes == (names.index(text) if text in names else -2), dtype=np.bool_)

    def texts(self, name: str) -> list[str | None]:
        """A text column as Python strings. For small slices: a million of them cost a second."""
        return list(self.column(name).to_pylist())

    def where(self, mask: Bools) -> OpTable:
        """The rows that the mask picks, in order."""
        return self if bool(mask.all()) else self._part(np.flatnonzero(mask))

    def span(self, begin: int, end: int) -> OpTable:
        """The rows from one place up to another."""
        return self._part(np.arange(*slice(begin, end).indices(len(self))))

    def _part(self, at: Ints) -> OpTable:
        part = OpTable.__new__(OpTable)
        narrow = at.astype(np.int32) if len(self) < -_NONE else at
        part._whole, part._columns = self._origin, self._columns
        part._at = narrow if self._at is None else self._at[narrow]
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
        for row in self.arrow.to_pylist():
            yield Op(**row)

    def rows(self, indices: Sequence[int]) -> tuple[Op, ...]:
        """Chosen rows as `Op`s."""
        return tuple(Op(**row) for row in self._taken(np.array(indices, dtype=np.int64)).to_pylist())

    @cached_property
    def _codes(self) -> dict[str, tuple[Codes, tuple[str, ...]]]:
        return {}

    @cached_property
    def _flags(self) -> dict[str, Bools]:
        return {}

    @cached_property
    def _cache(self) -> dict[str, Ints | Narrow]:
        return {}

    @cached_property
    def _numbers(self) -> dict[str, Ints]:
        return {}


def _spread(pressed: Ints | Narrow) -> Ints:
    if pressed.dtype == np.int64:
        return np.asarray(pressed, dtype=np.int64)
    return np.where(pressed == _NONE, MISSING, pressed.astype(np.int64))


def _plain(schema: Any, name: str) -> Any:
    import pyarrow as pa

    kind = schema.field(name).type
    return pa.string() if pa.types.is_dictionary(kind) else kind


def _empty_dictionary() -> Any:
    import pyarrow as pa

    return pa.array([], type=pa.dictionary(pa.int32(), pa.string()))
