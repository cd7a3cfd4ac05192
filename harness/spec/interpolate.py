"""`${...}` in documents: what is known now is filled in, what only a run knows is checked and left.

Also here: counted instances, and paths as seen from the document that wrote them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from harness.model.secrets import masked
from harness.model.wiring import RUNTIME_NAMES
from harness.spec.nodes import Entry, ListNode, MapNode, Node, Place, ScalarNode, Source, resolve_plain
from harness.spec.report import At, Report, did_you_mean, known_names

__all__ = ["Names", "Scope", "absolute", "anchored", "expand_counts", "interpolate", "names_of"]

Steps = tuple[str | int, ...]

_TOKEN = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<body>[^}]*)(?P<close>\}?))")
_ENV = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_KNOWN = ("env", "param", *RUNTIME_NAMES, "i")
_PROGRAMS = frozenset({"process", "exec", "start", "stop", "apply", "revert", "witness", "read"})
_COUNT_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What runtime interpolations may name: ports by instance (None: they cannot be told), links; whether alerts are received."""

    ports: Mapping[str, tuple[str, ...] | None]
    links: tuple[str, ...]
    alerts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one document's texts may use. `params` and `names` are None while unknown: then they are not checked.

    `wired` says of a path's steps whether the run resolves placeholders there; elsewhere they are refused. `lenient`
    leaves variables that are not set as they are written.
    """

    env: Mapping[str, str]
    params: Mapping[str, str] | None = field(default_factory=dict)
    names: Names | None = None
    wired: Callable[[Steps], bool] = lambda steps: False
    lenient: bool = False


def interpolate(at: At, scope: Scope, report: Report, steps: Steps = ()) -> Node:
    """The value with every `${env:}` and `${param:}` filled in and every other `${...}` checked.

    A value that was not quoted is read again as YAML once it is filled in: `seed: ${env:SEED}` is a number. `$$` becomes
    a dollar, except where the run resolves placeholders itself: there it stays, for the run to turn into one.
    """
    match at.node:
        case MapNode():
            entries = {}
            for key, entry in at.node.entries.items():
                child = At(node=entry.value, path=f"{at.path}.{key}".lstrip("."), key=entry.key)
                entries[key] = Entry(key=entry.key, value=interpolate(child, scope, report, (*steps, key)))
            return MapNode(entries=entries, place=at.node.place)
        case ListNode():
            children = enumerate(at.children())
            items = tuple(interpolate(child, scope, report, (*steps, index)) for index, child in children)
            return ListNode(items=items, place=at.node.place)
        case ScalarNode():
            if not isinstance(at.node.value, str) or "$" not in at.node.value:
                return at.node
            return _Text(at, at.node, scope, report, steps).filled()


class _Text:
    """One text with placeholders, while it is filled in."""

    def __init__(self, at: At, node: ScalarNode, scope: Scope, report: Report, steps: Steps) -> None:
        self.at, self.node, self.scope, self.report, self.steps = at, node, scope, report, steps
        self.wired = scope.wired(steps)
        self.secret = node.secret

    def filled(self) -> ScalarNode:
        text = _TOKEN.sub(self._replaced, str(self.node.value))
        value = resolve_plain(text) if self.node.bare else text
        return replace(self.node, value=value, secret=self.secret)

    def _replaced(self, match: re.Match[str]) -> str:
        token = match[0]
        if match["dollar"]:
            return "$$" if self.wired else "$"
        if not match["close"]:
            self._error(token, f"{token!r} has no closing brace", 'a dollar by itself is written "$$"')
            return token
        name, colon, argument = match["body"].partition(":")
        if name == "env" and colon:
            return self._env(token, argument)
        if name == "param" and colon:
            return self._param(token, argument)
        if name == "i" and not colon:
            self._error(token, "${i} is the number of a counted instance, and there is no `count` here")
            return token
        if name in RUNTIME_NAMES and (colon or name == "dir"):
            self._runtime(token, name, argument)
            return token
        self._meaningless(token, name, colon)
        return token

    def _meaningless(self, token: str, name: str, colon: str) -> None:
        if colon:
            known = ", ".join(f"${{{word}:...}}" for word in ("env", "param", *RUNTIME_NAMES))
            self._error(token, f"unknown interpolation {token!r}{did_you_mean(name, _KNOWN)}", f"known: {known}")
        elif name in _KNOWN:
            self._error(token, f"{token} needs an argument, as in ${{{name}:NAME}}")
        else:
            remedy = f"write ${{env:{name or 'NAME'}}} for an environment variable, or $${{{name}}} for the text itself"
            self._error(token, f"a bare {token} has no meaning", remedy)

    def _error(self, token: str, message: str, remedy: str | None = None) -> None:
        self.report.error(self.at, message, remedy=remedy, place=_within(self.node.place, token))

    def _env(self, token: str, argument: str) -> str:
        match = _ENV.fullmatch(argument)
        if match is None:
            self._error(token, f"expected the name of an environment variable, got {argument!r}", "as in ${env:TOKEN}")
            return token
        value, default = self.scope.env.get(match["name"]), match["default"]
        if default is not None and not value:
            return default[2:]
        if value is None:
            remedy = f"set it, or give a default: ${{env:{match['name']}:-...}}"
            if not self.scope.lenient:
                self._error(token, f"environment variable {match['name']} is not set", remedy)
            return token
        self.secret = True
        if value:
            self.report.secrets.add(value)
        return value.replace("$", "$$") if self.wired else value

    def _param(self, token: str, argument: str) -> str:
        params = self.scope.params
        if params is None:
            return token
        if argument not in params:
            message = f"unknown param {argument!r}{did_you_mean(argument, params)}"
            self._error(token, message, f"{known_names('param', params)}; declare it in the stack file under `params:`")
            return token
        if masked(params[argument], self.report.secrets) != params[argument]:
            self.secret = True
        return params[argument].replace("$", "$$") if self.wired else params[argument]

    def _runtime(self, token: str, name: str, argument: str) -> None:
        if not self.wired:
            self._error(token, f"{token} is known only during a run and cannot be used here")
            return
        names = self.scope.names
        if names is None:
            return
        match name:
            case "port":
                self._own_port(token, argument, names)
            case "addr":
                self._address(token, argument, names)
            case "link":
                if argument not in names.links:
                    self._unknown(token, "link", argument, names.links)
            case "dir":
                self._dir(token, argument, names)
            case _:
                self._run(token, argument, names)

    def _run(self, token: str, argument: str, names: Names) -> None:
        if argument == "alerts" and not names.alerts:
            self._error(token, f"{token}: this stack receives no alerts", "declare `signals: {alerts: webhook}`")
        elif argument not in ("dir", "alerts"):
            close = "alerts" if argument.startswith("a") else "dir"
            self._error(token, f"unknown interpolation {token!r}; did you mean '${{run:{close}}}'?")

    def _unknown(self, token: str, what: str, name: str, known: tuple[str, ...]) -> None:
        self._error(token, f"unknown {what} {name!r}{did_you_mean(name, known)}", known_names(what, known))

    def _own(self) -> str | None:
        return str(self.steps[1]) if len(self.steps) > 1 and self.steps[0] == "instances" else None

    def _own_port(self, token: str, port: str, names: Names) -> None:
        own = self._own()
        if own is None:
            example = next((f"{name}.{ports[0]}" for name, ports in names.ports.items() if ports), "INSTANCE.PORT")
            self._error(token, f"{token} has a meaning only inside an instance", f"write ${{addr:{example}}}")
        else:
            self._expect_port(token, own, port, names)

    def _address(self, token: str, dotted: str, names: Names) -> None:
        instance, dot, port = dotted.rpartition(".") if "." in dotted else (dotted, "", "")
        if instance not in names.ports:
            self._unknown(token, "instance", instance, tuple(names.ports))
        elif dot:
            self._expect_port(token, instance, port, names)

    def _expect_port(self, token: str, instance: str, port: str, names: Names) -> None:
        ports = names.ports.get(instance)
        if ports is not None and port not in ports:
            self._unknown(token, f"port of {instance}", port, ports)

    def _dir(self, token: str, owner: str, names: Names) -> None:
        if owner and owner not in names.ports:
            self._unknown(token, "instance", owner, tuple(names.ports))
        elif not owner and self._own() is None:
            self._error(token, f"{token} has a meaning only inside an instance", "write ${dir:INSTANCE}")


def _within(place: Place, token: str) -> Place:
    """The place of a token inside a value, when it stands in the value's first line as it was written."""
    if place.line is None or place.column is None:
        return place
    line = place.source.lines[place.line - 1]
    found = line.find(token, place.column - 1)
    return place if found < 0 else replace(place, column=found + 1, width=len(token))


