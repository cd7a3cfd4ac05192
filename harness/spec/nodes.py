"""Documents as trees that remember where everything was written. Values only: `yaml_text` makes them, `merge` combines them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Entry",
    "ListNode",
    "MapNode",
    "Node",
    "Place",
    "Plain",
    "Scalar",
    "ScalarNode",
    "Source",
    "join",
    "plain",
    "resolve_plain",
]

Scalar = None | bool | int | float | str
Plain = Scalar | list["Plain"] | dict[str, "Plain"]
"""What JSON can say."""

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0(o[0-7]+|x[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_WORDS: Mapping[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_DIGITS_MAX = 400


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Source:
    """A text that documents are made of: a file, or a `--set`. `base` is the folder at which its relative paths start.

    `name` is how problems call it. `lines` is empty when problems have no place in it.
    """

    name: str
    base: Path
    path: Path | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value or key stands: 1-based line and column, None in a source without lines."""

    source: Source
    line: int | None = None
    column: int | None = None
    width: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """A single value. `text` is what was written, before interpolation; `bare` says that it was not quoted.

    `secret` says that part of the value came from the environment: it must not be shown.
    """

    value: Scalar
    text: str
    place: Place
    bare: bool = True
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    """A list of values."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key's place and its value."""

    key: Place
    value: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNode:
    """A mapping, in document order."""

    entries: Mapping[str, Entry]
    place: Place

    def get(self, key: str) -> Node | None:
        """The value under a key, or None."""
        entry = self.entries.get(key)
        return None if entry is None else entry.value

    def without(self, *keys: str) -> MapNode:
        """The same mapping, fewer keys."""
        return MapNode(entries={key: entry for key, entry in self.entries.items() if key not in keys}, place=self.place)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)


Node = ScalarNode | ListNode | MapNode


def plain(node: Node) -> Plain:
    """The node's value without its places."""
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return [plain(item) for item in node.items]
        case MapNode():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def join(path: str, step: str | int) -> str:
    """A path one step longer: "timeline" and 0 give "timeline[0]", then "for" gives "timeline[0].for"."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def resolve_plain(text: str) -> Scalar:
    """What an unquoted scalar means in YAML 1.2's core schema: `on`, `yes` and `12:30:45` are text, `010` is 10."""
    folded = text if text in ("", "~") else text.lower()
    if folded in _WORDS and text in (folded, folded.capitalize(), folded.upper()):
        return _WORDS[folded]
    if len(text) > _DIGITS_MAX:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if folded in _NOT_FINITE:
        return _NOT_FINITE[folded]
    return text
