"""A stack document, merged and interpolated, to a `Stack`. Here: what its names refer to. Not here: what any experiment needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from harness.model.catalog import Catalog, HostKind
from harness.model.stack import (
    AlertsSpec,
    HostSpec,
    Instance,
    Link,
    ProbeSpec,
    Ready,
    Region,
    RoleSpec,
    SignalSpec,
    Stack,
)
from harness.spec.build_blackout import build_blackouts
from harness.spec.build_exports import build_exports
from harness.spec.decode import decode, fields_of
from harness.spec.documents import AlertsDoc, InstanceDoc, LinkDoc, ProbeDoc, ProxyDoc, ReadyDoc, SignalDoc, StackDoc
from harness.spec.interpolate import absolute, anchored
from harness.spec.isolation import check_isolation, host_of
from harness.spec.kinds import keyed, split
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.report import At, Report

__all__ = ["CLIENTS", "Facts", "build_stack", "facts_of", "null_is_meant", "wired"]

CLIENTS = "clients"
"""The `from` of a link that the load itself comes through."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_DISK_LEAST, _DISK_MOST = 16 << 20, 16 << 30
_FALLBACK: Mapping[str, str | int | dict[str, object]] = {
    "version": 1,
    "kind": "stack",
    "name": "unnamed",
    "instances": {},
}


def wired(steps: tuple[str | int, ...]) -> bool:
    """Whether the run resolves placeholders in the text at these steps of a stack document."""
    match steps:
        case ("entry" | "fault_proxy" | "probes" | "roles" | "signals", *_) | ("regions", _, "entry"):
            return True
        case ("instances", _, "host" | "ready" | "prepare" | "files", *_):
            return True
    return False


