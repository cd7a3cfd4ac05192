"""YAML 1.2 text to nodes: the only module that knows ruamel.yaml. Not here: what the keys mean."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import Problem, SpecError
from harness.spec.nodes import Entry, ListNode, MapNode, Node, Place, Plain, Scalar, ScalarNode, Source, resolve_plain

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

__all__ = ["dump", "parse", "read", "shown"]

_TAGS = "tag:yaml.org,2002:"
_NODES_MAX = 200_000
_BYTES_MAX = 4_000_000
_IMPLICIT = {"null", "bool", "int", "float", "timestamp", "value", "str", "merge"}


def shown(path: Path) -> str:
    """The path as problems name it: relative to the working directory when it lies below, else absolute."""
    absolute = path.absolute()
    try:
        return absolute.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return absolute.as_posix()


def read(path: Path) -> MapNode:
    """The document in a file. Raises SpecError when it cannot be read, is not YAML, or is not a mapping."""
    name = shown(path)
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise SpecError(Problem(file=name, message=f"expected a document of at most {_BYTES_MAX} bytes"))
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise SpecError(Problem(file=name, message=f"cannot read it: {(exc.strerror or str(exc)).lower()}")) from exc
    except UnicodeDecodeError as exc:
        raise SpecError(
            Problem(file=name, message=f"expected UTF-8 text, got byte {exc.object[exc.start]:#04x}")
        ) from exc
    source, node = _parsed(text, name, path.absolute())
    if isinstance(node, MapNode):
        return node
    where = Place(source=source, line=1, column=1) if node is None else node.place
    raise SpecError(
        Problem(
            file=name,
            line=where.line,
            column=where.column,
            source=source.lines[(where.line or 1) - 1],
            width=where.width,
            message="expected a mapping, got " + ("an empty document" if node is None else "a list or a single value"),
            help="a document starts with `version: 1` and `kind: experiment` (or stack, drill, runbook)",
        )
    )


@lru_cache(maxsize=64)
def _parsed(text: str, name: str, path: Path) -> tuple[Source, Node | None]:
    """The text's nodes; made once, for a document is read again for each of its profiles, and a base for each that extends it."""
    source = Source(name=name, base=path.parent, path=path, lines=_lines(text))
    return source, parse(text, source)


def _lines(text: str) -> tuple[str, ...]:
    """The text's lines as problems may print them: one column for each character, whatever a terminal would make of it.

    Lines end where YAML 1.2 and editors end them. `str.splitlines` ends them at U+0085 and U+2028 too, and every place
    after such a character would be wrong.
    """
    lines = text.removesuffix("\n").split("\n")
    return tuple("".join(one if one.isprintable() else " " for one in line) for line in lines)


def parse(text: str, source: Source) -> Node | None:
    """The one document in a text, None when it is empty.

    Raises SpecError with the first syntax error, or else with every duplicate key, tag and alias that has no meaning.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        composed = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as exc:
        raise SpecError(_syntax(exc, source)) from exc
    except ReaderError as exc:
        before = text[: exc.position]
        line = before.count("\n") + 1
        message = f"character {chr(exc.character)!r} is not allowed in YAML"
        place = Place(source=source, line=line, column=len(before) - (before.rfind("\n") + 1) + 1)
        raise SpecError(_problem(place, message, "remove the control character")) from exc
    except RecursionError as exc:
        raise SpecError(Problem(file=source.name, message="lists and mappings are nested too deeply")) from exc
    except (YAMLError, ValueError) as exc:
        raise SpecError(Problem(file=source.name, message=f"not YAML: {str(exc).splitlines()[0]}")) from exc
    if composed is None:
        return None
    reader = _Reader(source)
    node = reader.node(composed)
    if reader.size(node) > _NODES_MAX:
        reader.refuse(reader.place(composed), f"expected at most {_NODES_MAX} values once aliases are expanded")
    if reader.problems:
        raise SpecError(sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return node


class _Reader:
    """Turns composed YAML into nodes; collects what YAML allows and documents do not."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._made: dict[int, Node] = {}
        self._open: set[int] = set()
        self._sizes: dict[int, int] = {}

    def refuse(self, place: Place, message: str, remedy: str | None = None) -> None:
        problem = _problem(place, message, remedy)
        if problem not in self.problems:
            self.problems.append(problem)

    def place(self, raw: Any) -> Place:
        start, end = raw.start_mark, raw.end_mark
        line = min(start.line, max(len(self.source.lines) - 1, 0))
        column = start.column if line == start.line else 0
        text = self.source.lines[line] if self.source.lines else ""
        last = end.column if end.line == start.line else len(text.rstrip())
        return self._at(line, column, max(1, last - column))

    def _at(self, line: int, column: int, width: int) -> Place:
        if not self.source.lines:
            return Place(source=self.source)
        return Place(source=self.source, line=line + 1, column=column + 1, width=width)

    def node(self, raw: Any) -> Node:
        """The node for a composed one; an alias gives the same node again."""
        if id(raw) in self._open:
            self.refuse(self.place(raw), "an alias may not stand inside its own anchor")
            return ScalarNode(value=None, text="", place=self.place(raw))
        if id(raw) not in self._made:
            self._open.add(id(raw))
            self._made[id(raw)] = self._build(raw)
            self._open.discard(id(raw))
        return self._made[id(raw)]

    def _build(self, raw: Any) -> Node:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        tag = str(raw.tag).removeprefix(_TAGS)
        if isinstance(raw, MappingNode):
            self._expect_tag(raw, tag, {"map"})
            return self._map(raw)
        if isinstance(raw, SequenceNode):
            self._expect_tag(raw, tag, {"seq"})
            return ListNode(items=tuple(self.node(item) for item in raw.value), place=self.place(raw))
        self._expect_tag(raw, tag, _IMPLICIT)
        bare = raw.style is None
        value: Scalar = resolve_plain(raw.value) if bare and tag != "str" else raw.value
        return ScalarNode(value=value, text=raw.value, place=self.place(raw), bare=bare)

    def _expect_tag(self, raw: Any, tag: str, known: set[str]) -> None:
        if tag not in known:
            self.refuse(
                self.place(raw), f"tags have no meaning here, got {tag!r}", "remove the tag, or quote the value"
            )

    def _map(self, raw: Any) -> MapNode:
        entries: dict[str, Entry] = {}
        inherited: dict[str, Entry] = {}
        for raw_key, raw_value in raw.value:
            place = self.place(raw_key)
            if isinstance(raw_key.value, list):
                self.refuse(place, "expected a key that is text, got a list or mapping")
                continue
            if str(raw_key.tag) == f"{_TAGS}merge" and raw_key.style is None:
                inherited |= self._merged(raw_value)
                continue
            key = str(raw_key.value)
            if key in entries:
                self.refuse(
                    place, f"duplicate key {key!r}", f"it is first used in line {entries[key].key.line}; keep one"
                )
                continue
            value = self.node(raw_value)
            if isinstance(value, ScalarNode) and value.text == "" and value.bare:
                value = ScalarNode(value=None, text="", place=place)
            entries[key] = Entry(key=place, value=value)
        return MapNode(
            entries={**{key: inherited[key] for key in inherited if key not in entries}, **entries},
            place=self.place(raw),
        )

    def _merged(self, raw: Any) -> dict[str, Entry]:
        node = self.node(raw)
        maps = node.items if isinstance(node, ListNode) else (node,)
        merged: dict[str, Entry] = {}
        for item in reversed(maps):
            if isinstance(item, MapNode):
                merged |= item.entries
            else:
                self.refuse(self.place(raw), "expected a mapping (or a list of them) under the merge key `<<`")
        return merged

    def size(self, node: Node) -> int:
        """How many values the node holds once aliases are expanded."""
        if id(node) not in self._sizes:
            match node:
                case ScalarNode():
                    children: tuple[Node, ...] = ()
                case ListNode():
                    children = node.items
                case MapNode():
                    children = tuple(entry.value for entry in node.entries.values())
            self._sizes[id(node)] = 1 + sum(self.size(child) for child in children)
        return self._sizes[id(node)]


