"""The list of problems found so far, and a reading place in a document. Here: how problems are placed and worded as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from harness.errors import Problem, SpecError
from harness.model.secrets import masked
from harness.spec.nodes import Entry, ListNode, MapNode, Node, Place, Plain, ScalarNode, join, plain

__all__ = ["At", "Report", "did_you_mean", "known_names"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: "; did you mean 'for'?", or nothing when no name is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _plural(what: str) -> str:
    """ "entry" gives "entries", "port of gw" gives "ports of gw"."""
    head, of, rest = what.partition(" of ")
    plural = f"{head[:-1]}ies" if head.endswith("y") else f"{head}es" if head.endswith("s") else f"{head}s"
    return f"{plural}{of}{rest}"


def known_names(what: str, known: Iterable[str]) -> str:
    """The remedy that lists the names there are, each once: "region" gives "known regions: eu, us"."""
    what = _plural(what)
    names = list(dict.fromkeys(known))
    return f"known {what}: {', '.join(names)}" if names else f"there are no {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """A value in a document and the path to it. `key` is the place of its key, where a mapping is underlined."""

    node: Node
    path: str
    key: Place | None = None

    def child(self, step: str | int) -> At | None:
        """The value one step down, or None when there is none."""
        if isinstance(self.node, MapNode) and isinstance(step, str):
            entry = self.node.entries.get(step)
            return None if entry is None else At(node=entry.value, path=join(self.path, step), key=entry.key)
        if isinstance(self.node, ListNode) and isinstance(step, int) and 0 <= step < len(self.node.items):
            return At(node=self.node.items[step], path=join(self.path, step))
        return None

    def walk(self, *steps: str | int) -> At | None:
        """The value several steps down, or None."""
        at: At | None = self
        for step in steps:
            at = None if at is None else at.child(step)
        return at

    def children(self) -> Iterator[At]:
        """The values one step down; none of a scalar."""
        if isinstance(self.node, MapNode):
            steps: Iterable[str | int] = self.node.entries
        elif isinstance(self.node, ListNode):
            steps = range(len(self.node.items))
        else:
            return
        for step in steps:
            child = self.child(step)
            if child is not None:
                yield child

    @property
    def name(self) -> str:
        """The last step of the path."""
        return self.path.rpartition(".")[2]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a mapping, in order; empty for anything else."""
        return tuple(self.node.entries) if isinstance(self.node, MapNode) else ()

    @property
    def value(self) -> Plain:
        """The value without places."""
        return plain(self.node)

    @property
    def text(self) -> str | None:
        """The value when it is text, else None."""
        return self.node.value if isinstance(self.node, ScalarNode) and isinstance(self.node.value, str) else None

    @property
    def place(self) -> Place:
        """What to underline: a single value itself, the key of a mapping or list, else where it begins."""
        if isinstance(self.node, ScalarNode) or self.key is None:
            place = self.node.place
            if isinstance(self.node, MapNode) and self.node.entries:
                first: Entry = next(iter(self.node.entries.values()))
                if first.key.source is place.source and first.key.line == place.line:
                    return first.key
            return place
        return self.key


@dataclass(slots=True, kw_only=True)
class Report:
    """Problems and warnings found so far, and the texts that must not be shown. The one mutable thing while loading."""

    problems: list[Problem] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    _order: dict[str, int] = field(default_factory=dict)

    def error(self, at: At, message: str, *, remedy: str | None = None, place: Place | None = None) -> None:
        """Note that the value at `at` is wrong."""
        self.add(place or at.place, message, where=at.path, remedy=remedy)

    def warn(self, at: At, message: str, *, remedy: str | None = None) -> None:
        """Note that the value at `at` is legal and probably not meant."""
        self.add(at.place, message, where=at.path, remedy=remedy, severity="warning")

    def unknown(
        self, at: At, what: str, known: Iterable[str], *, place: Place | None = None, name: str | None = None
    ) -> None:
        """Note that `at` names something that is not there: did you mean, and the names there are."""
        names = tuple(known)
        wanted = name if name is not None else str(at.value)
        remedy = known_names(what, names)
        self.error(at, f"unknown {what} {wanted!r}{did_you_mean(wanted, names)}", remedy=remedy, place=place)

    def add(
        self, place: Place, message: str, *, where: str = "", remedy: str | None = None, severity: str = "error"
    ) -> None:
        """Note a problem at a place, once."""
        lines = place.source.lines
        source = lines[place.line - 1] if place.line is not None and place.line <= len(lines) else None
        problem = Problem(
            file=place.source.name,
            message=self._safe(message),
            where=where,
            line=place.line,
            column=place.column,
            source=source,
            width=place.width,
            help=None if remedy is None else self._safe(remedy),
            severity=severity,
        )
        if not any(_same(problem, other) for other in self.problems):
            self._order.setdefault(problem.file, len(self._order))
            self.problems.append(problem)

    def expect_files(self, names: Iterable[str]) -> None:
        """Say in which order problems of different files are reported."""
        for name in names:
            self._order.setdefault(name, len(self._order))

    def include(self, problems: Iterable[Problem]) -> None:
        """Take over problems that were found elsewhere."""
        for problem in problems:
            if not any(_same(problem, other) for other in self.problems):
                self._order.setdefault(problem.file, len(self._order))
                self.problems.append(problem)

    def _safe(self, text: str) -> str:
        return masked(text, self.secrets)

    @property
    def failed(self) -> bool:
        """Whether any problem is an error."""
        return any(problem.severity == "error" for problem in self.problems)

    def ordered(self, severity: str) -> tuple[Problem, ...]:
        """The problems of one severity, by file as first met, then by place."""
        chosen = [problem for problem in self.problems if problem.severity == severity]
        return tuple(
            sorted(chosen, key=lambda problem: (self._order[problem.file], problem.line or 0, problem.column or 0))
        )

    def check(self) -> None:
        """Raise SpecError with every error so far; nothing when there is none."""
        if self.failed:
            raise SpecError(self.ordered("error"))


def _same(one: Problem, other: Problem) -> bool:
    # A counted instance is read several times from one place: the path differs, the mistake does not.
    return (one.file, one.line, one.column, one.message) == (other.file, other.line, other.column, other.message) and (
        one.line is not None or one.where == other.where
    )