def null_is_meant(steps: tuple[str | int, ...]) -> bool:
    """Whether an empty value at these steps is a kind's affair."""
    match steps:
        case ("instances", _, "host" | "ready", _, *_) | ("probes" | "roles", _, _, *_):
            return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a stack document declares by name, readable even when something else in it is wrong."""

    name: str
    instances: Mapping[str, tuple[str | None, str | None, str | None]]
    """Instance -> region, service, host kind."""
    regions: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    with_entry: tuple[str, ...] = ()
    entry: bool = False
    alerts: bool = False
    journals: bool = False
    drillable: tuple[str, ...] = ()

    @property
    def services(self) -> tuple[str, ...]:
        """Every service that some instance is one of."""
        return tuple(dict.fromkeys(service for _, service, _ in self.instances.values() if service is not None))


def facts_of(root: At, catalog: Catalog) -> Facts:
    """The names that a stack document declares. Wrong shapes are passed over: `build_stack` reports them."""
    instances = {}
    for at in _each(root, "instances"):
        host = at.child("host")
        hosts = catalog.names("host")
        kind = None if host is None else next((key for key in host.keys if key in hosts), None)
        instances[at.name] = (_text(at, "region"), _text(at, "service"), kind)
    regions = _each(root, "regions")
    drillable = root.child("drillable")
    return Facts(
        name=_text(root, "name") or "unnamed",
        instances=instances,
        regions=tuple(at.name for at in regions),
        links=tuple(at.name for at in _each(root, "links")),
        roles=tuple(at.name for at in _each(root, "roles")),
        probes=tuple(at.name for at in _each(root, "probes")),
        with_entry=tuple(at.name for at in regions if at.child("entry") is not None),
        entry=root.child("entry") is not None,
        alerts=root.walk("signals", "alerts") is not None,
        journals=root.walk("signals", "journals", 0) is not None,
        drillable=tuple(at.text or "" for at in drillable.children()) if drillable is not None else (),
    )


def _each(root: At, key: str) -> list[At]:
    at = root.child(key)
    return list(at.children()) if at is not None and isinstance(at.node, MapNode) else []


def _text(at: At, key: str) -> str | None:
    child = at.child(key)
    return None if child is None else child.text


@dataclass(slots=True, kw_only=True)
class _Builder:
    root: At
    catalog: Catalog
    report: Report
    facts: Facts
    taken: dict[str, str] = field(default_factory=dict)

    def names(self, key: str) -> list[At]:
        """The entries of one of the document's mappings, names checked."""
        entries = _each(self.root, key)
        for at in entries:
            if not _NAME.fullmatch(at.name) or (key == "instances" and at.name == CLIENTS):
                message = f"expected a name of letters, digits, - and _, got {at.name!r}"
                if at.name == CLIENTS:
                    message = f"an instance cannot be called {CLIENTS!r}: links use it for the load itself"
                self.report.error(at, message, place=at.key)
        return entries

    def expect(self, at: At | None, what: str, known: tuple[str, ...], name: str | None = None) -> None:
        wanted = name if name is not None else (at.text if at is not None else None)
        if at is not None and wanted is not None and wanted not in known:
            self.report.unknown(at, what, known, name=wanted)

    def instance(self, at: At) -> Instance | None:
        doc = decode(at, InstanceDoc, self.report, fallback={"host": {}})
        if doc is None:
            return None
        self.expect(at.child("region"), "region", self.facts.regions)
        needs = at.child("needs")
        for need in needs.children() if needs is not None else ():
            self.expect(need, "instance", tuple(self.facts.instances))
            if need.text == at.name:
                self.report.error(need, f"{at.name} cannot need itself")
        host_at = at.child("host")
        host = keyed(host_at, "host", self.catalog, self.report) if host_at is not None else None
        ports: dict[str, int | None] = (
            dict(doc.ports) if isinstance(doc.ports, dict) else dict.fromkeys(doc.ports or ())
        )
        located = host is not None and self.catalog.host(host.kind.name).located
        self._ports(at, ports, None if located else host_of(self.root, doc.region) or doc.address)
        ready = self.ready(at)
        if host is None:
            return None
        files, prepare = at.child("files"), at.child("prepare")
        return Instance(
            name=at.name,
            host=HostSpec(kind=host.kind.name, params=host.params),
            region=doc.region,
            service=doc.service,
            ports=ports,
            ready=ready,
            needs=tuple(doc.needs),
            address=doc.address,
            user=doc.user,
            files=() if files is None else tuple(_file(item.node) for item in files.children()),
            prepare=() if prepare is None else tuple(_argv(item.node) for item in prepare.children()),
            disk_bytes=self._disk(at, doc.disk, self.catalog.host(host.kind.name)),
        )

    def _disk(self, at: At, disk: int | str | None, kind: HostKind) -> int | None:
        """Its size in bytes, 0 for none. Reports a size out of bounds, and a host that the run does not start."""
        declared = at.child("disk")
        if declared is None or disk is None or isinstance(disk, str):
            return None if disk is None else 0
        if not kind.started_by_run or kind.located:
            message = f"no host of kind {kind.name} has a directory of its own"
            self.report.error(declared, message, remedy="leave `disk` out, or host it as process or python")
        elif not _DISK_LEAST <= disk <= _DISK_MOST:
            self.report.error(declared, f"expected 16MiB to 16GiB, or none, got {declared.text!r}")
        return disk

    def _ports(self, at: At, ports: Mapping[str, int | None], address: str | None) -> None:
        """Check them. `address` None: only the run can tell where they are, so that equal numbers are no clash."""
        declared = at.child("ports")
        if address is None and declared is not None and isinstance(declared.node, ListNode):
            message = "the ports of a container are its own: they cannot be chosen here"
            self.report.error(declared, message, remedy="give their numbers, as in {http: 8080}")
            return
        seen: set[str] = set()
        for item in declared.children() if declared is not None else ():
            if isinstance(item.node, ScalarNode) and isinstance(declared.node if declared else None, ListNode):
                if str(item.value) in seen:
                    self.report.error(item, f"duplicate port {item.value!r}")
                seen.add(str(item.value))
                continue
            number = ports.get(item.name)
            if number is not None:
                if not _NAME.fullmatch(item.name):
                    self.report.error(
                        item, f"expected a name of letters, digits, - and _, got {item.name!r}", place=item.key
                    )
                if address is not None:
                    self.take(item, f"{address}:{number}", f"{at.name}.{item.name}")

    def take(self, at: At, address: str, owner: str) -> None:
        """Note that something listens on an address; two that do are a problem."""
        other = self.taken.setdefault(address, owner)
        if other != owner:
            self.report.error(
                at, f"{address} is already taken by {other}", remedy="give one of them another port or address"
            )

    def ready(self, instance: At) -> Ready | None:
        at = instance.child("ready")
        if at is None:
            return None
        reserved, _ = split(at, fields_of(ReadyDoc))
        doc = decode(reserved, ReadyDoc, self.report)
        kinded = keyed(at, "probe", self.catalog, self.report, ReadyDoc)
        if doc is None or kinded is None:
            return None
        probe = ProbeSpec(
            name=f"{instance.name}-ready",
            kind=kinded.kind.name,
            params=kinded.params,
            every_ns=doc.every,
            timeout_ns=doc.timeout,
        )
        return Ready(probe=probe, within_ns=doc.within)

    def probe(self, at: At) -> ProbeSpec | None:
        reserved, _ = split(at, fields_of(ProbeDoc))
        doc = decode(reserved, ProbeDoc, self.report)
        kinded = keyed(at, "probe", self.catalog, self.report, ProbeDoc)
        if doc is None or kinded is None:
            return None
        if doc.every <= 0:
            self.report.error(at.child("every") or at, "expected a duration above 0")
        return ProbeSpec(
            name=at.name, kind=kinded.kind.name, params=kinded.params, every_ns=doc.every, timeout_ns=doc.timeout
        )

    def role(self, at: At) -> RoleSpec | None:
        kinded = keyed(at, "probe", self.catalog, self.report)
        return None if kinded is None else RoleSpec(name=at.name, kind=kinded.kind.name, params=kinded.params)

    def link(self, at: At, doc: LinkDoc) -> Link:
        if doc.source != CLIENTS:
            self.expect(at.child("from"), "instance", tuple(self.facts.instances))
        to, _, port = doc.to.partition(":")
        target = at.child("to")
        self.expect(target, "instance", tuple(self.facts.instances), to)
        if doc.listen is not None:
            listen = at.child("listen")
            assert listen is not None
            self.take(listen, doc.listen, f"link {at.name}")
        to_port = self._to_port(target, to, port) if target is not None and to in self.facts.instances else port or None
        return Link(name=at.name, source=doc.source, to=to, to_port=to_port, listen=doc.listen, http=doc.http)

    def _to_port(self, at: At, to: str, port: str) -> str | None:
        declared = self.root.walk("instances", to, "ports")
        ports: tuple[str, ...] = ()
        if declared is not None:
            ports = declared.keys or tuple(str(item.value) for item in declared.children())
        if port:
            self.expect(at, f"port of {to}", ports, port)
            return port
        if len(ports) == 1:
            return ports[0]
        if ports or self.facts.instances[to][2] != "external":
            remedy = f'write "{to}:{ports[0] if ports else "PORT"}"'
            self.report.error(at, f"expected INSTANCE:PORT, got {to!r}", remedy=remedy)
        return None

    def drillable(self) -> tuple[str, ...]:
        at = self.root.child("drillable")
        for item in at.children() if at is not None else ():
            by, colon, name = (item.text or "").rpartition(":")
            known: Mapping[str, tuple[str, ...]] = {
                "": tuple(self.facts.instances),
                "instance": tuple(self.facts.instances),
                "region": self.facts.regions,
                "service": self.facts.services,
                "link": self.facts.links,
            }
            if item.text is None:
                continue
            if colon and by not in known:
                self.report.unknown(item, "sort of target", tuple(sorted(filter(None, known))), name=by)
            elif not any(fnmatchcase(one, name) for one in known[by]) and name != "*":
                self.report.unknown(item, by or "instance", known[by], name=name)
        return () if at is None else tuple(item.text or "" for item in at.children())

    def signals(self, doc: StackDoc) -> tuple[SignalSpec, ...]:
        if doc.signals is None:
            return ()
        made = [
            self.signal(at, signal, "events")
            for index, signal in enumerate(doc.signals.events)
            if (at := self.root.walk("signals", "events", index)) is not None
        ]
        made += [
            self.signal(at, signal, "effects")
            for index, signal in enumerate(doc.signals.effects)
            if (at := self.root.walk("signals", "effects", index)) is not None
        ]
        return tuple(made)

    def alerts(self, doc: StackDoc) -> AlertsSpec | None:
        """Where alerts are received; a problem when nothing of the stack could know where."""
        at = self.root.walk("signals", "alerts")
        if doc.signals is None or doc.signals.alerts is None or at is None:
            return None
        if isinstance(doc.signals.alerts, AlertsDoc):
            listen = at.child("webhook")
            assert listen is not None
            self.take(listen, doc.signals.alerts.webhook, "signals.alerts")
            return AlertsSpec(listen=doc.signals.alerts.webhook)
        if not _mentions(self.root.node, "${run:alerts}"):
            message = "nothing in this stack is told where alerts are received"
            remedy = 'use ${run:alerts} in an instance, or name a place: {webhook: "127.0.0.1:19093"}'
            self.report.error(at, message, remedy=remedy)
        return AlertsSpec()

    def signal(self, at: At, doc: SignalDoc, sort: Literal["events", "effects"]) -> SignalSpec:
        if (doc.log is None) == (doc.http is None):
            self.report.error(at, "expected one of log (an instance) and http (a URL)")
        self.expect(at.child("log"), "instance", tuple(self.facts.instances))
        if doc.log is not None and doc.match is None:
            self.report.error(at, "a log needs `match`, a regular expression for the lines that matter")
        if sort == "events" and doc.event is None:
            self.report.error(at, "an event needs its name, `event`")
        if sort == "effects" and doc.http is not None:
            self.report.error(
                at, "effects are read from a log in this version", remedy="as in {log: INSTANCE, match: ...}"
            )
        matcher = at.child("match")
        if doc.match is not None and matcher is not None:
            try:
                groups = re.compile(doc.match).groupindex
                if sort == "effects" and "idem" not in groups:
                    self.report.error(
                        matcher,
                        f"expected a group that names what ran, got {doc.match!r}",
                        remedy="as in 'executed (?P<idem>\\\\S+)'",
                    )
            except re.error as exc:
                self.report.error(matcher, f"expected a regular expression, got {doc.match!r}: {exc}")
        kind: Literal["log", "http", "effects"] = "effects" if sort == "effects" else "log" if doc.log else "http"
        return SignalSpec(kind=kind, source=doc.log or doc.http or "", match=doc.match, event=doc.event)


