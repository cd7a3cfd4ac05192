"""A record whose lines hold together: each carries, as `prev`, the SHA-256 of the line before it, byte for byte.

It shows that a line was changed, taken out or put in after it was written. It does not show who wrote it: whoever can write
the file can chain it anew, and the last line is held by the manifest alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StoreError

__all__ = ["FIRST", "Chain", "check_chain", "digest_of", "last_digest", "linked"]

FIRST = "0" * 64
"""The `prev` of a first line."""


def digest_of(line: bytes) -> str:
    """What the next line carries: SHA-256 (hex) of a line without its line break."""
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()


def linked(line: str, prev: str) -> str:
    """A line of one JSON object, with the digest of the line before it as its last member."""
    body = line.rstrip("\n")
    return f'{body[:-1]},"prev":"{prev}"}}\n'


def last_digest(recorded: bytes) -> str:
    """The digest that a line added after the last whole line must carry."""
    whole = recorded[: recorded.rfind(b"\n") + 1].splitlines()
    return digest_of(whole[-1]) if whole else FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """How a file's lines hold together. `broken`: the first line (1-based) that does not follow the one before it, and why.

    Not `chained`: no line carries a digest, as in runs of versions before there was a chain.
    """

    lines: int
    chained: bool
    broken: int | None = None
    why: str = ""


def check_chain(path: Path) -> Chain:
    """Every line held against the one before it; a torn last line, never wholly recorded, is left out.

    Raises StoreError when the file cannot be read.
    """
    try:
        recorded = path.read_bytes()
    except OSError as exc:
        raise StoreError(f"{path}: cannot be read: {exc.strerror}") from exc
    lines = recorded[: recorded.rfind(b"\n") + 1].split(b"\n")[:-1]
    carried = [_carried(line) for line in lines]
    if not any(carried):
        return Chain(lines=len(lines), chained=False)
    expected = FIRST
    for number, (line, prev) in enumerate(zip(lines, carried, strict=True), start=1):
        if prev != expected:
            why = (
                "carries no digest"
                if prev is None
                else f"does not follow {'nothing' if number == 1 else 'the line before it'}"
            )
            return Chain(lines=len(lines), chained=True, broken=number, why=why)
        expected = digest_of(line)
    return Chain(lines=len(lines), chained=True)


def _carried(line: bytes) -> str | None:
    try:
        prev = json.loads(line)["prev"]
    except (ValueError, KeyError, TypeError):
        return None
    return prev if isinstance(prev, str) else None
