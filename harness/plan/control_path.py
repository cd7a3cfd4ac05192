"""Nothing that watches, drives or heals a run may pass through what the run breaks. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from harness.errors import UnsafeError
from harness.model.plan import PlannedFault
from harness.model.stack import Stack
from harness.model.wiring import placeholders

__all__ = ["refuse_control_path_behind_fault"]


def refuse_control_path_behind_fault(faults: Sequence[PlannedFault], stack: Stack) -> None:
    """Raise UnsafeError when a probe, readiness, role or signal, or the fault proxy's own API, runs through a faulted link.

    A link is recognised by its placeholder and, where it listens at a fixed place, by that address.
    """
    faulted = {target.name for fault in faults for target in fault.targets if target.kind == "link"}
    fixed = {listen: name for name in sorted(faulted) if (listen := stack.links[name].listen) is not None}
    for who, text, remedy in _control_texts(stack):
        through = {argument for name, argument in placeholders(text) if name == "link" and argument in faulted}
        through |= {name for listen, name in fixed.items() if _mentions(text, listen)}
        for link in sorted(filter(None, through)):
            raise UnsafeError(f"{who} runs through link {link!r}, which a fault will break", remedy=remedy)


def _control_texts(stack: Stack) -> Iterator[tuple[str, str, str]]:
    """(who, text that holds its addresses, what to do about it) of everything that a run depends on."""
    own = "give the probe the instance's own address: ${addr:instance.port}"
    for probe in stack.probes.values():
        yield f"probe {probe.name!r}", json.dumps(probe.params), own
    for instance in stack.instances.values():
        if instance.ready is not None:
            yield f"`ready` of instance {instance.name!r}", json.dumps(instance.ready.probe.params), own
    for role in stack.roles.values():
        yield f"role {role.name!r}", json.dumps(role.params), "ask who holds it at an instance's own address"
    for signal in stack.signals:
        if signal.kind == "http":
            yield f"signal source {signal.source!r}", signal.source, "read events at the instance's own address"
    for export in stack.exports:
        text = export.http or json.dumps(export.argv)
        yield f"journal {export.name!r}", text, "ask for it at the instance's own address"
    if "://" in stack.fault_proxy:
        yield "the fault proxy's control API", stack.fault_proxy, "name the API's own address under `fault_proxy:`"


def _mentions(text: str, listen: str) -> bool:
    """Whether a text dials that "host:port": the same port at the same host, or at this machine by another name."""
    host, _, port = listen.rpartition(":")
    names = {host, "localhost", "127.0.0.1"} if host in ("127.0.0.1", "localhost", "0.0.0.0") else {host}
    if any(f"{name}:{port}" in text.split('"') for name in names):
        return True
    for word in text.replace('"', " ").split():
        parts = urlsplit(word)
        if parts.hostname in names and _port(parts.netloc) == port:
            return True
    return False


def _port(netloc: str) -> str:
    return netloc.rpartition("@")[2].rpartition(":")[2]