def build_stack(root: At, catalog: Catalog, report: Report, *, path: Path, params: Mapping[str, str]) -> Stack | None:
    """The stack in a merged, interpolated document; None, or one not to be used, when the report has failed."""
    doc = decode(root, StackDoc, report, fallback=dict(_FALLBACK))  # type: ignore[arg-type]
    if doc is None:
        return None
    made = _Builder(root=root, catalog=catalog, report=report, facts=facts_of(root, catalog))
    instances = {at.name: made.instance(at) for at in made.names("instances")}
    declared = root.child("instances")
    if declared is not None and isinstance(declared.node, MapNode) and not instances:
        report.error(declared, "a stack has at least one instance")
    made.names("regions")
    check_isolation(
        root,
        {name for name, region in doc.regions.items() if region.isolation is not None},
        made.facts.instances,
        report,
    )
    links = {at.name: made.link(at, doc.links[at.name]) for at in made.names("links") if at.name in doc.links}
    roles = {at.name: made.role(at) for at in made.names("roles")}
    probes = {at.name: made.probe(at) for at in made.names("probes")}
    _refuse_circles(made)
    return Stack(
        name=doc.name,
        environment=doc.environment,
        base_dir=str(path.absolute().parent),
        regions={
            name: Region(name=name, serves=region.serves, entry=region.entry, isolation=region.isolation)
            for name, region in doc.regions.items()
        },
        instances={name: instance for name, instance in instances.items() if instance is not None},
        links=links,
        drillable=made.drillable(),
        roles={name: role for name, role in roles.items() if role is not None},
        entry=doc.entry,
        fault_proxy=doc.fault_proxy.toxiproxy if isinstance(doc.fault_proxy, ProxyDoc) else doc.fault_proxy,
        probes={name: probe for name, probe in probes.items() if probe is not None},
        signals=made.signals(doc),
        exports=build_exports(root, doc.signals, report),
        alerts=made.alerts(doc),
        params=params,
        blackouts=build_blackouts(root, doc.blackout, report),
    )


