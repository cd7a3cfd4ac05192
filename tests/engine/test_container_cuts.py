"""Rules inside the network namespaces of real containers: two sides, each way, both styles, loss; a bystander feels nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InjectError, UnsafeError
from harness.faults.loss import Loss, LossParams
from harness.faults.netns_sides import NetnsCutState
from harness.faults.partition import Partition, PartitionParams
from harness.model.plan import CutEnd, Target
from harness.model.ports import HostSettings
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring
from harness.stacks.compose import ComposeHost
from harness.stacks.container import ContainerHost
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeWorld

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.privileged,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="rules in the kernel need root"),
]
REACH = str(Path(__file__).parents[2] / "harness" / "faults" / "netns_reach.py")


@dataclass
class Trio:
    """Containers a and b, the two sides, and c on the same network, whom nobody names."""

    yard: Any
    names: dict[str, str]
    hosts: dict[str, ContainerHost]

    @property
    def world(self) -> FakeWorld:
        addresses = {one: self.yard.address(name) for one, name in self.names.items()}
        ports = {one: {"http": 8080} for one in self.names}
        return FakeWorld(hosts=dict(self.hosts), wiring=Wiring(addresses=addresses, ports=ports))

    def reborn(self) -> FakeWorld:
        """The world as the reaper rebuilds it, from recipes alone."""
        revived = {one: type(host).revive(host.recipe()) for one, host in self.hosts.items()}
        self.yard.hosts += revived.values()
        return FakeWorld(hosts=revived, wiring=self.world.wiring)

    def inside(self, one: str) -> list[str]:
        pid = self.yard.client.inspect_container(self.names[one])["State"]["Pid"]
        return ["nsenter", "-t", str(pid), "-n"]

    def reaches(self, client: str, server: str) -> str:
        """What becomes of a connect from one container to the other's server."""
        asked = f'{{"ways": [["{self.yard.address(self.names[server])}", 8080, 0]], "limit_s": 0.5}}'
        command = [*self.inside(client), sys.executable, "-I", "-S", REACH]
        told = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=20)
        return told.stdout.strip('[]"')

    def tables(self) -> list[str]:
        """Tables of ours in any of the three."""
        found = []
        for one in self.names:
            told = subprocess.run(
                [*self.inside(one), "nft", "list", "tables"], capture_output=True, text=True, check=True
            )
            found += [line for line in told.stdout.splitlines() if "blackstart" in line]
        return found


TARGET = Target(
    kind="cut",
    name="a | b",
    sides=((CutEnd(instance="a", netns="its own"),), (CutEnd(instance="b", netns="its own"),)),
)
ALONE = Target(kind="instance", name="a")


@pytest.fixture
async def trio(yard, subnet, request) -> AsyncIterator[Trio]:
    kind = getattr(request, "param", "container")
    network = yard.network(subnet)
    names, hosts = {}, {}
    for number, one in enumerate("abc"):
        labels = {"com.docker.compose.service": one, "com.docker.compose.project": yard.mark}
        labels["com.docker.compose.oneoff"] = "False"
        names[one] = yard.make(network=network, address=subnet.replace("0/24", str(9 + number)), labels=labels)
        params = {"container": names[one]} if kind == "container" else {"compose": one, "project": yard.mark}
        settings: HostSettings = yard.settings
        host = {"container": ContainerHost, "compose": ComposeHost}[kind]
        hosts[one] = host(Instance(name=one, host=HostSpec(kind=kind, params=params)), Wiring(), settings)
        yard.hosts.append(hosts[one])
    await asyncio.gather(*(yard.serving(yard.address(name)) for name in names.values()))
    made = Trio(yard, names, hosts)
    yield made
    assert made.tables() == []
    assert made.reaches("c", "b") == "accepted"


def partition(**params: object) -> Partition:
    return Partition(PartitionParams.model_validate(params))


def loss(**params: object) -> Loss:
    return Loss(LossParams.model_validate(params))


CELLS = (("partition", "cut-{}"), ("loss", "cut-{}"), ("loss", "{}"))


@pytest.mark.parametrize(
    "trio",
    [
        pytest.param(kind, marks=[pytest.mark.cell(fault, where.format(kind)) for fault, where in CELLS])
        for kind in ("container", "compose")
    ],
    indirect=True,
)
async def test_rules_inside_containers_keep_the_contract(trio: Trio) -> None:
    async def vanish() -> None:
        trio.yard.client.restart(trio.names["b"], timeout=0)
        await trio.yard.serving(trio.yard.address(trio.names["b"]))

    await check_injector(loss(ratio="30%"), TARGET, trio.world)
    await check_injector(loss(ratio="20%"), ALONE, trio.world)
    await check_injector(partition(via="nftables"), TARGET, trio.world, vanish=vanish)
    assert trio.reaches("a", "b") == "accepted"


