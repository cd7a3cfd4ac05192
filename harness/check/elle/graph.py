"""The dependency graph of transactions, and the cycles in it by Adya's names.

An edge says that one transaction must come before another: ww (it wrote the version before), wr (it wrote what the other
read), rw (it read the version that the other replaced), process and realtime (it ended before the other began).
Source: Adya 1999; Kingsbury and Alvaro 2020.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Cycle", "EdgeKind", "Graph", "find_cycles"]

EdgeKind = Literal["ww", "wr", "rw", "process", "realtime"]
_WRITES: tuple[EdgeKind, ...] = ("ww",)
_READS: tuple[EdgeKind, ...] = ("ww", "wr")
_ALL: tuple[EdgeKind, ...] = ("ww", "wr", "rw")
_ORDERS: tuple[tuple[EdgeKind, ...], ...] = ((), ("process",), ("realtime",))
_TRIES = 2_000
"""Anti-dependencies from which a cycle is looked for, per component and name: the first found ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """A cycle: `nodes` in order (the first follows the last), `kinds[i]` the edge from node i to the next."""

    name: str
    nodes: tuple[int, ...]
    kinds: tuple[EdgeKind, ...]


@dataclass(slots=True)
class Graph:
    """Edges between transactions, each with its kinds and, for the report, why (`why[a, b, kind]`)."""

    edges: dict[int, dict[int, set[EdgeKind]]] = field(default_factory=dict)
    why: dict[tuple[int, int, EdgeKind], str] = field(default_factory=dict)

    def add(self, before: int, after: int, kind: EdgeKind, why: str = "") -> None:
        """One must come before the other. A transaction is never before itself."""
        if before != after:
            self.edges.setdefault(before, {}).setdefault(after, set()).add(kind)
            self.why.setdefault((before, after, kind), why)

    def steps(self, node: int, kinds: Iterable[EdgeKind]) -> Iterator[tuple[int, EdgeKind]]:
        """Where one edge of these kinds leads, the first kind that fits named."""
        wanted = tuple(kinds)
        for after, has in self.edges.get(node, {}).items():
            kind = next((each for each in wanted if each in has), None)
            if kind is not None:
                yield after, kind


def find_cycles(graph: Graph, orders: frozenset[EdgeKind] = frozenset()) -> tuple[Cycle, ...]:
    """At most one cycle of each name, the weakest level that is broken first. () when there is none.

    G0: writes only; G1c: writes and reads; G-single: one anti-dependency; G-nonadjacent: several, no two in a row; G2-item:
    any. `orders`: also with process or realtime edges; a cycle that needs those is named so ("G0-realtime").
    """
    found: dict[str, Cycle] = {}
    for extra in _ORDERS:
        if not set(extra) <= orders:
            continue
        suffix = f"-{extra[0]}" if extra else ""
        taken = {name.removesuffix("-process").removesuffix("-realtime") for name in found}
        for name, cycle in _with(graph, extra, taken):
            found[name + suffix] = Cycle(name=name + suffix, nodes=cycle.nodes, kinds=cycle.kinds)
    return tuple(found.values())


def _with(graph: Graph, extra: tuple[EdgeKind, ...], taken: set[str]) -> Iterator[tuple[str, Cycle]]:
    for name, kinds in (("G0", _WRITES), ("G1c", _READS)):
        if name in taken:
            continue
        cycle = next(_plain(graph, (*kinds, *extra), "wr" if name == "G1c" else None), None)
        if cycle is not None:
            yield name, cycle
    components = list(_components(graph, (*_ALL, *extra)))
    light: tuple[EdgeKind, ...] = (*_READS, *extra)
    searches: Mapping[str, _Search] = {
        "G-single": lambda a, b, within: _path(graph, b, a, light, within),
        "G-nonadjacent": lambda a, b, within: _spaced(graph, b, a, light, within),
        "G2-item": lambda a, b, within: _path(graph, b, a, (*_ALL, *extra), within),
    }
    for name, search in searches.items():
        cycle = None if name in taken else _anti(graph, components, search, name)
        if cycle is not None:
            yield name, cycle


_Search = Callable[[int, int, set[int]], "list[tuple[int, EdgeKind]] | None"]


