"""Files that are there whole, or not at all: no reader ever sees half of one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from harness.errors import StoreError

__all__ = ["write_whole"]


def write_whole(path: Path, text: str, *, make_folder: bool = False) -> None:
    """Write a text file in UTF-8, in the place of one that is there. `make_folder`: its folder too, where it is missing.

    Raises StoreError, and leaves what was there as it was.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot write: {exc.strerror}") from exc