async def test_each_way_both_styles_and_a_bystander_keeps_access(trio: Trio) -> None:
    world = trio.world
    for direction, way in (("out", "b"), ("in", "a")):
        for style, told in (("drop", "silent"), ("reject", "refused")):
            injector = partition(direction=direction, style=style)
            state = await injector.prepare(TARGET, world)
            await injector.apply(state, world)
            try:
                evidence = await injector.witness(state, world)
                assert evidence.present, evidence.what
                client, server = ("a", "b") if direction == "out" else ("b", "a")
                assert trio.reaches(client, server) == told, "its first packet is met"
                assert trio.reaches(server, client) == "silent", "the answer is met"
                assert trio.reaches("c", "a") == trio.reaches("c", "b") == trio.reaches("a", "c") == "accepted"
                rules = [*trio.inside(way), "nft", "list", "ruleset"]
                listed = subprocess.run(rules, capture_output=True, text=True, check=True).stdout
                assert f"goto hit_packets_{direction}" in listed, "what is cut stops where it arrives"
            finally:
                await injector.revert(state, world)
            assert not (await injector.verify(state, world)).present
            assert trio.reaches("a", "b") == trio.reaches("b", "a") == "accepted"


async def test_one_container_is_cut_off_from_everybody_and_keeps_its_address(trio: Trio) -> None:
    await the_share_that_is_lost_is_the_share_that_was_asked_for(trio)
    address = trio.yard.address(trio.names["a"])
    injector = partition(via="nftables")
    await check_injector(injector, ALONE, trio.world)
    world = trio.world
    state = await injector.prepare(ALONE, world)
    await injector.apply(state, world)
    try:
        assert await trio.yard.asked(address, limit_s=0.4) is None
        assert trio.reaches("c", "a") == trio.reaches("a", "c") == "silent"
    finally:
        await partition(via="nftables").revert(
            injector.state_type.model_validate_json(state.model_dump_json()), trio.reborn()
        )
    assert trio.yard.address(trio.names["a"]) == address
    assert await trio.yard.asked(address) == 1


async def the_share_that_is_lost_is_the_share_that_was_asked_for(trio: Trio) -> None:
    injector = loss(ratio="10%", direction="out")
    world = trio.world
    state = await injector.prepare(TARGET, world)
    await injector.apply(state, world)
    box: NetnsCutState = state.boxes
    try:
        place = (box.second[0].addresses[0], 9)
        sending = f"import socket; s = socket.socket(2, 2)\nfor _ in range(3000): s.sendto(b'', {place!r})"
        subprocess.run([*trio.inside("a"), "python3", "-c", sending], check=True, timeout=30)
        evidence = await injector.witness(state, world)
    finally:
        await injector.revert(state, world)
    lost, _, met = evidence.what.partition(" of ")
    share = int(lost) / int(met.split()[0])
    assert int(met.split()[0]) >= 3000
    assert 0.07 < share < 0.13, "3000 lots at 10 %: five standard deviations are 0.028"


async def test_what_would_hit_others_or_nothing_is_refused(trio: Trio) -> None:
    theirs = [*trio.inside("b"), "nft"]
    subprocess.run([*theirs, "add", "table", "inet", "somebody"], check=True)
    with pytest.raises(UnsafeError, match="instance b: rules that are not ours stand in its network: inet somebody"):
        await partition().prepare(TARGET, trio.world)
    subprocess.run([*theirs, "delete", "table", "inet", "somebody"], check=True)

    client, sharer = trio.yard.client, f"{trio.yard.mark}-sharer"
    config = client.create_host_config(network_mode=f"container:{trio.names['b']}")
    sleep = ["python3", "-c", "import time; time.sleep(200)"]
    client.create_container(trio.yard.image, sleep, name=sharer, labels=trio.yard.labels, host_config=config)
    client.start(sharer)
    spec = HostSpec(kind="container", params={"container": sharer})
    host = ContainerHost(Instance(name="d", host=spec), Wiring(), trio.yard.settings)
    trio.yard.hosts.append(host)
    wiring = Wiring(addresses={**trio.world.wiring.addresses, "d": "127.0.0.1"}, ports=trio.world.wiring.ports)
    with pytest.raises(UnsafeError, match="instance d shares the network namespace of b, and would be cut off too"):
        await partition().prepare(TARGET, FakeWorld(hosts={**trio.hosts, "d": host}, wiring=wiring))

    network = client.inspect_container(trio.names["b"])["HostConfig"]["NetworkMode"]
    client.disconnect_container_from_network(trio.names["b"], network)
    with pytest.raises(InjectError, match="no way there is open, so there is nothing to cut"):
        await partition().prepare(TARGET, FakeWorld(hosts=dict(trio.hosts), wiring=Wiring()))
    client.connect_container_to_network(trio.names["b"], network, ipv4_address=wiring.addresses["b"])