def names_of(root: MapNode) -> Names:
    """What a stack document declares, counted instances expanded; wrong shapes are passed over, others report them."""
    instances, links = root.get("instances"), root.get("links")
    ports: dict[str, tuple[str, ...] | None] = {}
    for name, entry in instances.entries.items() if isinstance(instances, MapNode) else ():
        declared = entry.value.get("ports") if isinstance(entry.value, MapNode) else None
        match declared:
            case MapNode():
                ports[name] = tuple(declared)
            case ListNode():
                ports[name] = tuple(str(item.value) for item in declared.items if isinstance(item, ScalarNode))
            case _:
                ports[name] = () if declared is None else None
    signals = root.get("signals")
    return Names(
        ports=ports,
        links=tuple(links) if isinstance(links, MapNode) else (),
        alerts=isinstance(signals, MapNode) and signals.get("alerts") is not None,
    )


def expand_counts(root: MapNode, scope: Scope, report: Report) -> MapNode:
    """The stack document with every counted instance n written out as n-1, n-2, ..., `${i}` replaced by the number."""
    instances = root.entries.get("instances")
    if instances is None or not isinstance(instances.value, MapNode):
        return root
    expanded: dict[str, Entry] = {}
    for child in At(node=instances.value, path="instances").children():
        entry = instances.value.entries[child.name]
        count = _count(child, scope, report)
        if count is None or not isinstance(entry.value, MapNode):
            copies = {child.name: entry}
        else:
            body = entry.value.without("count")
            copies = (
                {child.name: Entry(key=entry.key, value=body)}
                if count == 0
                else {
                    f"{child.name}-{n}": Entry(key=entry.key, value=_numbered(body, str(n)))
                    for n in range(1, count + 1)
                }
            )
        for name, copy in copies.items():
            if name in expanded:
                message = f"instance {name!r} exists twice: by its own name and by `count`"
                report.add(copy.key, message, where=f"instances.{name}")
            expanded.setdefault(name, copy)
    node = MapNode(entries=expanded, place=instances.value.place)
    return MapNode(entries={**root.entries, "instances": Entry(key=instances.key, value=node)}, place=root.place)


