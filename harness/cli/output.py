"""stdout is data, stderr is talk. Tables for people, JSON for machines, no colour unless it is a terminal that wants it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

__all__ = ["JsonFlag", "say", "show_json", "show_rows"]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on stdout, the last one free to run on; the header alone for no rows."""
    table = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[-1]]).rstrip() + "\n")


def say(text: str) -> None:
    """Talk, on stderr."""
    sys.stderr.write(text + "\n")
