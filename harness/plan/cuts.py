"""Two sides of instances -> what is cut between them: the links that run there, or, where none does, packets in the kernel."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from harness.errors import UnsafeError
from harness.model.catalog import FaultKind
from harness.model.experiment import FaultEntry, Selector
from harness.model.plan import CutEnd, Target
from harness.model.stack import Instance, Link, Stack
from harness.plan.selection import link_target, listed, matching, may_touch, opted_in

__all__ = ["between", "only_for_links"]

_SHARED = ipaddress.ip_address("127.0.0.1")
"""Where clients, probes and every instance without an address of its own come from."""
_OWNABLE = ipaddress.ip_network("127.0.0.0/8")
"""Where an address may be one's own: to any other address of this machine, clients connect *from* it."""
_OWN = "its own"
"""What a `CutEnd` calls the network namespace of one container."""
Side = Mapping[str, str | None]
"""Instance -> the role that it may hold; None for one that is on the side whoever holds what."""


def between(entry: FaultEntry, stack: Stack, kind: FaultKind) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The targets of a two-sided fault, and the instances of its first side, sorted.

    Links where links run between the sides; else, or with `via: nftables` besides, one cut. Who is on both sides counts for
    the first. Raises UnsafeError when neither can be.
    """
    assert entry.between is not None
    first, other = (_side(selectors, stack) for selectors in entry.between)
    second = {name: role for name, role in other.items() if first.get(name, "elsewhere") is not None}
    via = entry.params.get("via")
    isolated = all(stack.isolated(name) is not None for name in (*first, *second))
    if via not in (None, "nftables", "namespace") or (via == "namespace" and not isolated):
        raise UnsafeError(
            f"fault {entry.id!r}: `via: {via}` does not work between {listed(first)} and {listed(second)}",
            remedy="give their regions `isolation: netns`, or leave `via` out"
            if via == "namespace"
            else "leave `via` out, say `via: nftables`, or cut one container off with `via: disconnect` and `on:`",
        )
    links = list(_crossing(entry, first, second, stack))
    if links and "link" not in kind.targets:
        raise UnsafeError(
            f"fault {entry.id!r}: {kind.name} works on packets between the sides themselves, but"
            f" {listed(f'link {link.name}' for link in links)} carries them through the fault proxy",
            remedy="name sides that no link joins",
        )
    targets: list[Target] = []
    if links:
        _fits_links(entry, links)
        region = next((stack.instances[name].region for name in sorted(first)), None)
        crossed = (link_target(link, stack, entry.id, kind) for link in links)
        targets += [Target(kind="link", name=target.name, region=region) for target in crossed]
    if not links or via is not None:
        if "cut" not in kind.targets:
            raise UnsafeError(
                f"fault {entry.id!r}: no link runs between {listed(first)} and {listed(second)}",
                remedy="declare the path under `links:` so that it runs through the fault proxy",
            )
        for selector in (selector for side in entry.between for selector in side if selector.by != "role"):
            opted_in(selector, stack, entry.id)
        targets.append(_cut(entry, first, second, stack, kind))
    return tuple(targets), tuple(sorted(first))


def _side(selectors: Sequence[Selector], stack: Stack) -> dict[str, str | None]:
    """The instances of one side, in stack order."""
    fixed: set[str] = set()
    candidates: dict[str, str] = {}
    for selector in selectors:
        if selector.by == "role":
            for role in selector.names:
                candidates |= {one.name: role for one in stack.instances.values() if may_touch(one, stack)}
        else:
            found = matching(selector, stack)
            fixed |= {one.name for one in found if not selector.only_drillable or may_touch(one, stack)}
    return {
        name: None if name in fixed else candidates[name]
        for name in stack.instances
        if name in fixed or name in candidates
    }


# ---- links -----------------------------------------------------------------------------------------------------------


def _crossing(entry: FaultEntry, first: Side, second: Side, stack: Stack) -> Iterator[Link]:
    """The links that run between the sides, the way that is cut."""
    direction = entry.params.get("direction", "both")
    for link in stack.links.values():
        outward = link.source in first and link.to in second
        inward = link.source in second and link.to in first
        roles = {side.get(name) for side in (first, second) for name in (link.source, link.to)} - {None}
        if (outward or inward) and roles:
            raise UnsafeError(
                f"fault {entry.id!r}: link {link.name} runs between the sides, but who holds {listed(map(str, roles))}"
                " is known at apply only: a role cannot be a side of a partition over links",
                remedy="name instances, a service or a region",
            )
        if (outward and direction in ("both", "out")) or (inward and direction in ("both", "in")):
            yield link


def only_for_links(entry: FaultEntry, kind: FaultKind) -> None:
    """Raise UnsafeError for a fault on links alone (`on:`) that says what only works between two sides or on a container."""
    if not kind.two_sided:
        return
    said = [key for key in ("via", "networks") if entry.params.get(key)]
    said += [key for key, usual in (("style", "drop"), ("ports", ())) if (entry.params.get(key) or usual) != usual]
    if said:
        raise UnsafeError(
            f"fault {entry.id!r}: {listed(f'`{key}`' for key in said)} means nothing on a link, which the fault proxy cuts",
            remedy="leave it out, or name two sides with `between:`",
        )


def _fits_links(entry: FaultEntry, links: Sequence[Link]) -> None:
    for key, default in (("style", "drop"), ("ports", [])):
        if entry.params.get(key, default) not in (default, tuple(default)):
            raise UnsafeError(
                f"fault {entry.id!r}: `{key}` is for rules in the kernel, but the sides are joined by"
                f" {listed(f'link {link.name}' for link in links)}",
                remedy=f"leave `{key}` out, or name sides that no link joins",
            )


# ---- cuts ------------------------------------------------------------------------------------------------------------


def _cut(entry: FaultEntry, first: Side, second: Side, stack: Stack, kind: FaultKind) -> Target:
    for side in (first, second):
        if not side:
            raise UnsafeError(f"fault {entry.id!r}: a side has no instance", remedy="name who is on each side")
    boxed = {name: box for name in (*first, *second) if (box := _box(stack.instances[name], stack, kind)) is not None}
    if not boxed:
        _refuse_strangers(entry, (*first, *second), stack, kind)
    else:
        _refuse_mixed(entry, first, second, stack, boxed)
    _has_ports(entry, (*first, *second), stack)
    regions = {stack.instances[name].region for name in first}
    return Target(
        kind="cut",
        name=f"{_shown(first)} | {_shown(second)}",
        region=next(iter(regions)) if len(regions) == 1 else None,
        sides=(_ends(entry.id, first, stack, boxed), _ends(entry.id, second, stack, boxed)),
    )


def _box(one: Instance, stack: Stack, kind: FaultKind) -> str | None:
    """Whose network namespace it lives in: "its own", or its region's; None: this machine's, or one that cannot be entered."""
    region = stack.isolated(one.name)
    if region is not None:
        return region if "netns" in kind.boxed else None
    return _OWN if one.host.kind in kind.boxed else None


def _refuse_strangers(entry: FaultEntry, both: Sequence[str], stack: Stack, kind: FaultKind) -> None:
    for name in both:
        host = stack.instances[name].host.kind
        if host not in kind.ends:
            raise UnsafeError(
                f"fault {entry.id!r}: rules in the kernel cannot cut off {name}, a {host} host",
                remedy=f"works on: {listed(kind.ends)}; or declare the path under `links:`",
            )


def _refuse_mixed(entry: FaultEntry, first: Side, second: Side, stack: Stack, boxed: Mapping[str, str]) -> None:
    """Raise UnsafeError where rules inside network namespaces would miss somebody, or hit somebody who is not named."""
    own = {name for name, box in boxed.items() if box == _OWN}
    strangers = [name for name in (*first, *second) if name not in boxed] or [name for name in boxed if name not in own]
    if len(boxed) < len({*first, *second}) or (own and strangers):
        raise UnsafeError(
            f"fault {entry.id!r}: rules inside network namespaces cannot cut {listed(own or boxed)} off from"
            f" {listed(strangers)}, which lives in another sort of network",
            remedy="name two sides of containers, or two regions with `isolation: netns`; or declare the path under `links:`",
        )
    for side in (first, second):
        for region in {boxed[name] for name in side} - {_OWN}:
            others = [
                one.name
                for one in stack.instances.values()
                if one.region == region and side.get(one.name, _OWN) is not None
            ]
            if others:
                raise UnsafeError(
                    f"fault {entry.id!r}: region {region} is one host in its network namespace, and {listed(others)} would"
                    " be cut off too",
                    remedy=f"name the whole region: {{region: {region}}}",
                )


def _ends(fault: str, side: Side, stack: Stack, boxed: Mapping[str, str]) -> tuple[CutEnd, ...]:
    if boxed:
        return tuple(CutEnd(instance=name, netns=boxed[name], role=side[name]) for name in side)
    return tuple(_end(fault, stack.instances[name], side, stack) for name in side)


def _end(fault: str, one: Instance, side: Side, stack: Stack) -> CutEnd:
    role = side[one.name]
    # Those on its side may share with it; not so a role's candidates, of which one at a time is cut off from the others.
    outside = [
        other
        for other in stack.instances.values()
        if other.name != one.name and (role is not None or side.get(other.name, "elsewhere") is not None)
    ]
    address = one.address if _ownable(one.address) and _own("address", one, outside) else None
    user = one.user if one.user is not None and _own("user", one, outside) else None
    if address is None and user is None:
        shared = [
            f"; {what} {value} is also {listed(other.name for other in outside if getattr(other, what) == value)}'s"
            for what, value in (("address", one.address if _ownable(one.address) else None), ("user", one.user))
            if value is not None
        ]
        raise UnsafeError(
            f"fault {fault!r}: rules in the kernel cannot tell {one.name} from clients{''.join(shared)}",
            remedy="give it its own address or user: `address: 127.0.1.1` (any of 127.0.0.0/8 but 127.0.0.1), or"
            ' `user: "20001"`',
        )
    return CutEnd(instance=one.name, address=address, user=user, role=role)


def _ownable(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed in _OWNABLE and parsed != _SHARED


def _own(what: str, one: Instance, outside: Sequence[Instance]) -> bool:
    return all(getattr(other, what) != getattr(one, what) for other in outside)


def _has_ports(entry: FaultEntry, both: Sequence[str], stack: Stack) -> None:
    known = {port for name in both for port in stack.instances[name].ports}
    unknown = [name for name in entry.params.get("ports") or () if name not in known]
    if unknown:
        raise UnsafeError(
            f"fault {entry.id!r}: neither side has a port {listed(map(repr, unknown))}",
            remedy=f"ports of the two sides: {listed(known)}",
        )
    if not known:
        raise UnsafeError(
            f"fault {entry.id!r}: neither side has a port, so nothing could show that the cut is there",
            remedy="name the ports on which they reach each other under `ports:` in the stack file",
        )


def _shown(side: Side) -> str:
    return ", ".join(dict.fromkeys(name if role is None else f"the holder of {role}" for name, role in side.items()))
