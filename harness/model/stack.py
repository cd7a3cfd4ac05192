"""The running system under drill, as its stack file describes it. Text may still hold `${port:...}` and the like: see `wiring`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.model.fields import JsonObject

__all__ = [
    "AlertsSpec",
    "Blackout",
    "ExportSpec",
    "HostSpec",
    "Instance",
    "Link",
    "ProbeSpec",
    "Ready",
    "Region",
    "RoleSpec",
    "SignalSpec",
    "Stack",
]

Serves = Literal["primary", "standby", "active"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A fault domain. `entry` is the URL at which clients (and final reads) reach this region alone.

    `isolation` netns: its instances, which the run starts, share a network namespace of their own.
    """

    name: str
    serves: Serves | None = None
    entry: str | None = None
    isolation: Literal["netns"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """What an instance runs on: a host kind's name and its validated parameters (`kind` is one of their keys)."""

    kind: str
    params: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """A question asked of the stack again and again. `timeout_ns` bounds one sample; `every_ns` separates their starts."""

    name: str
    kind: str
    params: JsonObject
    every_ns: int = 1_000_000_000
    timeout_ns: int = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """When an instance counts as up: the probe must succeed within this long of its start."""

    probe: ProbeSpec
    within_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running thing. `ports` maps a port's name to its fixed number, or None where a free one is allocated.

    `disk_bytes` is the size of the file system of its own that its directory is; 0: it keeps nothing on disk; None: not said.
    """

    name: str
    host: HostSpec
    region: str | None = None
    service: str | None = None
    ports: Mapping[str, int | None] = field(default_factory=dict)
    ready: Ready | None = None
    needs: tuple[str, ...] = ()
    address: str = "127.0.0.1"
    user: str | None = None
    files: tuple[str, ...] = ()
    prepare: tuple[tuple[str, ...], ...] = ()
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network path that runs through the fault proxy, from one instance to another's port.

    `listen` is "host:port" or None (a free loopback port is allocated). `to_port` names a port of `to`; None when `to` is
    an external endpoint, whose URL gives host and port.
    """

    name: str
    source: str
    to: str
    to_port: str | None = None
    listen: str | None = None
    http: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """A job that one instance holds at a time: a probe kind whose answer is the holder's name."""

    name: str
    kind: str
    params: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSpec:
    """A source of authoritative stack events: lines of an instance's log that match, or a URL that lists events."""

    kind: Literal["log", "http", "effects"]
    source: str
    match: str | None = None
    event: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSpec:
    """A journal of the stack's own, handed out whole when asked: by a URL, or printed by a command (`argv`).

    `keys`: of each writer, the Ed25519 public key (hex) that its entries must be signed with; none: signatures are not judged.
    """

    name: str
    http: str | None = None
    argv: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsSpec:
    """Alerts are received during runs, as Alertmanager's webhooks send them. `listen` is "host:port", None for a free port."""

    listen: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A time in which nothing may be broken, and why. Instants are ISO 8601 in UTC; `until_utc` is the first free one."""

    from_utc: str
    until_utc: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack document, complete. `base_dir` is the absolute folder of the document, where relative paths start."""

    name: str
    environment: str = "local"
    base_dir: str
    regions: Mapping[str, Region] = field(default_factory=dict)
    instances: Mapping[str, Instance]
    links: Mapping[str, Link] = field(default_factory=dict)
    drillable: tuple[str, ...] = ()
    roles: Mapping[str, RoleSpec] = field(default_factory=dict)
    entry: str | None = None
    fault_proxy: str = "embedded"
    probes: Mapping[str, ProbeSpec] = field(default_factory=dict)
    signals: tuple[SignalSpec, ...] = ()
    exports: tuple[ExportSpec, ...] = ()
    alerts: AlertsSpec | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    blackouts: tuple[Blackout, ...] = ()

    def isolated(self, instance: str | None) -> str | None:
        """The region whose network namespace an instance lives in; None for one that lives in this machine's, or no instance."""
        one = self.instances.get(instance or "")
        region = self.regions.get(one.region or "") if one is not None else None
        return region.name if region is not None and region.isolation == "netns" else None
