"""One document out of several: `extends`, `profiles`, `--set`. Lists are replaced, null removes, every value keeps its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import Problem, SpecError
from harness.spec.nodes import Entry, ListNode, MapNode, Node, Place, ScalarNode, Source
from harness.spec.report import At, Report, did_you_mean, known_names
from harness.spec.yaml_text import parse, read, shown

__all__ = ["apply_profile", "apply_set", "merge", "read_extended"]

_STEP = re.compile(r"(?P<key>[^.\[\]]+)|\[(?P<index>\d+)\]")
_DEPTH_MAX = 20


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`: mappings deeply, anything else replaced; a null in `over` removes the key."""
    if not isinstance(base, MapNode) or not isinstance(over, MapNode):
        return over
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        if isinstance(entry.value, ScalarNode) and entry.value.value is None:
            entries.pop(key, None)
        elif key in entries:
            entries[key] = Entry(key=entry.key, value=merge(entries[key].value, entry.value))
        else:
            entries[key] = Entry(key=entry.key, value=_without_nulls(entry.value))
    return MapNode(entries=entries, place=over.place)


def _without_nulls(node: Node) -> Node:
    # A key that removes what is not there removes nothing.
    if not isinstance(node, MapNode):
        return node
    return MapNode(
        entries={
            key: Entry(key=entry.key, value=_without_nulls(entry.value))
            for key, entry in node.entries.items()
            if not (isinstance(entry.value, ScalarNode) and entry.value.value is None)
        },
        place=node.place,
    )


def read_extended(path: Path, sources: list[Path]) -> MapNode:
    """The document in a file, laid on what it extends, which may extend too. `sources` gets every file read, this one first.

    Raises SpecError when a file cannot be read or parsed, or when documents extend each other in a circle.
    """
    return _read_chain(path, sources, ())


def _read_chain(path: Path, sources: list[Path], trail: tuple[Path, ...]) -> MapNode:
    here = path.absolute()
    node = read(here)
    if here not in sources:
        sources.append(here)
    entry = node.entries.get("extends")
    if entry is None:
        return node
    at = At(node=entry.value, path="extends", key=entry.key)
    report = Report()
    if at.text is None:
        report.error(at, f"expected the path of a document, got {at.value!r}")
        report.check()
    parent = (here.parent / str(at.text)).resolve()
    trail = (*trail, here.resolve())
    if parent in trail or len(trail) > _DEPTH_MAX:
        circle = " -> ".join(shown(step) for step in (*trail[trail.index(parent) if parent in trail else 0 :], parent))
        report.error(at, f"documents extend each other in a circle: {circle}")
    elif not parent.is_file():
        near = sorted(found.name for found in parent.parent.glob("*.y*ml")) if parent.parent.is_dir() else []
        message = f"no document {at.text!r} next to {shown(here)}{did_you_mean(parent.name, near)}"
        report.error(at, message, remedy="the path is relative to the document that extends")
    report.check()
    base = _read_chain(parent, sources, trail)
    merged = merge(base.without("extends"), node.without("extends"))
    assert isinstance(merged, MapNode)
    return merged


def apply_profile(root: MapNode, profile: str | None, report: Report, *, optional: bool = False) -> MapNode:
    """The document with one of its `profiles` laid on it and the profiles taken out.

    `optional`: a document without that profile is as it is (a stack under an experiment that has it).
    """
    node = root.get("profiles")
    bare = root.without("profiles")
    at = None if node is None else At(node=node, path="profiles", key=root.entries["profiles"].key)
    if at is not None and not isinstance(at.node, MapNode):
        report.error(at, f"expected a mapping of profiles by name, got {at.value!r}")
        return bare
    for child in () if at is None else at.children():
        if not isinstance(child.node, MapNode):
            report.error(child, f"expected a mapping of the keys that this profile changes, got {child.value!r}")
    if profile is None:
        return bare
    chosen = None if at is None else at.child(profile)
    if chosen is None:
        if not optional:
            names = () if at is None else at.keys
            place = Place(source=Source(name=f"--profile {profile}", base=Path.cwd())) if at is None else at.place
            message = f"unknown profile {profile!r}{did_you_mean(profile, names)}"
            report.add(place, message, where="profiles", remedy=known_names("profile", names))
        return bare
    if not isinstance(chosen.node, MapNode):
        return bare
    merged = merge(bare, chosen.node)
    assert isinstance(merged, MapNode)
    return merged


def apply_set(root: MapNode, assignment: str, report: Report) -> MapNode:
    """The document with one `path=value` laid on it: `load.arrival.rate=120/s`, `timeline[0].for=3s`, `seed=null` to remove."""
    path, equals, text = assignment.partition("=")
    source = Source(name=f"--set {assignment}", base=Path.cwd())
    place = Place(source=source)
    steps = _steps(path.strip())
    if not equals or steps is None:
        message = f"expected path=value, got {assignment!r}"
        report.add(place, message, remedy='as in --set load.arrival.rate=120/s or --set "timeline[0].for=3s"')
        return root
    try:
        value = parse(text.strip(), source) or ScalarNode(value=None, text="", place=place)
    except SpecError as exc:
        report.include(Problem(file=source.name, where=path, message=p.message, help=p.help) for p in exc.problems)
        return root
    changed = _put(At(node=root, path=""), steps, value, report)
    return changed if isinstance(changed, MapNode) else root


def _steps(path: str) -> tuple[str | int, ...] | None:
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return None
        steps.append(match["key"] if match["index"] is None else int(match["index"]))
        position = match.end()
        if position < len(path) and path[position] == ".":
            position += 1
            if position == len(path):
                return None
        elif position < len(path) and path[position] != "[":
            return None
    return tuple(steps) or None


def _put(at: At, steps: Sequence[str | int], value: Node, report: Report) -> Node:
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        return _put_item(at, step, rest, value, report)
    if not isinstance(at.node, MapNode):
        held = "a list; name an entry by its number, as in [0]" if isinstance(at.node, ListNode) else f"{at.value!r}"
        report.add(value.place, f"there is no key {step!r} to set: {at.path} is {held}", where=at.path)
        return at.node
    entries = dict(at.node.entries)
    if not rest and isinstance(value, ScalarNode) and value.value is None:
        if step not in entries:
            report.add(value.place, f"there is no key {step!r} to remove{did_you_mean(step, entries)}", where=at.path)
        entries.pop(step, None)
    elif not rest:
        entries[step] = Entry(key=value.place, value=value)
    else:
        child = at.child(step) or At(node=MapNode(entries={}, place=value.place), path=f"{at.path}.{step}".lstrip("."))
        if isinstance(rest[0], int) and step not in entries:
            report.add(value.place, f"there is no list {step!r}{did_you_mean(step, entries)}", where=at.path)
            return at.node
        key = entries[step].key if step in entries else value.place
        entries[step] = Entry(key=key, value=_put(child, rest, value, report))
    return MapNode(entries=entries, place=at.node.place)


def _put_item(at: At, index: int, rest: Sequence[str | int], value: Node, report: Report) -> Node:
    if not isinstance(at.node, ListNode):
        report.add(
            value.place, f"there is no entry [{index}] to set: {at.path or 'the document'} is not a list", where=at.path
        )
        return at.node
    child = at.child(index)
    if child is None:
        count = len(at.node.items)
        held = "it is empty" if count == 0 else f"its last is [{count - 1}]"
        report.add(value.place, f"there is no entry [{index}] to set: {held}", where=at.path)
        return at.node
    items = list(at.node.items)
    items[index] = _put(child, rest, value, report) if rest else value
    return ListNode(items=tuple(items), place=at.node.place)
