"""Two sides of instances: links or a cut, who may be told from clients, roles as sides, caps."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import UnsafeError
from harness.model.experiment import At, BlastRadius, FaultEntry, Selector
from harness.model.plan import CutEnd, PlannedFault, Target
from harness.model.stack import HostSpec, Instance, Link, Region, RoleSpec, Stack
from harness.plan.targets import check_caps, refuse_overlaps, resolve_targets
from harness.registry import catalog


def one(name: str, **more: Any) -> Instance:
    told = {"host": HostSpec(kind="process", params={}), "service": name.split("-")[0], "ports": {"peer": None}}
    return Instance(name=name, **(told | more))


DBS = [one(f"db-{n}", address=f"127.0.1.{n}", region=f"r{n}") for n in (1, 2, 3)]
APP = one("app", user="20001", region="r1")
PLAIN = one("plain", region="r1")


def stack(*instances: Instance, links: tuple[Link, ...] = (), drillable: tuple[str, ...] = ("*",)) -> Stack:
    regions = {one.region for one in instances if one.region}
    return Stack(
        name="s",
        base_dir="/",
        regions={name: Region(name=name) for name in regions},
        instances={one.name: one for one in instances},
        links={link.name: link for link in links},
        drillable=drillable,
        roles={"leader": RoleSpec(name="leader", kind="exec", params={})},
    )


def sel(by: Any, *names: str, **more: Any) -> Selector:
    return Selector(by=by, names=names, **more)


def cut(first: Any, second: Any, kind: str = "partition", **params: Any) -> FaultEntry:
    sides = tuple(side if isinstance(side, tuple) else (side,) for side in (first, second))
    return FaultEntry(id="cut", kind=kind, params=params, at=At(offset_ns=0), between=sides)  # type: ignore[arg-type]


def planned(entry: FaultEntry, system: Stack) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    return resolve_targets(entry, system, catalog(), 7)


def test_two_sides_without_a_link_are_a_cut() -> None:
    (target,), side = planned(cut(sel("instance", "db-1"), sel("service", "db", "app")), stack(*DBS, APP, PLAIN))
    assert side == ("db-1",)
    assert (target.kind, target.name, target.region) == ("cut", "db-1 | db-2, db-3, app", "r1")
    assert target.sides == (
        (CutEnd(instance="db-1", address="127.0.1.1"),),
        (
            CutEnd(instance="db-2", address="127.0.1.2"),
            CutEnd(instance="db-3", address="127.0.1.3"),
            CutEnd(instance="app", user="20001"),
        ),
    )


def test_several_selectors_make_a_side() -> None:
    first = (sel("instance", "db-1"), sel("service", "app"))
    (target,), side = planned(cut(first, sel("service", "db")), stack(*DBS, APP))
    assert side == ("app", "db-1")
    assert target.name == "db-1, app | db-2, db-3"
    assert target.region == "r1"


def test_a_role_as_a_side_freezes_its_candidates() -> None:
    drillable = ("db-1", "db-2", "db-3")
    (target,), side = planned(cut(sel("role", "leader"), sel("service", "db")), stack(*DBS, PLAIN, drillable=drillable))
    assert target.name == "the holder of leader | db-1, db-2, db-3"
    assert side == ("db-1", "db-2", "db-3")
    assert [end.role for end in target.sides[0]] == ["leader"] * 3
    assert [end.role for end in target.sides[1]] == [None] * 3
    assert target.roles == ("leader",)


BOXES = [one(name, host=HostSpec(kind=kind, params={})) for name, kind in (("web", "container"), ("cache", "compose"))]


@pytest.mark.parametrize(
    ("kind", "params"), [("partition", {"via": "nftables"}), ("partition", {}), ("loss", {"ratio": "5%"})]
)
def test_containers_are_told_apart_by_their_network_namespaces(kind: str, params: dict[str, Any]) -> None:
    (target,), side = planned(cut(sel("instance", "web"), sel("instance", "cache"), kind, **params), stack(*BOXES, APP))
    assert side == ("web",)
    assert target.sides == ((CutEnd(instance="web", netns="its own"),), (CutEnd(instance="cache", netns="its own"),))
    assert target.boxed
    assert target.cut_off == ("web", "cache")


LINK = Link(name="repl", source="db-1", to="db-2", to_port="peer")


def test_links_between_the_sides_are_cut_unless_via_says_otherwise() -> None:
    system = stack(*DBS, links=(LINK,))
    sides = sel("instance", "db-1"), sel("instance", "db-2")
    targets, _ = planned(cut(*sides), system)
    assert [target.kind for target in targets] == ["link"]
    targets, _ = planned(cut(*sides, via="nftables"), system)
    assert [target.kind for target in targets] == ["link", "cut"]
    targets, _ = planned(cut(sel("instance", "db-1"), sel("instance", "db-3")), system)
    assert [target.kind for target in targets] == ["cut"]


@pytest.mark.parametrize(
    ("entry", "system", "message"),
    [
        (
            cut(sel("instance", "db-1"), sel("instance", "plain")),
            stack(*DBS, PLAIN),
            r"rules in the kernel cannot tell plain from clients; give it its own address or user: `address: 127\.0\.1\.1`",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "x")),
            stack(*DBS, one("x", address="127.0.1.3")),
            r"cannot tell x from clients; address 127\.0\.1\.3 is also db-3's; give it",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "x")),
            stack(*DBS, one("x", address="10.0.0.5")),  # clients connect to it *from* it
            "cannot tell x from clients; give it",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "x")),
            stack(*DBS, one("x", user="5"), one("y", user="5")),
            "cannot tell x from clients; user 5 is also y's; give it",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "db-1")),
            stack(*DBS),
            "a side has no instance; name who is on each side",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "db-2")),
            stack(*DBS, drillable=("db-1",)),
            "instance db-2 matches only what is not drillable: db-2",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "x")),
            stack(*DBS, one("x", host=HostSpec(kind="external", params={}))),
            "rules in the kernel cannot cut off x, a external host; works on: pid, process, python",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "db-2"), ports=("admin",)),
            stack(*DBS),
            "neither side has a port 'admin'; ports of the two sides: peer",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "x")),
            stack(one("db-1", address="127.0.1.1", ports={}), one("x", user="5", ports={})),
            "neither side has a port, so nothing could show that the cut is there",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "db-2"), style="reject"),
            stack(*DBS, links=(LINK,)),
            "`style` is for rules in the kernel, but the sides are joined by link repl",
        ),
        (
            cut(sel("role", "leader"), sel("instance", "db-2")),
            stack(*DBS, links=(LINK,)),
            "link repl runs between the sides, but who holds leader is known at apply only",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "db-2"), kind="loss", ratio="5%"),
            stack(*DBS, links=(LINK,)),
            "loss works on packets between the sides themselves, but link repl carries them through the fault proxy",
        ),
        (
            cut(sel("instance", "web"), sel("instance", "db-1")),
            stack(*DBS, *BOXES),
            "cannot cut web off from db-1, which lives in another sort of network; name two sides of containers",
        ),
        (
            cut(sel("instance", "web"), sel("instance", "cache"), via="namespace"),
            stack(*BOXES),
            "`via: namespace` does not work between web and cache; give their regions `isolation: netns`",
        ),
        (
            cut(sel("instance", "db-1"), sel("instance", "db-2"), via="disconnect"),
            stack(*DBS),
            "`via: disconnect` does not work between db-1 and db-2; leave `via` out",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused_when_planned(entry: FaultEntry, system: Stack, message: str) -> None:
    with pytest.raises(UnsafeError, match=message):
        planned(entry, system)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"via": "nftables"}, "`via`"),
        ({"via": "namespace"}, "`via`"),
        ({"style": "reject"}, "`style`"),
        ({"ports": ("pg",)}, "`ports`"),
        ({"direction": "in", "style": "drop", "ports": ()}, None),
    ],
)
def test_what_a_link_cannot_do_is_refused_and_not_left_out(params: dict[str, Any], said: str | None) -> None:
    """Else the run would prove something about another fault than the one that was asked for."""
    system = stack(*DBS, links=(LINK,))
    sides = sel("instance", "db-1"), sel("instance", "db-2")
    entry = replace(cut(*sides, **params), between=None, on=sel("link", "repl"))
    if said is None:
        assert [target.name for target in planned(entry, system)[0]] == ["repl"]
        return
    with pytest.raises(UnsafeError, match=f"{said} means nothing on a link"):
        planned(entry, system)


def test_a_side_may_share_what_nobody_outside_it_has() -> None:
    pair = [one("w-1", user="5", address="127.0.1.9"), one("w-2", user="5", address="127.0.1.9")]
    (target,), _ = planned(cut(sel("service", "w"), sel("instance", "db-1")), stack(*DBS, *pair))
    assert {(end.address, end.user) for end in target.sides[0]} == {("127.0.1.9", "5")}


def fault(target: Target, at_ns: int = 0, for_ns: int | None = None, kind: str = "partition") -> PlannedFault:
    return PlannedFault(
        id=f"{kind}{at_ns}", entry="e", kind=kind, params={}, targets=(target,), at_ns=at_ns, for_ns=for_ns,
        what="", clients_see="", on_revert="",
    )  # fmt: skip


def test_of_a_cut_the_smaller_side_counts_against_the_caps() -> None:
    system = stack(*DBS, APP)
    (target,), _ = planned(cut(sel("instance", "db-2", "db-3", "app"), sel("instance", "db-1")), system)
    check_caps([fault(target)], system, BlastRadius(regions=1, share_ratio=0.25))
    (wide,), _ = planned(cut(sel("instance", "db-2", "db-3"), sel("instance", "db-1", "app")), system)
    with pytest.raises(UnsafeError, match=r"touches 2 regions \(r2, r3\)"):
        check_caps([fault(wide)], system, BlastRadius())
    with pytest.raises(UnsafeError, match=r"touches 2 of 4 instances \(50%\)"):
        check_caps([fault(wide)], system, BlastRadius(regions=2, share_ratio=0.49))


def test_a_role_counts_as_one_instance_in_one_region() -> None:
    system = stack(*DBS, APP)
    (target,), _ = planned(cut(sel("role", "leader"), sel("service", "db")), system)
    check_caps([fault(target)], system, BlastRadius(regions=1, share_ratio=0.25))
    with pytest.raises(UnsafeError, match=r"touches 1 of 4 instances \(25%\)"):
        check_caps([fault(target)], system, BlastRadius(regions=1, share_ratio=0.2))
    moved = dataclasses.replace(fault(Target(kind="instance", name="app", region="r1")), kind="pause")
    with pytest.raises(UnsafeError, match=r"touches 2 regions \(r1, that of the holder of leader\)"):
        check_caps([fault(target), moved], system, BlastRadius())


def test_cuts_nest() -> None:
    (target,), _ = planned(cut(sel("instance", "db-1"), sel("instance", "db-2")), stack(*DBS))
    refuse_overlaps([fault(target, 0), fault(target, 5)], catalog())