def _anti(graph: Graph, components: list[set[int]], search: _Search, name: str) -> Cycle | None:
    """The first cycle through an anti-dependency that the search closes and that deserves the name."""
    for within in components:
        tries = 0
        for before in sorted(within):
            for after, kind in graph.steps(before, ("rw",)):
                if after not in within or tries >= _TRIES:
                    continue
                tries += 1
                path = search(before, after, within)
                if path is None:
                    continue
                kinds = (kind, *(each for _, each in path))
                if _named(kinds) == name:
                    return Cycle(name=name, nodes=(before, after, *(node for node, _ in path[:-1])), kinds=kinds)
    return None


def _named(kinds: tuple[EdgeKind, ...]) -> str:
    """What a cycle with anti-dependencies is called."""
    anti = [kind == "rw" for kind in kinds]
    if sum(anti) == 1:
        return "G-single"
    in_a_row = any(one and two for one, two in zip(anti, (*anti[1:], anti[0]), strict=True))
    return "G2-item" if in_a_row else "G-nonadjacent"


def _plain(graph: Graph, kinds: tuple[EdgeKind, ...], needs: EdgeKind | None) -> Iterator[Cycle]:
    """Cycles over these kinds that hold at least one edge of the kind needed (None: any)."""
    for within in _components(graph, kinds):
        for before in sorted(within):
            for after, kind in graph.steps(before, kinds if needs is None else (needs,)):
                path = _path(graph, after, before, kinds, within) if after in within else None
                if path is not None:
                    nodes = (before, after, *(node for node, _ in path[:-1]))
                    yield Cycle(name="", nodes=nodes, kinds=(kind, *(each for _, each in path)))


def _path(
    graph: Graph, start: int, goal: int, kinds: tuple[EdgeKind, ...], within: set[int]
) -> list[tuple[int, EdgeKind]] | None:
    """The shortest way from start to goal as (node reached, edge), None when there is none. Empty when they are one."""
    if start == goal:
        return []
    came: dict[int, tuple[int, EdgeKind]] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for after, kind in graph.steps(node, kinds):
            if after not in within or after in came or after == start:
                continue
            came[after] = (node, kind)
            if after == goal:
                way = []
                while after != start:
                    before, kind = came[after]
                    way.append((after, kind))
                    after = before
                return way[::-1]
            queue.append(after)
    return None


def _spaced(
    graph: Graph, start: int, goal: int, light: tuple[EdgeKind, ...], within: set[int]
) -> list[tuple[int, EdgeKind]] | None:
    """As `_path`, over all kinds, but no two anti-dependencies in a row, nor one at either end (one led to `start`)."""
    came: dict[tuple[int, bool], tuple[tuple[int, bool], EdgeKind]] = {}
    queue = deque([(start, True)])
    while queue:
        state = queue.popleft()
        node, was_rw = state
        for kinds, is_rw in ((light, False), (("rw",), True)):
            if is_rw and was_rw:
                continue
            for after, kind in graph.steps(node, kinds):
                to = (after, is_rw)
                if after not in within or to in came:
                    continue
                came[to] = (state, kind)
                if after == goal and not is_rw:
                    return _way(came, to, (start, True))
                queue.append(to)
    return None


def _way(
    came: Mapping[tuple[int, bool], tuple[tuple[int, bool], EdgeKind]], at: tuple[int, bool], start: tuple[int, bool]
) -> list[tuple[int, EdgeKind]] | None:
    way = []
    while at != start:
        before, kind = came[at]
        way.append((at[0], kind))
        at = before
    nodes = [node for node, _ in way]
    return way[::-1] if len(set(nodes)) == len(nodes) else None


def _components(graph: Graph, kinds: tuple[EdgeKind, ...]) -> Iterator[set[int]]:
    """Sets of at least two nodes that can all reach one another over these kinds. Source: Tarjan 1972, without recursion."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for root in list(graph.edges):
        if root in number:
            continue
        work = [(root, graph.steps(root, kinds))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for after, _ in rest:
                if after not in number:
                    number[after] = low[after] = len(number)
                    stack.append(after)
                    on_stack.add(after)
                    work.append((after, graph.steps(after, kinds)))
                    break
                if after in on_stack:
                    low[node] = min(low[node], number[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    component = set()
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.add(member)
                        if member == node:
                            break
                    if len(component) > 1:
                        yield component
