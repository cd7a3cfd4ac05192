"""Regions with `isolation: netns`: what of the document could not work from inside a network namespace of their own."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Set

from harness.model.wiring import placeholders
from harness.spec.nodes import ListNode, MapNode
from harness.spec.report import At, Report

__all__ = ["check_isolation", "host_of"]

_HOSTS = ("process", "python")
_RUNS_INSIDE = ("host", "prepare", "files")
"""What of an instance is resolved for itself; `ready` is asked from outside."""


def host_of(root: At, region: str | None) -> str | None:
    """What stands for the address of a region that is a host of its own, where ports are compared; None for any other."""
    isolation = None if region is None else root.walk("regions", region, "isolation")
    return None if isolation is None or isolation.text != "netns" else f"the network namespace of {region}"


def check_isolation(
    root: At, isolated: Set[str], instances: Mapping[str, tuple[str | None, str | None, str | None]], report: Report
) -> None:
    """Report every problem of isolated regions. `instances` is instance -> region, service, host kind."""
    inside = {name for name, (region, _, _) in instances.items() if region in isolated}
    for name in sorted(inside):
        at = root.walk("instances", name)
        if at is not None:
            _instance(at, instances[name], inside, root, report)
    links = root.child("links")
    for link in links.children() if links is not None else ():
        source, listen = link.child("from"), link.child("listen")
        if source is not None and source.text in inside and listen is not None and _is_loopback(listen.text or ""):
            report.error(
                listen,
                f"{source.text} lives in a network namespace, which does not reach {listen.text}",
                remedy="leave `listen` out: the link then listens at the namespace's gateway",
            )


def _instance(
    at: At, facts: tuple[str | None, str | None, str | None], inside: Set[str], root: At, report: Report
) -> None:
    region, _, kind = facts
    if kind is not None and kind not in _HOSTS:
        report.error(
            at.child("host") or at,
            f"region {region} has `isolation: netns`, and a {kind} host cannot be put into a network namespace",
            remedy=f"host it as {' or '.join(_HOSTS)}, or name another region",
        )
    address = at.child("address")
    if address is not None:
        message = f"the address is that of region {region}, which `isolation: netns` chooses"
        report.error(address, message, remedy="leave `address` out")
    for key in _RUNS_INSIDE:
        for text in _texts(at.child(key)):
            for name, argument in placeholders(text.text or ""):
                if name == "run" and argument == "alerts":
                    report.error(text, f"{at.name} lives in a network namespace, from which alerts cannot be sent yet")
                other = (argument or "").rpartition(".")[0] or (argument or "")
                place = root.walk("instances", other, "address")
                lives = root.walk("instances", other)
                own = place.text if place is not None and place.text is not None else "127.0.0.1"
                if (
                    name == "addr"
                    and lives is not None
                    and other not in inside
                    and _outside(lives)
                    and _is_loopback(own)
                ):
                    report.error(
                        text,
                        f"{at.name} lives in a network namespace, which does not reach {other} at {own}",
                        remedy=f"lead there with a link, or give the region of {other} `isolation: netns` too",
                    )


def _outside(instance: At) -> bool:
    """Whether where it is reached is what the document says, and not an external URL's."""
    host = instance.child("host")
    return host is None or "external" not in host.keys


def _texts(at: At | None) -> Iterator[At]:
    if at is None:
        return
    if isinstance(at.node, (MapNode, ListNode)):
        for child in at.children():
            yield from _texts(child)
    elif at.text is not None:
        yield at


def _is_loopback(place: str) -> bool:
    address = place.rpartition(":")[0] or place
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False
