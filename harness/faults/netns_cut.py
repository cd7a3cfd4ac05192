"""What faults by rules inside network namespaces share: tables put in, the look across, all of it taken out. Not a kind itself.

Containers have a namespace each, regions with `isolation: netns` one for all their instances. A namespace that is gone took
the rules with it; one that a container was given anew meanwhile holds nothing of ours.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from harness.errors import InjectError, RevertError
from harness.faults import nft
from harness.faults.inside import namespace_of, where
from harness.faults.netns_rules import BoxCut, alone_table, box_table
from harness.faults.netns_sides import Box, NetnsCutState, attempts, reachable
from harness.faults.nft_cut import IN, MET, OUT
from harness.model.ports import Evidence, Identity, World

__all__ = ["drop_boxes", "put_boxes", "still_boxed", "witness_boxes", "witness_boxes_loss"]

_WITNESS_LIMIT_S = 3.0
_BACK_LIMIT_S = 4.0
_BACK_LOOK_S = 0.05
_BURST_MOST = 2000


async def put_boxes(
    state: NetnsCutState,
    world: World,
    *,
    direction: Literal["both", "in", "out"] = "both",
    reject: bool = False,
    ratio: float | None = None,
) -> None:
    """Put a table into each namespace. Cut short, some have theirs whole and others none. Raises InjectError."""
    for mine, theirs, is_first in ((state.first, state.second, True), (state.second, state.first, False)):
        for box in mine:
            cut = BoxCut(
                is_first=is_first,
                peers=tuple(address for peer in theirs for address in peer.addresses),
                mine=box.ports,
                theirs=tuple(sorted({port for peer in theirs for port in peer.ports})),
                direction=direction,
                reject=reject,
                ratio=ratio,
            )
            table = (box_table if state.second else alone_table)(state.table, cut)
            with namespace_of(world, box.name, box.identity) as netns:
                if netns is None:
                    raise InjectError(f"instance {box.name} does not run any more as it did, its network is gone")
                await nft.load_table(table, netns)


async def drop_boxes(state: NetnsCutState, world: World) -> None:
    """Take our table out of every namespace that is still there. Raises RevertError once all were tried."""
    failed: list[tuple[str, str]] = []
    for box in state.boxes:
        try:
            async with _entered(box, world) as entries:
                for identity, netns in entries:
                    await nft.drop_table(state.table, netns, where(identity))
        except (InjectError, RevertError) as exc:
            failed.append((str(exc), nft.undo_command(state.table, where(box.identity))))
    if failed:
        raise RevertError("; ".join(what for what, _ in failed), commands=tuple(command for _, command in failed))


@asynccontextmanager
async def _entered(box: Box, world: World) -> AsyncIterator[list[tuple[Identity, int]]]:
    """Descriptors of the namespaces in which the box's rules may stand: its own, and that of who runs in its place now."""
    host = world.host(box.name)
    try:
        now = await host.find()
    except InjectError:
        now = None  # an engine that does not answer: a process of this machine can be entered all the same
    identities = reachable(box, now)
    with namespace_of(world, box.name, identities[0]) as own:
        if len(identities) == 1:
            yield [] if own is None else [(identities[0], own)]
            return
        with namespace_of(world, box.name, identities[1]) as other:
            yield [(who, fd) for who, fd in zip(identities, (own, other), strict=True) if fd is not None]


async def _standing(state: NetnsCutState, world: World) -> list[str]:
    """The instances in whose network the table stands."""
    found = []
    for box in state.boxes:
        async with _entered(box, world) as entries:
            if any([await nft.exists(state.table, netns) for _, netns in entries]):
                found.append(box.name)
    return found


async def _counted(state: NetnsCutState, world: World) -> dict[str, int] | None:
    """Packets by counter, over all namespaces; None when one of them does not hold the table."""
    total: dict[str, int] = {}
    for box in state.boxes:
        with namespace_of(world, box.name, box.identity) as netns:
            if netns is None or not await nft.exists(state.table, netns):
                return None
            for name, seen in (await nft.count(state.table, netns)).items():
                total[name] = total.get(name, 0) + seen.packets
    return total