def _refuse_circles(made: _Builder) -> None:
    """Instances that wait for each other never start."""
    needs = {at.name: at.child("needs") for at in _each(made.root, "instances")}

    def reaches(name: str, goal: str, seen: set[str]) -> bool:
        at = needs.get(name)
        for item in at.children() if at is not None else ():
            if item.text == goal:
                return True
            if item.text is not None and item.text not in seen and item.text != name:
                seen.add(item.text)
                if reaches(item.text, goal, seen):
                    return True
        return False

    for name, at in needs.items():
        for item in at.children() if at is not None else ():
            if item.text is not None and item.text != name and reaches(item.text, name, {item.text}):
                made.report.error(item, f"{name} and {item.text} need each other, so neither can start")


def _mentions(node: Node, text: str) -> bool:
    """Whether a text stands in any value of it."""
    match node:
        case MapNode():
            return any(_mentions(entry.value, text) for entry in node.entries.values())
        case ListNode():
            return any(_mentions(item, text) for item in node.items)
        case ScalarNode():
            return isinstance(node.value, str) and text in node.value


def _file(node: Node) -> str:
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str) or node.value.startswith("${"):
        return str(getattr(node, "value", ""))
    return absolute(node.value, node.place.source, wired=True)


def _argv(node: Node) -> tuple[str, ...]:
    node = anchored(node, text=True)
    return tuple(str(getattr(item, "value", "")) for item in node.items) if isinstance(node, ListNode) else ()