def _problem(place: Place, message: str, remedy: str | None = None) -> Problem:
    lines = place.source.lines
    source = lines[place.line - 1] if place.line is not None and place.line <= len(lines) else None
    return Problem(
        file=place.source.name,
        line=place.line,
        column=place.column,
        source=source,
        width=place.width,
        message=message,
        help=remedy,
    )


def _syntax(exc: MarkedYAMLError, source: Source) -> Problem:
    mark = exc.problem_mark or exc.context_mark
    problem, remedy = _reworded(exc)
    if mark is None or not source.lines:
        return Problem(file=source.name, message=problem, help=remedy)
    line = min(mark.line, len(source.lines) - 1)
    text = source.lines[line]
    column = min(mark.column if line == mark.line else len(text), len(text))
    return _problem(Place(source=source, line=line + 1, column=column + 1), problem, remedy)


def _reworded(exc: MarkedYAMLError) -> tuple[str, str | None]:
    """The first syntax error in words that say what to do, and the remedy."""
    problem = (exc.problem or "").replace('"', "'")
    context = exc.context or ""
    remedy: str | None = None
    if "block scalar" in context:
        problem, remedy = "a bare value that starts with '>' or '|' is a YAML block", 'quote it, as in "> 5s"'
    elif "character '\\t'" in problem:
        problem, remedy = "a tab cannot indent YAML", "indent with spaces"
    elif "cannot start any token" in problem:
        problem, remedy = (
            problem.replace("found character", "an unquoted value cannot start with").split(" that ")[0],
            "quote it",
        )
    elif "mapping values" in problem:
        problem, remedy = (
            "a second ': ' in one line",
            "quote the value if the colon is part of it, or check the indentation",
        )
    elif "alias" in problem or "alias" in context:
        problem, remedy = "an unquoted value that starts with '*' is a YAML alias", "quote it"
    elif "flow" in context and "got '{'" in problem:
        problem, remedy = "an unquoted value inside [ ] or { } cannot hold { or }", 'quote it, as in "${env:NAME}"'
    elif "another document" in problem:
        problem, remedy = "expected one document in a file, got several", "keep one, without `---` between"
    elif "end of stream" in problem:
        start = exc.context_mark
        problem, remedy = (
            "a quote or bracket is never closed",
            None if start is None else f"it opens in line {start.line + 1}",
        )
    elif "expected <block end>" in problem:
        problem, remedy = "a list and a mapping, or two indentations, are mixed", "indent all entries of a block alike"
    elif "<stream end>" in problem:
        start = exc.context_mark
        problem, remedy = (
            "a quote or bracket is never closed",
            None if start is None else f"it opens in line {start.line + 1}",
        )
    elif context:
        problem = f"{problem} {context}"
    return problem, remedy


def dump(node: Node) -> str:
    """The document as YAML text. What holds a value from the environment stands there as it was written, `${env:NAME}`."""
    from io import StringIO

    from ruamel.yaml import YAML

    writer = YAML(pure=True)
    writer.default_flow_style = False
    writer.width = 120
    out = StringIO()
    writer.dump(_as_written(node), out)
    return out.getvalue()


def _as_written(node: Node) -> Plain:
    match node:
        case ScalarNode():
            return node.text if node.secret else node.value
        case ListNode():
            return [_as_written(item) for item in node.items]
        case MapNode():
            return {key: _as_written(entry.value) for key, entry in node.entries.items()}
