"""A table gives the same columns whether it is held or read from files, whole or in part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.history import table as table_module
from harness.history.op import Op
from harness.history.table import MISSING, OpTable

FAR = 2**40
OPS = [
    Op(op=FAR if n == 7 else n, f="add" if n % 2 else "read", key=None if n % 3 else f"k{n}", value=f"v{n}", intended_ns=n * FAR,
       sent_ns=None if n == 4 else n * FAR + 1, first_ns=None, done_ns=n * FAR + 5, outcome="ok" if n != 5 else "fail",
       error=None if n != 5 else "refused", status=None if n == 5 else 200, region="eu" if n % 4 else None, broken=n == 6)
    for n in range(12)
]  # fmt: skip
PART = np.arange(12) % 5 < 2


@pytest.fixture(params=["held", "read", "read, order mixed"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> OpTable:
    if request.param == "held":
        return OpTable.of(OPS)
    ops = OPS if request.param == "read" else OPS[::-1]
    for place in range(0, 12, 4):
        arrow = OpTable.of(ops[place : place + 4]).arrow
        pq.write_table(arrow, tmp_path / f"w0-{place:02d}.parquet", row_group_size=3)
    return OpTable.read(tmp_path)


@pytest.mark.parametrize("few", [0, 1_000_000], ids=["from the column", "from its row groups"])
def test_a_part_gives_what_its_rows_hold(table: OpTable, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_FEW", few or 0.001)
    chosen = [op for op, picked in zip(OPS, PART, strict=True) if picked]
    for part, ops in ((table.where(PART), chosen), (table.span(3, 9), OPS[3:9]), (table, OPS)):
        assert list(part.ops()) == ops
        for name in ("op", "intended_ns", "sent_ns", "first_ns", "status", "gap_ns"):
            values = [MISSING if getattr(op, name) is None else getattr(op, name) for op in ops]
            assert part.ints(name).dtype == np.int64 and part.ints(name).tolist() == values
        for name in ("f", "region", "error"):
            codes, names = part.codes(name)
            assert codes.dtype == np.int32
            assert [names[code] if code >= 0 else None for code in codes] == [getattr(op, name) for op in ops]
            assert part.is_(name, None).tolist() == [getattr(op, name) is None for op in ops]
        for name in ("key", "value"):
            assert part.column(name, keep=False).to_pylist() == part.texts(name) == [getattr(op, name) for op in ops]
        assert part.is_("key", None).tolist() == [op.key is None for op in ops]
        assert part.flags("broken").tolist() == [op.broken for op in ops]


def test_a_part_of_a_part_is_a_part_of_the_whole(table: OpTable) -> None:
    inner = table.where(PART).span(1, 4).where(np.array([True, False, True]))
    chosen = [op for op, picked in zip(OPS, PART, strict=True) if picked]
    assert list(inner.ops()) == [chosen[1], chosen[3]]
    assert inner.ints("op").tolist() == [chosen[1].op, chosen[3].op]


def test_more_names_than_a_byte_holds() -> None:
    ops = [Op(op=n, f=f"f{n}", intended_ns=n, done_ns=n, outcome="ok") for n in range(300)]
    codes, names = OpTable.of(ops).codes("f")
    assert [names[code] for code in codes] == [op.f for op in ops]
    assert np.flatnonzero(OpTable.of(ops).is_("f", "f200")).tolist() == [200]
