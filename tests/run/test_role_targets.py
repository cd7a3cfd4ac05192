"""Roles at apply: who holds one is asked then, put on its side of a cut alone, and refused when it was not planned for."""

from __future__ import annotations

import pytest

from harness.errors import InjectError
from harness.model.plan import CutEnd, Target
from harness.model.stack import HostSpec, Instance, Stack
from harness.run.roles import resolve

ENDS = {name: CutEnd(instance=name, address=f"127.0.1.{name[-1]}") for name in ("db-1", "db-2", "db-3")}
CANDIDATES = tuple(CutEnd(instance=end.instance, address=end.address, role="leader") for end in ENDS.values())
CUT = Target(kind="cut", name="the holder of leader | db-1, db-2, db-3", sides=(CANDIDATES, tuple(ENDS.values())))
HOST = HostSpec(kind="process", params={})
STACK = Stack(
    name="s",
    base_dir="/",
    instances={name: Instance(name=name, host=HOST, region="eu") for name in (*ENDS, "odd")},
)


async def resolved(target: Target, holder: str) -> Target:
    async def ask(role: str) -> str:
        assert role == "leader"
        return holder

    return await resolve(target, STACK, ask)


async def test_the_holder_alone_is_cut_off_from_the_others() -> None:
    target = await resolved(CUT, "db-2")
    assert [end.instance for end in target.sides[0]] == ["db-2"]
    assert [end.instance for end in target.sides[1]] == ["db-1", "db-3"]
    assert target.name == CUT.name, "the journal and the report call it as the plan does"


async def test_a_role_alone_becomes_its_holder() -> None:
    target = await resolved(Target(kind="role", name="leader", candidates=("db-1", "db-3")), "db-3")
    assert target == Target(kind="instance", name="db-3", region="eu", host="process")


@pytest.mark.parametrize(
    "target", [CUT, Target(kind="role", name="leader", candidates=tuple(ENDS))], ids=["cut", "role"]
)
async def test_a_holder_that_was_not_planned_for_is_refused(target: Target) -> None:
    with pytest.raises(InjectError, match="'leader' is held by 'odd', outside the planned candidates db-1, db-2, db-3"):
        await resolved(target, "odd")


async def test_a_holder_with_nobody_on_the_other_side_is_refused() -> None:
    alone = Target(kind="cut", name="x", sides=(CANDIDATES, (ENDS["db-1"],)))
    with pytest.raises(InjectError, match="with db-1 on the first side, nobody is on the second"):
        await resolved(alone, "db-1")
