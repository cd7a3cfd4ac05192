"""Reading EDN, the notation of Jepsen's histories: just data, no readers of tags (a tagged value is the value).

Keywords and symbols become texts (":ok" -> "ok"), nil None, vectors, lists and sets tuples and frozensets, maps dicts with
text keys where they are keywords. Source: the EDN specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["EdnError", "read_all"]

_TOKEN = re.compile(
    r"""(?P<skip>[\s,]+|;[^\n]*)
      | (?P<discard>\#_)
      | (?P<open>\#\{|[\[({])
      | (?P<close>[\])}])
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<char>\\(?:newline|space|tab|return|u[0-9a-fA-F]{4}|.))
      | (?P<tag>\#[A-Za-z][\w.*+!?/<>=$-]*)
      | (?P<atom>[^\s,\[\](){}";]+)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_INT, _FLOAT = re.compile(r"[+-]?\d+N?"), re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?M?")


class EdnError(ValueError):
    """Text that is no EDN. `offset`: characters from the beginning."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(what)
        self.offset = offset


def read_all(text: str) -> Iterator[Any]:
    """Every value in the text, one after another; none in an empty one. Raises EdnError."""
    stack: list[tuple[str, int, list[Any]]] = []
    discards: list[tuple[int, int]] = []  # (depth, values still to be dropped there)
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise EdnError(f"expected EDN, got {text[at : at + 20]!r}", at)
        kind, token, began, at = match.lastgroup, match.group(), at, match.end()
        if kind == "skip" or kind == "tag":
            continue
        if kind == "discard":
            discards.append((len(stack), 1))
            continue
        if kind == "open":
            stack.append((token, began, []))
            continue
        if kind == "close":
            if not stack or _CLOSES[stack[-1][0]] != token:
                raise EdnError(f"{token!r} closes nothing", began)
            opened, began, items = stack.pop()
            value = _collection(opened, items, began)
        else:
            value = _scalar(kind or "", token)
        if discards and discards[-1][0] == len(stack):
            discards.pop()
        elif stack:
            stack[-1][2].append(value)
        else:
            yield value
    if stack:
        raise EdnError(f"{stack[-1][0]!r} is never closed", stack[-1][1])


def _collection(opened: str, items: list[Any], offset: int) -> Any:
    if opened == "#{":
        return frozenset(items)
    if opened != "{":
        return tuple(items)
    if len(items) % 2:
        raise EdnError("a map needs a value for every key", offset)
    return dict(zip(items[::2], items[1::2], strict=True))


def _scalar(kind: str, token: str) -> Any:
    if kind == "text":
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token[1:-1])
    if kind == "char":
        return {"\\newline": "\n", "\\space": " ", "\\tab": "\t", "\\return": "\r"}.get(token, token[1:2])
    if token in ("nil", "true", "false"):
        return {"nil": None, "true": True, "false": False}[token]
    if _INT.fullmatch(token):
        return int(token.rstrip("N"))
    if _FLOAT.fullmatch(token):
        return float(token.rstrip("M"))
    return token.removeprefix(":")
