"""Selectors -> instances and links: what matches, what may be touched of it, and which are drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from harness.errors import UnsafeError
from harness.model.catalog import FaultKind
from harness.model.experiment import Selector
from harness.model.plan import Target
from harness.model.stack import Instance, Link, Stack

__all__ = ["draw", "link_target", "listed", "matching", "may_touch", "opted_in"]

T = TypeVar("T")


def matching(selector: Selector, stack: Stack) -> list[Instance]:
    """The instances that a selector by region, service or instance means, in stack order."""
    if selector.by == "instance":
        return [stack.instances[name] for name in selector.names]
    return [instance for instance in stack.instances.values() if getattr(instance, selector.by) in selector.names]


def may_touch(instance: Instance, stack: Stack) -> bool:
    """Whether the stack file opts the instance in."""
    names = {instance.name, f"instance:{instance.name}"}
    # what has no region must not match "region:*"
    names |= {
        f"{by}:{name}" for by, name in (("region", instance.region), ("service", instance.service)) if name is not None
    }
    return any(fnmatchcase(name, pattern) for name in names for pattern in stack.drillable)


def opted_in(selector: Selector, stack: Stack, fault: str) -> list[Instance]:
    """What matches, all of it drillable. Raises UnsafeError when nothing is, or (without `only: drillable`) not all."""
    found = matching(selector, stack)
    allowed = [instance for instance in found if may_touch(instance, stack)]
    refused = [instance.name for instance in found if instance not in allowed]
    if not allowed:
        wanted = f"{selector.by} {', '.join(selector.names)}"
        why = "matches no instance" if not found else f"matches only what is not drillable: {', '.join(refused)}"
        raise UnsafeError(
            f"fault {fault!r}: {wanted} {why}", remedy="name what may be broken under `drillable:` in the stack file"
        )
    if refused and not selector.only_drillable:
        raise UnsafeError(
            f"fault {fault!r}: {selector.by} {', '.join(selector.names)} contains {', '.join(refused)}, which is not drillable",
            remedy="add it to `drillable:` in the stack file, or narrow with `only: drillable`",
        )
    return allowed


def draw(candidates: Sequence[T], pick: str, seed: int, fault: str) -> list[T]:
    """All of them, or as many as `pick` says, drawn from the seed, in their order."""
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


def link_target(link: Link, stack: Stack, fault: str, kind: FaultKind) -> Target:
    """The link as a target. Raises UnsafeError when it is not drillable, or cannot carry what the fault acts on."""
    names = {link.name, f"link:{link.name}"}
    if not any(fnmatchcase(name, pattern) for name in names for pattern in stack.drillable):
        raise UnsafeError(
            f"fault {fault!r}: link {link.name} is not drillable", remedy=f'add "link:{link.name}" to `drillable:`'
        )
    if kind.http:
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


def listed(names: Iterable[str]) -> str:
    """The names in a sentence, sorted."""
    return ", ".join(sorted(names)) or "nothing"