async def witness_boxes(state: NetnsCutState, world: World) -> Evidence:
    """Whether every way is closed by our rules: nobody connects, and the rules have met the attempts."""
    deadline = time.monotonic() + _WITNESS_LIMIT_S
    while True:
        lasting, present, what = await _look_across(state, world)
        if present or lasting or time.monotonic() > deadline:
            return Evidence(present=present, at_ns=world.clock.now_ns(), what=what)


async def _look_across(state: NetnsCutState, world: World) -> tuple[bool, bool, str]:
    """Whether looking again is of no use; whether it is cut; what was seen."""
    before = await _counted(state, world)
    if before is None:
        return True, False, f"table {state.table} is not there"
    outcomes = await attempts(state, state.ways, world)
    open_ = [str(way) for way, outcome in zip(state.ways, outcomes, strict=True) if outcome == "accepted"]
    if open_:
        return False, False, f"still open: {'; '.join(open_)}"
    after = await _counted(state, world) or {}
    if sum(after.values()) <= sum(before.values()):
        return False, False, "nobody connects, but the rules met none of the attempts"
    total = f"the rules stopped {sum(after.values())} packets so far"
    return False, True, f"no connect crosses on any of {len(state.ways)} ways; {total}"


async def witness_boxes_loss(state: NetnsCutState, world: World, ratio: float) -> Evidence:
    """Packets that were lost, among the stack's own and a burst of ours along every way, to ports where nobody hears them."""
    deadline = time.monotonic() + _WITNESS_LIMIT_S
    each = math.ceil(min(_BURST_MOST, 10 / ratio) / len(state.ways))
    while True:
        seen = await _counted(state, world)
        lost = sum((seen or {}).get(name, 0) for name in (OUT, IN))
        met = sum((seen or {}).get(name, 0) for name in MET.values())
        what = f"table {state.table} is not there" if seen is None else f"{lost} of {met} packets were lost"
        if lost or seen is None or time.monotonic() > deadline:
            return Evidence(present=lost > 0, at_ns=world.clock.now_ns(), what=what)
        await attempts(state, state.ways, world, each)


async def still_boxed(state: NetnsCutState, world: World) -> Evidence:
    """Whether anything of it is left: the table, or silence on a way that was open. Looks again for a few seconds.

    Silence while another table of ours stands is that fault's, and a way whose end is gone is nobody's.
    """
    left = await _standing(state, world)
    if left:
        return _evidence(True, f"table {state.table} still stands in the network of {', '.join(left)}", world)
    deadline = time.monotonic() + _BACK_LIMIT_S
    while True:
        ways = [way for way in state.ways if await _whole(way.server, state, world)]
        outcomes = await attempts(state, ways, world)
        silent = [str(way) for way, outcome in zip(ways, outcomes, strict=True) if outcome == "silent"]
        if not silent:
            return _evidence(False, f"table {state.table} is gone, and {len(ways)} ways answer", world)
        others = await _others(state, world)
        if others:
            what = f"table {state.table} is gone; another one of ours still closes {'; '.join(silent)}"
            return _evidence(False, what, world)
        if time.monotonic() > deadline:
            return _evidence(True, f"table {state.table} is gone, but nothing answers from {'; '.join(silent)}", world)
        await asyncio.sleep(_BACK_LOOK_S)


def _evidence(present: bool, what: str, world: World) -> Evidence:
    return Evidence(present=present, at_ns=world.clock.now_ns(), what=what)


async def _whole(name: str, state: NetnsCutState, world: World) -> bool:
    """Whether an end runs as it did when the fault was prepared."""
    box = next(box for box in state.boxes if box.name == name)
    return await world.host(name).find() == box.identity


async def _others(state: NetnsCutState, world: World) -> bool:
    """Whether another table of ours stands in one of the namespaces."""
    for box in state.boxes:
        with namespace_of(world, box.name, box.identity) as netns:
            if netns is not None and await nft.ours(netns):
                return True
    return False
