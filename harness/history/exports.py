"""What the stack handed out of its own journal at the end of a run: one file of JSON lines for each journal, judged by `sealed`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import StoreError

__all__ = ["EXPORTED", "FOLDER", "Export", "read_exports"]

FOLDER = "exports"
"""Under the run directory."""
EXPORTED = "exported"
"""The `code` of the note that says what came of an export; its data: `name`, and `error` when nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One journal's lines, without their ends, in the order in which they were handed out; () for an empty one."""

    name: str
    lines: tuple[str, ...]


def read_exports(run_dir: Path) -> tuple[Export, ...]:
    """The exports of a run by name; () without any. Raises StoreError for one that cannot be read as UTF-8."""
    found = []
    for path in sorted((run_dir / FOLDER).glob("*.jsonl")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise StoreError(f"{path}: cannot be read: {exc}") from exc
        found.append(Export(name=path.stem, lines=tuple(line for line in text.split("\n") if line.strip())))
    return tuple(found)
