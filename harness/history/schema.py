"""The Arrow schema of `ops/*.parquet`. Column order is the file's order; pyarrow is imported only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.history.arrow import pyarrow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "SCHEMA_VERSION", "arrow_schema"]

SCHEMA_VERSION = "1"

# Low-cardinality text is dictionary-encoded: a million ops name a handful of regions.
COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("op", "int64", False),
    ("user", "int32", False),
    ("writer", "string", False),
    ("group", "dict", True),
    ("session", "dict", True),
    ("f", "dict", False),
    ("key", "string", True),
    ("value", "string", True),
    ("idem", "string", True),
    ("intended_ns", "int64", False),
    ("sent_ns", "int64", True),
    ("first_ns", "int64", True),
    ("done_ns", "int64", True),
    ("outcome", "dict", False),
    ("error", "dict", True),
    ("status", "int16", True),
    ("served_by", "dict", True),
    ("region", "dict", True),
    ("epoch", "int64", True),
    ("version", "dict", True),
    ("degraded", "dict", True),
    ("cached", "bool", True),
    ("attempts", "int16", False),
    ("chunks", "int32", False),
    ("bytes", "int64", False),
    ("result", "string", True),
    ("phase", "dict", False),
    ("cut", "bool", False),
    ("later", "bool", False),
    ("wrong", "bool", False),
    ("broken", "bool", False),
    ("gap_ns", "int64", True),
    ("compared", "int32", True),
    ("input", "string", True),
    ("answer", "string", True),
)
"""(name, type, nullable) of every column; "dict" is a dictionary of strings with int32 codes."""


def arrow_schema() -> pa.Schema:
    """The schema, with `blackstart.schema` in its metadata."""
    pa = pyarrow()

    types = {
        "int16": pa.int16(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "bool": pa.bool_(),
        "string": pa.string(),
        "dict": pa.dictionary(pa.int32(), pa.string()),
    }
    fields = [pa.field(name, types[kind], nullable) for name, kind, nullable in COLUMNS]
    return pa.schema(fields, metadata={"blackstart.schema": SCHEMA_VERSION})
