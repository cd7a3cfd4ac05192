"""The recorder of one worker: every op that started, how it ended, and the Parquet parts they go to.

An op is registered when it starts; it leaves the register only as a complete row. So no exception can lose one, and
started = sum of outcomes + open is an identity that `check` states.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import HarnessBug
from harness.history.schema import COLUMNS, arrow_schema
from harness.load.op import dropped_row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LIVE_FIELDS", "PART_ROWS", "OpenOp", "Recorder", "Row", "warm_up", "write_part"]

PART_ROWS = 8192
"""A part is written when so many rows wait, or when its time has come."""

Row = tuple[Any, ...]
"""One op's values in the order of `COLUMNS`. Atoms in a tuple: the garbage collector stops looking at it."""

_INDEX = {name: index for index, (name, _, _) in enumerate(COLUMNS)}
LIVE_FIELDS = ("intended_ns", "done_ns", "first_ns", "outcome", "f", "group", "region", "served_by", "phase", "wrong")
_LIVE = tuple(_INDEX[name] for name in LIVE_FIELDS)
_OUTCOME, _PHASE = _INDEX["outcome"], _INDEX["phase"]


class OpenOp(Protocol):
    """What the recorder must know of an op that is still open."""

    op: int
    f: str
    phase: str
    intended_ns: int

    def cut_row(self, at_ns: int) -> Row:
        """The row as it is when the drain ends it at `at_ns`."""
        ...


class Recorder:
    """Rows of one worker. Ids are `worker << 40 | n`: unique over all workers of a run."""

    def __init__(self, worker: int, out_dir: Path) -> None:
        self._worker, self._out_dir = worker, out_dir
        self._next, self._part = 0, 0
        self._open: dict[int, OpenOp] = {}
        self._rows: list[Row] = []
        self._live: list[Row] = []
        self._live_dropped: list[int] = []
        self.outcomes: Counter[str] = Counter()
        self.started_count = 0

    def next_id(self) -> int:
        """An op id that no other op of the run has."""
        self._next += 1
        return self._worker << 40 | self._next

    def started(self, op: OpenOp) -> None:
        """Register an op at its start."""
        self.started_count += 1
        self._open[op.op] = op

    def ended(self, op: int, row: Row) -> None:
        """Take the complete row of a registered op; a second end of the same op (after a cut) is ignored."""
        if self._open.pop(op, None) is not None:
            self._take(row)

    def dropped(self, row: Row, intended_ns: int) -> None:
        """Take the row of an arrival that could not be started."""
        self.outcomes["dropped"] += 1
        self._rows.append(row)
        self._live_dropped.append(intended_ns)

    def cut(self, at_ns: int) -> int:
        """End all open ops as cut; how many there were."""
        ops = list(self._open.values())
        for op in ops:
            self.ended(op.op, op.cut_row(at_ns))
        return len(ops)

    @property
    def open_ops(self) -> Iterable[OpenOp]:
        """Ops that have started and not ended, oldest first."""
        return self._open.values()

    @property
    def waiting_count(self) -> int:
        """Rows that are in no part yet."""
        return len(self._rows)

    @property
    def ended_count(self) -> int:
        """Ops that started and ended, over all phases."""
        return self.outcomes.total() - self.outcomes["dropped"]

    def take_live(self) -> tuple[list[Row], list[int]]:
        """Rows (cut to `LIVE_FIELDS`) that ended, and arrivals dropped, since the last call."""
        live = [tuple(row[index] for index in _LIVE) for row in self._live]
        dropped = self._live_dropped
        self._live, self._live_dropped = [], []
        return live, dropped

    def take_part(self) -> tuple[Path, list[Row]] | None:
        """Where the next part goes and its rows, which are the caller's to write now; None when no row waits."""
        if not self._rows:
            return None
        rows, self._rows = self._rows, []
        self._part += 1
        return self._out_dir / f"w{self._worker}-{self._part:05d}.parquet", rows

    def check(self) -> None:
        """Raise HarnessBug unless every op that started has ended or is open."""
        if self.started_count != self.ended_count + len(self._open):
            raise HarnessBug(
                f"load worker {self._worker}: {self.started_count} ops started, {self.ended_count} ended"
                f" and {len(self._open)} are open"
            )

    def _take(self, row: Row) -> None:
        self.outcomes[row[_OUTCOME]] += 1
        self._rows.append(row)
        if row[_PHASE] != "final":
            self._live.append(row)


def write_part(path: Path, rows: Sequence[Row]) -> None:
    """Write one part. It appears under its name complete or not at all. Called on a thread, so that no arrival waits."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(_table(rows), temporary, compression="zstd")
    os.replace(temporary, path)


def warm_up() -> None:
    """Load all that `write_part` needs, so that the first part costs no arrival its punctuality."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = dropped_row(0, "run", None, 0, ("load", None))
    pq.write_table(_table([row]), pa.BufferOutputStream(), compression="zstd")


def _table(rows: Sequence[Row]) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema()
    columns = [_column(values, schema.field(index).type) for index, values in enumerate(zip(*rows, strict=True))]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: Sequence[Any], kind: Any) -> Any:
    if len(values) > 1 and values.count(values[0]) == len(values):  # most columns of a part say one thing, or nothing
        import numpy as np

        return _made(values[:1], kind).take(np.zeros(len(values), dtype=np.int32))
    return _made(values, kind)


def _made(values: Sequence[Any], kind: Any) -> Any:
    import pyarrow as pa

    plain = pa.string() if pa.types.is_dictionary(kind) else kind
    try:
        column = pa.array(values, type=plain)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
        # A profile that told an instance's name as a number must not cost the other rows.
        column = pa.array([_coerced(value, str(plain)) for value in values], type=plain)
    return column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column


def _coerced(value: Any, kind: str) -> Any:
    """The value as the column's type has it; None when it has no such form."""
    if value is None:
        return None
    if kind == "string":
        return str(value).encode("utf-8", "replace").decode()
    if kind == "bool":
        return bool(value)
    try:
        number, bits = int(value), int(kind.removeprefix("int"))
    except (TypeError, ValueError):
        return None
    return number if -(1 << (bits - 1)) <= number < 1 << (bits - 1) else None