def _count(instance: At, scope: Scope, report: Report) -> int | None:
    """How many are asked for; None when it is not counted, 0 when the count cannot be read."""
    at = instance.child("count")
    if at is None:
        return None
    at = replace(at, node=interpolate(at, scope, report, ("instances", instance.name, "count")))
    value = at.value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _COUNT_MAX:
        if not (isinstance(value, str) and "${" in value):
            report.error(at, f"expected a whole number from 1 to {_COUNT_MAX}, got {value!r}")
        return 0
    return value


def _numbered(node: Node, number: str) -> Node:
    match node:
        case MapNode():
            entries = {
                key: Entry(key=entry.key, value=_numbered(entry.value, number)) for key, entry in node.entries.items()
            }
            return MapNode(entries=entries, place=node.place)
        case ListNode():
            return ListNode(items=tuple(_numbered(item, number) for item in node.items), place=node.place)
        case ScalarNode():
            if not isinstance(node.value, str) or "${i}" not in node.value:
                return node
            # `$${i}` is the text itself: each pair of dollars before the brace is one escaped dollar.
            text = re.sub(r"(\$\$)|\$\{i\}", lambda match: match[1] or number, node.value)
            return replace(node, value=resolve_plain(text) if node.bare and "$" not in text else text)


def anchored(node: Node, *, text: bool = False) -> Node:
    """A kind's mapping with its programs and `cwd` made absolute, seen from the document that wrote each of them.

    A program is the first word of an argv (or the whole text) under a key that holds a command; it is a path when it has
    a slash. `text`: the node itself is such a command.
    """
    if text:
        return _anchored_program(node)
    if not isinstance(node, MapNode):
        return node
    entries = {}
    for key, entry in node.entries.items():
        value = entry.value
        if key in _PROGRAMS:
            value = _anchored_program(value)
        elif key == "cwd" and isinstance(value, ScalarNode):
            value = _anchored_path(value)
        entries[key] = Entry(key=entry.key, value=value)
    return MapNode(entries=entries, place=node.place)


def _anchored_program(node: Node) -> Node:
    if isinstance(node, ListNode) and node.items:
        return ListNode(items=(_anchored_program(node.items[0]), *node.items[1:]), place=node.place)
    if isinstance(node, ScalarNode) and isinstance(node.value, str) and "/" in node.value:
        return _anchored_path(node)
    return node


def _anchored_path(node: ScalarNode) -> ScalarNode:
    if not isinstance(node.value, str) or node.value.startswith("${"):
        return node
    return replace(node, value=absolute(node.value, node.place.source, wired=True))


def absolute(path: str, source: Source, *, wired: bool = False) -> str:
    """A path as its document means it. `wired`: dollars in the folder's name are doubled, for the run to undo."""
    base = str(source.base).replace("$", "$$") if wired else str(source.base)
    return os.path.normpath(os.path.join(base, path))
