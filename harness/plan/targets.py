"""Which things a fault will touch: resolved once, drawn from the seed, checked against opt-in and caps. No match is a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from harness.errors import UnsafeError
from harness.model.catalog import Catalog, FaultKind
from harness.model.experiment import BlastRadius, FaultEntry
from harness.model.plan import PlannedFault, Target
from harness.model.stack import Instance, Stack
from harness.plan.cuts import between, only_for_links
from harness.plan.selection import draw, link_target, listed, may_touch, opted_in
from harness.units import parse_duration

__all__ = ["check_caps", "refuse_overlaps", "resolve_targets"]


def resolve_targets(
    entry: FaultEntry, stack: Stack, catalog: Catalog, seed: int
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The targets of one fault, in stack order, and the instances of a partition's first side.

    Raises UnsafeError when nothing matches, a target is not drillable, or the fault cannot work on its host.
    """
    kind = catalog.fault(entry.kind)
    if entry.between is not None:
        return between(entry, stack, kind)
    if entry.on is None:  # spec refuses that for all but these
        whole: Literal["stack", "load"] = "load" if "load" in kind.targets else "stack"
        return (Target(kind=whole, name=whole),), ()
    selector = entry.on
    if selector.by == "role":
        return tuple(_role(name, stack, kind, entry, catalog) for name in selector.names), ()
    if selector.by == "link":
        only_for_links(entry, kind)
        links = [stack.links[name] for name in selector.names]
        drawn = draw(links, selector.pick, seed, entry.id)
        return tuple(link_target(link, stack, entry.id, kind) for link in drawn), ()
    picked = draw(opted_in(selector, stack, entry.id), selector.pick, seed, entry.id)
    return tuple(_instance_target(instance, kind, entry, catalog) for instance in picked), ()


def _instance_target(instance: Instance, kind: FaultKind, entry: FaultEntry, catalog: Catalog) -> Target:
    fault, params = entry.id, entry.params
    host = instance.host.kind
    refused = kind.refusal(params, host)
    if refused is not None:
        raise UnsafeError(
            f"fault {fault!r}: {kind.name} does not work on {instance.name}, a {host} host", remedy=refused
        )
    lacking = kind.lacks(params, instance) if kind.lacks is not None else None
    if lacking is not None:
        raise UnsafeError(f"fault {fault!r}: {kind.name} cannot be had on {instance.name}", remedy=lacking)
    if kind.needs_start and not catalog.host(host).can_start(instance.host.params):
        raise UnsafeError(
            f"fault {fault!r}: nothing could bring {instance.name} back after {kind.name}",
            remedy=f"give {instance.name} a `start:` command in the stack file",
        )
    return Target(kind="instance", name=instance.name, region=instance.region, host=host)


def _role(name: str, stack: Stack, kind: FaultKind, entry: FaultEntry, catalog: Catalog) -> Target:
    fitting = [
        one
        for one in stack.instances.values()
        if may_touch(one, stack) and kind.refusal(entry.params, one.host.kind) is None
    ]
    if not fitting:
        raise UnsafeError(f"fault {entry.id!r}: no drillable instance could hold role {name!r}")
    candidates = tuple(_instance_target(one, kind, entry, catalog).name for one in fitting)
    return Target(kind="role", name=name, candidates=candidates)


def check_caps(faults: Sequence[PlannedFault], stack: Stack, caps: BlastRadius) -> None:
    """Raise UnsafeError when the faults together touch more regions, or a larger share of the instances, than allowed.

    Of a cut the smaller side counts: it is cut off from the rest. A role counts as one instance, in one region more unless
    all its candidates are in regions that are touched anyway.
    """
    targets = [target for fault in faults for target in fault.targets]
    touched = {target.name for target in targets if target.kind == "instance"}
    roles = {target.name: target.candidates for target in targets if target.kind == "role"}
    for target in targets:
        if target.kind == "cut":
            fixed, held = _cut_off(target)
            touched |= fixed
            roles |= held
    regions = {target.region for target in targets if target.region and target.kind != "cut"}
    regions |= {region for name in touched if (region := stack.instances[name].region)}
    moving = {name for name, who in roles.items() if {stack.instances[one].region for one in who} - regions - {None}}
    if len(regions) + len(moving) > caps.regions:
        where = listed([*regions, *(f"that of the holder of {name}" for name in moving)])
        raise UnsafeError(
            f"the timeline touches {len(regions) + len(moving)} regions ({where}), more than the cap of {caps.regions}",
            remedy=f"raise `blast_radius: {{regions: {len(regions) + len(moving)}}}` if that is meant",
        )
    count = len(touched) + sum(not touched.issuperset(who) for who in roles.values())
    ours = [instance for instance in stack.instances.values() if instance.host.kind != "external"]
    if ours and count > caps.share_ratio * len(ours):
        share = count / len(ours)
        raise UnsafeError(
            f"the timeline touches {count} of {len(ours)} instances ({share:.0%}),"
            f" more than the cap of {caps.share_ratio:.0%}",
            remedy=f'raise `blast_radius: {{share: "{math.ceil(share * 100)}%"}}` if that is meant',
        )


def _cut_off(target: Target) -> tuple[set[str], dict[str, tuple[str, ...]]]:
    """The instances of a cut's smaller side, and its roles with their candidates; a role counts as one. A tie: the first side."""
    sides = []
    for side in target.sides:
        fixed = {end.instance for end in side if end.role is None}
        roles = {end.role for end in side if end.role is not None}
        held = {role: tuple(end.instance for end in side if end.role == role) for role in roles}
        sides.append((fixed, held))
    return min(sides, key=lambda side: len(side[0]) + len(side[1]))


def refuse_overlaps(faults: Sequence[PlannedFault], catalog: Catalog) -> None:
    """Raise UnsafeError when two faults would at once hold what only one can hold: see `FaultKind.holds`.

    Faults of one kind nest when they do the same, or when each adds a layer of its own. A fault on a role may fall on any of
    its candidates, which are not held against it here: the run refuses when it does.
    """
    for index, one in enumerate(faults):
        for other in faults[index + 1 :]:
            shared = {(t.kind, t.name) for t in one.targets} & {(t.kind, t.name) for t in other.targets}
            if shared and not _nests(one, other, catalog) and _together(one, other, catalog):
                raise UnsafeError(
                    f"faults {one.id!r} and {other.id!r} stand on {listed(name for _, name in shared)} at the same time",
                    remedy="let the first end before the second begins",
                )


def _nests(one: PlannedFault, other: PlannedFault, catalog: Catalog) -> bool:
    kind, second = catalog.fault(one.kind), catalog.fault(other.kind)
    if kind.name == second.name and not kind.instant and (kind.layers or one.params == other.params):
        return True
    mine = {what.format(**one.params) for what in kind.holds}
    theirs = {what.format(**other.params) for what in second.holds}
    return not (mine & theirs or "*" in mine or "*" in theirs)


def _together(one: PlannedFault, other: PlannedFault, catalog: Catalog) -> bool:
    first, second = sorted((one, other), key=lambda fault: fault.at_ns)
    lasts_ns = _lasts_ns(first, catalog.fault(first.kind))
    return first.at_ns == second.at_ns or lasts_ns is None or second.at_ns < first.at_ns + lasts_ns


def _lasts_ns(fault: PlannedFault, kind: FaultKind) -> int | None:
    """How long it stands, as planned; None until heal."""
    if not kind.instant:
        return fault.for_ns
    return 0 if kind.lasts is None else parse_duration(fault.params[kind.lasts])
