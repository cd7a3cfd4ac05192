"""Mappings that belong to a kind: which kind is named, and its parameters through the kind's own model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from harness.model.catalog import Catalog, Kind, Role
from harness.model.fields import JsonObject
from harness.spec.decode import decode, fields_of
from harness.spec.interpolate import anchored
from harness.spec.nodes import MapNode
from harness.spec.report import At, Report, did_you_mean, known_names
from harness.spec.scalars import Doc

__all__ = ["Kinded", "keyed", "params_of", "split"]

D = TypeVar("D", bound=Doc)


INSTEAD: Mapping[tuple[Role, str], str] = {
    ("host", "systemd"): (
        "a unit's process is attached to by its pid file (PIDFile=, or ExecStartPost= that writes $MAINPID):"
        " {pid: {file: /run/NAME.pid}, start: [systemctl, start, NAME]}"
    ),
    ("fault", "deploy"): (
        "another configuration is `fault: config`; another program or revision is `fault: exec` with an `apply`, `revert`"
        " and `witness` of your own"
    ),
}
"""What people look for by these names and what there is in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinded:
    """A kind and its validated parameters."""

    kind: Kind
    params: JsonObject


def split(at: At, reserved: Iterable[str]) -> tuple[At, At]:
    """The part of a mapping under reserved keys, and the rest. Anything else than a mapping is all rest."""
    if not isinstance(at.node, MapNode):
        return At(node=MapNode(entries={}, place=at.node.place), path=at.path, key=at.key), at
    names = set(reserved)
    kept = at.node.without(*(key for key in at.node if key not in names))
    return (
        At(node=kept, path=at.path, key=at.key),
        At(node=at.node.without(*names), path=at.path, key=at.key),
    )


def params_of(at: At, kind: Kind, report: Report, offered: Iterable[str] = ()) -> JsonObject | None:
    """The kind's parameters in a mapping, as JSON that its model reads back; None when they are wrong."""
    value = decode(At(node=anchored(at.node), path=at.path, key=at.key), kind.params, report, offered=offered)
    return None if value is None else value.model_dump(mode="json", by_alias=True)


def keyed(at: At, role: Role, catalog: Catalog, report: Report, reserved: type[Doc] | None = None) -> Kinded | None:
    """The kind that one of the mapping's keys names, as `process` in {process: [...], cwd: .}, with the whole as parameters.

    `reserved` is the model of keys that are not the kind's. None, with a problem, when no key names a kind or the
    parameters are wrong.
    """
    names = catalog.names(role)
    words = () if reserved is None else fields_of(reserved)
    _, rest = split(at, words)
    if not isinstance(rest.node, MapNode):
        example = f"as in {{{names[0]}: ...}}" if names else None
        report.error(at, f"expected a mapping whose key names a {role}, got {at.value!r}", remedy=example)
        return None
    named = next((key for key in rest.keys if key in names), None)
    if named is None:
        _unnamed(at, rest, role, names, report)
        return None
    kind = catalog.kind(role, named)
    params = params_of(rest, kind, report, words)
    return None if params is None else Kinded(kind=kind, params=params)


def _unnamed(at: At, rest: At, role: Role, names: tuple[str, ...], report: Report) -> None:
    remedy = known_names(role, names)
    close = [key for key in rest.keys if did_you_mean(key, names)]
    first = next(iter(close or rest.keys), None)
    if first is None:
        report.error(at, f"no {role} is named", remedy=remedy)
        return
    child = rest.child(first)
    assert child is not None
    remedy = INSTEAD.get((role, first), remedy)
    report.error(child, f"unknown {role} {first!r}{did_you_mean(first, names)}", remedy=remedy, place=child.key)
