"""Which things a fault will touch: resolved once, drawn from the seed, checked against opt-in and caps. No match is a refusal."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from harness.errors import UnsafeError
from harness.model.catalog import Catalog, FaultKind
from harness.model.experiment import BlastRadius, FaultEntry, Selector
from harness.model.plan import PlannedFault, Target
from harness.model.stack import Instance, Link, Stack
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
        return _between(entry, stack)
    if entry.on is None:  # spec refuses that for all but these
        whole: Literal["stack", "load"] = "load" if "load" in kind.targets else "stack"
        return (Target(kind=whole, name=whole),), ()
    selector = entry.on
    if selector.by == "role":
        return tuple(_role(name, stack, kind, entry) for name in selector.names), ()
    if selector.by == "link":
        links = [stack.links[name] for name in selector.names]
        return tuple(
            _link_target(link, stack, entry.id, kind) for link in _pick(links, selector.pick, seed, entry.id)
        ), ()
    instances = _drillable(_instances(selector, stack), selector, stack, entry.id)
    picked = _pick(instances, selector.pick, seed, entry.id)
    return tuple(_instance_target(instance, kind, entry, catalog) for instance in picked), ()


def _instances(selector: Selector, stack: Stack) -> list[Instance]:
    if selector.by == "instance":
        return [stack.instances[name] for name in selector.names]
    return [instance for instance in stack.instances.values() if getattr(instance, selector.by) in selector.names]


def _is_drillable(instance: Instance, stack: Stack) -> bool:
    names = {instance.name, f"instance:{instance.name}"}
    # what has no region must not match "region:*"
    names |= {
        f"{by}:{name}" for by, name in (("region", instance.region), ("service", instance.service)) if name is not None
    }
    return any(fnmatchcase(name, pattern) for name in names for pattern in stack.drillable)


def _drillable(instances: list[Instance], selector: Selector, stack: Stack, fault: str) -> list[Instance]:
    allowed = [instance for instance in instances if _is_drillable(instance, stack)]
    refused = [instance.name for instance in instances if instance not in allowed]
    if not instances or not allowed:
        wanted = f"{selector.by} {', '.join(selector.names)}"
        why = "matches no instance" if not instances else f"matches only what is not drillable: {', '.join(refused)}"
        raise UnsafeError(
            f"fault {fault!r}: {wanted} {why}", remedy="name what may be broken under `drillable:` in the stack file"
        )
    if refused and not selector.only_drillable:
        raise UnsafeError(
            f"fault {fault!r}: {selector.by} {', '.join(selector.names)} contains {', '.join(refused)}, which is not drillable",
            remedy="add it to `drillable:` in the stack file, or narrow with `only: drillable`",
        )
    return allowed


def _pick(candidates: Sequence, pick: str, seed: int, fault: str) -> list:  # type: ignore[type-arg]
    if pick == "all":
        return list(candidates)
    share = float(pick.rstrip("%")) / 100 if pick.endswith("%") else None
    count = math.ceil(share * len(candidates)) if share is not None else int(pick)
    if not 1 <= count <= len(candidates):
        raise UnsafeError(
            f"fault {fault!r}: `pick: {pick}` asks for {count} of {len(candidates)} matching targets",
            remedy="pick at least 1 and at most what matches",
        )
    chosen = random.Random(f"{seed}:pick:{fault}").sample(range(len(candidates)), count)
    return [candidates[index] for index in sorted(chosen)]


def _instance_target(instance: Instance, kind: FaultKind, entry: FaultEntry, catalog: Catalog) -> Target:
    fault, params = entry.id, entry.params
    host = instance.host.kind
    refused = kind.refusal(params, host)
    if refused is not None:
        raise UnsafeError(
            f"fault {fault!r}: {kind.name} does not work on {instance.name}, a {host} host", remedy=refused
        )
    if kind.needs_start and not catalog.host(host).can_start(instance.host.params):
        raise UnsafeError(
            f"fault {fault!r}: nothing could bring {instance.name} back after {kind.name}",
            remedy=f"give {instance.name} a `start:` command in the stack file",
        )
    return Target(kind="instance", name=instance.name, region=instance.region, host=host)


def _role(name: str, stack: Stack, kind: FaultKind, entry: FaultEntry) -> Target:
    candidates = tuple(
        instance.name
        for instance in stack.instances.values()
        if _is_drillable(instance, stack) and kind.refusal(entry.params, instance.host.kind) is None
    )
    if not candidates:
        raise UnsafeError(f"fault {entry.id!r}: no drillable instance could hold role {name!r}")
    return Target(kind="role", name=name, candidates=candidates)


def _link_target(link: Link, stack: Stack, fault: str, kind: FaultKind | None = None) -> Target:
    names = {link.name, f"link:{link.name}"}
    if not any(fnmatchcase(name, pattern) for name in names for pattern in stack.drillable):
        raise UnsafeError(
            f"fault {fault!r}: link {link.name} is not drillable", remedy=f'add "link:{link.name}" to `drillable:`'
        )
    if kind is not None and kind.http:
        if not link.http:
            raise UnsafeError(
                f"fault {fault!r}: {kind.name} acts on HTTP, and link {link.name} is not declared to carry it",
                remedy="add `http: true` to the link in the stack file",
            )
        if stack.fault_proxy != "embedded":
            raise UnsafeError(
                f"fault {fault!r}: {kind.name} needs the embedded fault proxy, and the stack uses {stack.fault_proxy}",
                remedy="use `fault_proxy: embedded`: Toxiproxy knows bytes only",
            )
    ends = [stack.instances[name] for name in (link.to, link.source) if name in stack.instances]  # not `clients`
    region = next((end.region for end in ends if end.region), None)
    return Target(kind="link", name=link.name, region=region)


def _between(entry: FaultEntry, stack: Stack) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    assert entry.between is not None
    first, second = ({name for selector in side for name in _side(selector, stack)} for side in entry.between)
    both = first & second
    if both:
        second -= both  # who is on both sides counts for the first
    direction = entry.params.get("direction", "both")
    crossing = []
    for link in stack.links.values():
        outward = link.source in first and link.to in second
        inward = link.source in second and link.to in first
        if (outward and direction in ("both", "out")) or (inward and direction in ("both", "in")):
            crossing.append(link)
    if not crossing:
        raise UnsafeError(
            f"fault {entry.id!r}: no link runs between {_names(first)} and {_names(second)}",
            remedy="declare the path under `links:` so that it runs through the fault proxy",
        )
    region = next((stack.instances[name].region for name in sorted(first)), None)
    targets = tuple(_link_target(link, stack, entry.id) for link in crossing)
    return tuple(Target(kind="link", name=t.name, region=region) for t in targets), tuple(sorted(first))


def _side(selector: Selector, stack: Stack) -> Iterable[str]:
    if selector.by == "role":
        raise UnsafeError(
            "a role cannot be a side of a partition over links yet", remedy="name instances, a service or a region"
        )
    return [instance.name for instance in _instances(selector, stack)]


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def check_caps(faults: Sequence[PlannedFault], stack: Stack, caps: BlastRadius) -> None:
    """Raise UnsafeError when the faults together touch more regions, or a larger share of the instances, than allowed."""
    regions = {target.region for fault in faults for target in fault.targets if target.region}
    if len(regions) > caps.regions:
        raise UnsafeError(
            f"the timeline touches {len(regions)} regions ({_names(regions)}), more than the cap of {caps.regions}",
            remedy=f"raise `blast_radius: {{regions: {len(regions)}}}` if that is meant",
        )
    touched = {target.name for fault in faults for target in fault.targets if target.kind == "instance"}
    ours = [instance for instance in stack.instances.values() if instance.host.kind != "external"]
    if ours and len(touched) > caps.share_ratio * len(ours):
        share = len(touched) / len(ours)
        raise UnsafeError(
            f"the timeline touches {len(touched)} of {len(ours)} instances ({share:.0%}),"
            f" more than the cap of {caps.share_ratio:.0%}",
            remedy=f'raise `blast_radius: {{share: "{math.ceil(share * 100)}%"}}` if that is meant',
        )


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
                    f"faults {one.id!r} and {other.id!r} stand on {_names(name for _, name in shared)} at the same time",
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
