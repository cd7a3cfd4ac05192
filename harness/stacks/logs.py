"""The end of an instance's log, made harmless: what it says is the stack's text, not ours."""

from __future__ import annotations

import os
from typing import BinaryIO

__all__ = ["appended", "tail"]

_LINE_LIMIT = 300
_READ_BYTES = 32_768


def appended(path: str) -> BinaryIO:
    """The log, opened to append to; its folder is made when missing."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, "ab")


def tail(path: str, count: int) -> tuple[str, ...]:
    """The last `count` lines that are not blank, control characters replaced, each cut at 300; empty when there is no log."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return tuple("".join(one if one.isprintable() else " " for one in line)[:_LINE_LIMIT] for line in lines[-count:])
