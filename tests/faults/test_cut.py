"""Cuts between real processes: by address, by uid, mixed; each way, both styles; who is not named keeps talking throughout."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.errors import InjectError, UnsafeError
from harness.faults import nft
from harness.faults.cut import require_kernel
from harness.faults.loss import Loss, LossParams
from harness.faults.partition import KIND, Partition, PartitionParams
from harness.model.plan import CutEnd, Target
from harness.model.ports import Identity
from harness.model.wiring import Wiring
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeWorld

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="rules in the kernel need root"),
]
FORMS = ["address-address", "uid-uid", "address-uid", "both-address"]


@dataclass
class Peer:
    """A running `cut_peer`, which is the host of its instance too."""

    name: str
    address: str
    own_address: str | None
    uid: int | None
    process: asyncio.subprocess.Process
    port: int = 0

    @property
    def end(self) -> CutEnd:
        return CutEnd(instance=self.name, address=self.own_address, user=None if self.uid is None else str(self.uid))

    async def find(self) -> Identity | None:
        return Identity(pid=self.process.pid, start_ticks=1) if self.process.returncode is None else None

    async def say(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n".encode())
        if line.startswith("to "):
            return ""
        async with asyncio.timeout(10):
            return (await self.process.stdout.readline()).decode().strip()

    async def counts(self) -> list[int]:
        return [int(count) for count in (await self.say("count")).split()]

    async def talk_to(self, other: Peer) -> None:
        """Open a lasting connection, and wait until it has been answered."""
        before = len(await self.counts())
        source = f" {self.own_address}" if self.own_address else ""
        await self.say(f"to {other.address} {other.port}{source}")
        async with asyncio.timeout(10):
            while len(counts := await self.counts()) <= before or not counts[-1]:
                await asyncio.sleep(0.01)

    async def reaches(self, other: Peer) -> str:
        source = f" {self.own_address}" if self.own_address else ""
        return await self.say(f"new {other.address} {other.port}{source}")

    async def end_it(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@dataclass
class Pair:
    """Sides `a` and `b`, and a `bystander` that talks to `b`, all of them with open connections."""

    a: Peer
    b: Peer
    bystander: Peer
    world: FakeWorld = field(init=False)

    def __post_init__(self) -> None:
        peers = (self.a, self.b, self.bystander)
        self.world = FakeWorld(
            hosts={peer.name: peer for peer in peers},  # type: ignore[dict-item]
            wiring=Wiring(
                addresses={peer.name: peer.address for peer in peers},
                ports={peer.name: {"peer": peer.port} for peer in peers},
            ),
        )

    @property
    def target(self) -> Target:
        return Target(kind="cut", name="a | b", sides=((self.a.end,), (self.b.end,)))

    async def moving(self) -> tuple[bool, bool, bool]:
        """Whether answers still arrive, from a to b, from b to a, and at the bystander, while that has 40 of its own."""
        before = [(await peer.counts())[0] for peer in (self.a, self.b, self.bystander)]
        async with asyncio.timeout(10):
            while (await self.bystander.counts())[0] < before[2] + 40:
                await asyncio.sleep(0.01)
        after = [(await peer.counts())[0] for peer in (self.a, self.b, self.bystander)]
        return after[0] > before[0] + 2, after[1] > before[1] + 2, after[2] > before[2]

    async def resumes(self) -> None:
        """Return once the connections that were open before move again: the kernel sends again by itself, later and later."""
        for peer in (self.a, self.b):
            before = (await peer.counts())[0]
            async with asyncio.timeout(20):
                while (await peer.counts())[0] < before + 10:
                    await asyncio.sleep(0.02)


IDENTITIES = {"address": (True, False), "uid": (False, True), "both": (True, True)}


async def _peer(name: str, form: str, number: int, address: str) -> Peer:
    by_address, by_uid = IDENTITIES[form]
    own = address if by_address else None
    uid = 23_000 + number if by_uid else None
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("cut_peer.py")), str(uid or 0), own or "127.0.0.1", "0",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(20):
        port = int(await process.stdout.readline())
    return Peer(name, own or "127.0.0.1", own, uid, process, port)


@pytest.fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    one, other = request.param.split("-")
    peers = [
        await _peer("a", one, 1, "127.93.0.1"),
        await _peer("b", other, 2, "127.93.0.2"),
        await _peer("c", "both", 3, "127.93.0.3"),
    ]
    try:
        made = Pair(*peers)
        await made.a.talk_to(made.b)
        await made.b.talk_to(made.a)
        await made.bystander.talk_to(made.b)
        yield made
    finally:
        for peer in peers:
            await peer.end_it()
        left = [name for name in await nft.ours() if "test_run" in name]
        for name in left:
            await nft.drop_table(name)
    assert left == []


def partition(**params: object) -> Partition:
    return Partition(PartitionParams.model_validate(params))


@pytest.mark.cell("partition", "cut")
@pytest.mark.parametrize("pair", FORMS, indirect=True)
async def test_keeps_the_contract_of_an_injector(pair: Pair) -> None:
    await check_injector(partition(), pair.target, pair.world)
    await pair.resumes()


@pytest.mark.parametrize("pair", ["uid-uid", "both-address"], indirect=True)
async def test_a_cut_silences_both_ways_and_open_connections_resume(pair: Pair) -> None:
    injector = partition()
    state = await injector.prepare(pair.target, pair.world)
    await injector.apply(state, pair.world)
    try:
        assert await pair.moving() == (False, False, True)
        assert await pair.a.reaches(pair.b) == "silent"
        assert await pair.b.reaches(pair.a) == "silent"
        assert await pair.bystander.reaches(pair.a) == "accepted"
    finally:
        await injector.revert(state, pair.world)
    await pair.resumes()
    assert await pair.a.reaches(pair.b) == "accepted"


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("pair", ["uid-uid", "address-uid"], indirect=True)
async def test_one_way_cuts_stop_what_that_side_sends(pair: Pair, direction: str) -> None:
    injector = partition(direction=direction)
    state = await injector.prepare(pair.target, pair.world)
    await injector.apply(state, pair.world)
    try:
        evidence = await injector.witness(state, pair.world)
        assert evidence.present, evidence.what
        assert await pair.a.reaches(pair.b) == "silent"  # a connection needs both ways
        assert await pair.b.reaches(pair.a) == "silent"
        counted = await nft.count(state.cut.table)
    finally:
        await injector.revert(state, pair.world)
    hit, spared = ("packets_out", "packets_in") if direction == "out" else ("packets_in", "packets_out")
    assert counted[hit].packets > 0
    assert counted[spared].packets == 0
    verified = await injector.verify(state, pair.world)
    assert not verified.present, verified.what


@pytest.mark.parametrize("pair", ["address-address", "uid-uid"], indirect=True)
async def test_a_rejecting_cut_answers_at_once(pair: Pair) -> None:
    injector = partition(style="reject")
    state = await injector.prepare(pair.target, pair.world)
    await injector.apply(state, pair.world)
    try:
        evidence = await injector.witness(state, pair.world)
        assert evidence.present, evidence.what
        assert await pair.a.reaches(pair.b) == "ConnectionRefusedError"
        assert await pair.b.reaches(pair.a) == "ConnectionRefusedError"
        assert await pair.bystander.reaches(pair.b) == "accepted"
    finally:
        await injector.revert(state, pair.world)
    assert await pair.a.reaches(pair.b) == "accepted"


def loss(**params: object) -> Loss:
    return Loss(LossParams.model_validate(params))


@pytest.mark.cell("loss", "cut")
@pytest.mark.parametrize("pair", ["both-address"], indirect=True)
async def test_loss_keeps_the_contract_of_an_injector(pair: Pair) -> None:
    await check_injector(loss(ratio="30%"), pair.target, pair.world)
    await pair.resumes()


@pytest.mark.parametrize(("pair", "direction"), [("address-address", "out"), ("uid-uid", "both")], indirect=["pair"])
async def test_the_share_that_is_lost_is_the_share_that_was_asked_for(pair: Pair, direction: str) -> None:
    injector = loss(ratio="10%", direction=direction)
    state = await injector.prepare(pair.target, pair.world)
    await injector.apply(state, pair.world)
    try:
        counted = await nft.count(state.cut.table)
        async with asyncio.timeout(30):
            while counted["met_out"].packets < 2000:
                await injector._cut._stir(state.cut, pair.world)
                counted = await nft.count(state.cut.table)
        evidence = await injector.witness(state, pair.world)
        assert evidence.present
    finally:
        await injector.revert(state, pair.world)
    share = counted["packets_out"].packets / counted["met_out"].packets
    assert 0.06 < share < 0.14  # 2000 lots at 10 %: five standard deviations are 0.034
    assert (counted["packets_in"].packets > 0) is (direction == "both")
    assert await pair.a.reaches(pair.b) == "accepted"


@pytest.mark.parametrize("pair", ["address-uid"], indirect=True)
async def test_only_the_named_ports_are_cut(pair: Pair) -> None:
    injector = partition(ports=["peer"])
    state = await injector.prepare(pair.target, pair.world)
    other = await asyncio.start_server(lambda _, writer: writer.close(), "127.93.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    await injector.apply(state, pair.world)
    try:
        assert await pair.b.reaches(pair.a) == "silent"
        assert await pair.b.say(f"new 127.93.0.1 {port}") == "accepted"
    finally:
        await injector.revert(state, pair.world)
        other.close()


@pytest.mark.parametrize("pair", ["uid-uid"], indirect=True)
async def test_the_reaper_puts_back_what_another_process_cut(pair: Pair) -> None:
    injector = partition()
    state = await injector.prepare(pair.target, pair.world)
    await injector.apply(state, pair.world)
    told = injector.state_type.model_validate_json(state.model_dump_json())
    other = partition()
    await other.revert(told, pair.world)
    assert not (await other.verify(told, pair.world)).present
    assert not (await injector.witness(state, pair.world)).present
    assert not await nft.exists(state.cut.table)


@pytest.mark.parametrize("pair", ["address-address"], indirect=True)
async def test_cuts_nest_and_one_revert_leaves_the_other(pair: Pair) -> None:
    one, other = partition(), partition(direction="out")
    first = await one.prepare(pair.target, pair.world)
    second = await other.prepare(pair.target, pair.world)
    await one.apply(first, pair.world)
    await other.apply(second, pair.world)
    try:
        await one.revert(first, pair.world)
        verified = await one.verify(first, pair.world)
        assert not verified.present
        assert "another one of ours" in verified.what
        assert await pair.a.reaches(pair.b) == "silent"
    finally:
        await other.revert(second, pair.world)
    assert not (await other.verify(second, pair.world)).present
    assert await pair.a.reaches(pair.b) == "accepted"


@pytest.mark.parametrize("pair", ["address-address"], indirect=True)
async def test_who_talks_from_elsewhere_is_found_out(pair: Pair) -> None:
    await pair.a.say(f"to {pair.b.address} {pair.b.port}")  # not from its own address
    async with asyncio.timeout(10):
        while len(counts := await pair.a.counts()) < 2 or not counts[1]:
            await asyncio.sleep(0.01)
    with pytest.raises(
        InjectError, match=r"instance a talks to b from 127\.0\.0\.1, not from its own address 127\.93\.0\.1"
    ):
        await partition().prepare(pair.target, pair.world)


@pytest.mark.parametrize("pair", ["uid-uid"], indirect=True)
async def test_what_cannot_be_cut_is_refused(pair: Pair) -> None:
    wrong = replace(pair.a.end, user="23999")
    with pytest.raises(InjectError, match="instance a: runs as uid 23001, not as its user 23999"):
        await partition().prepare(replace(pair.target, sides=((wrong,), (pair.b.end,))), pair.world)
    nobody = replace(pair.a.end, user="no-such-user")
    with pytest.raises(InjectError, match="no such user 'no-such-user'"):
        await partition().prepare(replace(pair.target, sides=((nobody,), (pair.b.end,))), pair.world)
    await pair.b.end_it()
    with pytest.raises(InjectError, match="instance b: nothing runs"):
        await partition().prepare(pair.target, pair.world)


def test_without_root_or_nft_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KIND.able is require_kernel
    cut = Target(kind="cut", name="a | b", sides=((CutEnd(instance="a", user="5"),), (CutEnd(instance="b", user="6"),)))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnsafeError, match="kernel rules need root"):
        KIND.able(cut, {})
    KIND.able(Target(kind="link", name="eu-db"), {})
    monkeypatch.undo()
    ours = replace(cut, sides=(cut.sides[0], (CutEnd(instance="b", user="root"),)))
    with pytest.raises(UnsafeError, match="cannot tell b from us: its user root is who Blackstart runs as"):
        KIND.able(ours, {})
