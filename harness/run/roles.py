"""Roles at apply: who holds one now, in the place of the role. Candidates were frozen in the plan; anybody else is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from harness.errors import InjectError
from harness.model.plan import Target
from harness.model.stack import Stack

__all__ = ["resolve"]

Ask = Callable[[str], Awaitable[str]]


async def resolve(target: Target, stack: Stack, ask: Ask) -> Target:
    """The target with every role replaced by the instance that `ask` names. Raises InjectError for one outside the candidates.

    A cut has the holders on their sides, and on no other; its name keeps the roles' names.
    """
    if target.kind == "cut":
        return await _cut(target, ask)
    name = await _holder(target.name, target.candidates, ask)
    instance = stack.instances[name]
    return replace(target, kind="instance", name=name, region=instance.region, host=instance.host.kind, candidates=())


async def _cut(target: Target, ask: Ask) -> Target:
    ends = [end for side in target.sides for end in side]
    holders = {
        role: await _holder(role, tuple(end.instance for end in ends if end.role == role), ask) for role in target.roles
    }
    first, second = (
        tuple(end for end in side if end.role is None or holders[end.role] == end.instance) for side in target.sides
    )
    cut_off = {end.instance for end in first}
    second = tuple(end for end in second if end.instance not in cut_off)
    if not second:
        raise InjectError(
            f"{target.name}: with {', '.join(sorted(cut_off))} on the first side, nobody is on the second"
        )
    return replace(target, sides=(first, second))


async def _holder(role: str, candidates: tuple[str, ...], ask: Ask) -> str:
    name = await ask(role)
    if name not in candidates:
        raise InjectError(f"role {role!r} is held by {name!r}, outside the planned candidates {', '.join(candidates)}")
    return name
