"""Faults on real containers: the contract of an injector in each cell, a bystander that feels nothing, and undoing from recipes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.bandwidth import Bandwidth, BandwidthParams
from harness.faults.disconnect import Disconnect
from harness.faults.exec import Exec, ExecParams
from harness.faults.kill import Kill, KillParams
from harness.faults.partition import Partition, PartitionParams
from harness.faults.pause import Pause, PauseParams
from harness.faults.restart import Restart, RestartParams
from harness.faults.stop import Stop, StopParams
from harness.model.plan import Target
from harness.model.ports import Injector
from harness.model.wiring import Wiring
from harness.stacks.container import ContainerHost
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeWorld

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(240)]
TARGET = Target(kind="instance", name="a")


@dataclass
class Victim:
    """The instance `a` in a container that serves at a published port (or its own address), and the world around it."""

    yard: Any
    name: str
    host: ContainerHost
    place: tuple[str, int]

    @property
    def world(self) -> FakeWorld:
        return self.world_of(self.host)

    def world_of(self, host: ContainerHost) -> FakeWorld:
        address, port = self.place
        return FakeWorld(hosts={"a": host}, wiring=Wiring(addresses={"a": address}, ports={"a": {"http": port}}))

    def reborn(self) -> FakeWorld:
        """The world as the reaper rebuilds it, from a recipe alone."""
        revived = type(self.host).revive(self.host.recipe())
        self.yard.hosts.append(revived)
        return self.world_of(revived)

    async def serves(self) -> bool:
        return await self.yard.asked(self.place[0], port=self.place[1]) is not None

    async def serving(self) -> None:
        """Wait until it answers: the engine accepts at a published port before the program listens."""
        await self.yard.serving(self.place[0], port=self.place[1])

    async def vanish(self) -> None:
        """End it behind everybody's back."""
        with contextlib.suppress(Exception):
            self.yard.client.kill(self.name)


@pytest.fixture
async def victim(yard, subnet) -> AsyncIterator[Callable[..., Any]]:
    async def make(kind: str = "container", *, publish: bool = False, **more: Any) -> Victim:
        labels = {"com.docker.compose.service": "web", "com.docker.compose.project": yard.mark}
        labels["com.docker.compose.oneoff"] = "False"
        if publish:
            more["publish"] = {8080: ("127.0.0.1", 18440)}
        elif "network" not in more:
            more |= {"network": yard.network(subnet), "address": subnet.replace("0/24", "9")}
        name = yard.make(labels=labels, **more)
        params = {"compose": "web", "project": yard.mark} if kind == "compose" else {"container": name}
        host = yard.host(params)
        place = ("127.0.0.1", 18440) if publish else (yard.address(name), 8080)
        await yard.serving(place[0], port=place[1])
        assert await host.find() is not None
        return Victim(yard, name, host, place)

    return make


@pytest.fixture
async def bystander(yard) -> AsyncIterator[None]:
    """A container of the same image and network that nobody named: asked throughout, it must always answer."""
    name = yard.make(labels={"role": "bystander"})
    address = yard.address(name)
    await yard.serving(address)
    before = yard.client.inspect_container(name)["State"]
    answers: list[int | None] = []

    async def ask() -> None:
        while True:
            answers.append(await yard.asked(address, 3, limit_s=20))
            await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    yield
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert len(answers) > 3
    assert set(answers) == {3}
    assert yard.client.inspect_container(name)["State"] == before


FAULTS: dict[str, Callable[[], Injector]] = {
    "kill": lambda: Kill(KillParams()),
    "stop": lambda: Stop(StopParams.model_validate({"grace": "10s"})),
    "pause": lambda: Pause(PauseParams()),
    "restart": lambda: Restart(RestartParams.model_validate({"down": "100ms"})),
}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(fault, kind, marks=pytest.mark.cell(fault, kind))
        for fault in FAULTS
        for kind in ("container", "compose")
    ],
)
async def test_keeps_the_contract_of_an_injector(victim, bystander, fault, kind) -> None:
    a = await victim(kind)
    vanish = a.vanish if kind == "container" else None
    await check_injector(FAULTS[fault](), TARGET, a.world, instant=fault == "restart", vanish=vanish)
    if not (fault == "pause" and vanish is not None):  # a pause continues what is stopped, and starts nothing
        await a.serving()


@pytest.mark.cell("kill", "container")
async def test_a_crash_is_witnessed_though_a_restart_policy_undoes_it(victim, bystander) -> None:
    a = await victim(restart={"Name": "always"})
    before = await a.host.find()
    kill = Kill(KillParams(via="pid"))
    await check_injector(kill, TARGET, a.world, instant=True)
    await a.serving()
    state = await kill.prepare(TARGET, a.world)
    await kill.apply(state, a.world)
    await a.serving()
    what = (await kill.witness(state, a.world)).what
    assert what.startswith(
        f"container {before.container[:12]} died; container {before.container[:12]} runs anew since 20"
    )
    await kill.revert(state, a.world)


async def test_a_crash_without_a_restart_policy_is_put_back(victim) -> None:
    a = await victim()
    kill = Kill(KillParams(via="pid"))
    await check_injector(kill, TARGET, a.world, instant=True, vanish=a.vanish)
    await a.serving()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.cell("partition", kind)) for kind in ("container", "compose")]
)
async def test_disconnect_keeps_the_contract(victim, bystander, kind) -> None:
    a = await victim(kind)
    await check_injector(Partition(PartitionParams(via="disconnect")), TARGET, a.world)
    await a.serving()


async def test_disconnect_takes_off_what_is_named_and_returns_under_the_same_address(
    yard, victim, subnet, bystander
) -> None:
    net, other = yard.network(subnet), yard.network()
    a = await victim(network=net)
    yard.client.connect_container_to_network(a.name, other)
    before = {one.name: one for one in await a.host.attachments((await a.host.find()).container)}
    await check_injector(Disconnect((net,)), TARGET, a.world)
    after = {one.name: one for one in await a.host.attachments((await a.host.find()).container)}
    assert after == before | {net: before[net].model_copy(update={"pinned": True})}, (
        "laid down from now on, as documented"
    )
    await a.serving()
    with pytest.raises(UnsafeError, match=f"its address on network {other} could not be the same after a disconnect"):
        await Disconnect().prepare(TARGET, a.world)
    with pytest.raises(
        InjectError, match=f"it is not on network elsewhere, so nothing can be cut off .it is on: {net}"
    ):
        await Disconnect(("elsewhere",)).prepare(TARGET, a.world)


@pytest.mark.parametrize("fault", ["kill", "stop", "restart"])
async def test_an_address_that_may_be_another_after_a_start_is_refused(yard, victim, fault) -> None:
    a = await victim(network=yard.network())
    with pytest.raises(
        UnsafeError, match=f"its address {a.place[0]} on network .* may be another when it starts again"
    ):
        await FAULTS[fault]().prepare(TARGET, a.world)
    assert await a.serves()


async def test_an_address_that_was_taken_meanwhile_is_named_with_what_to_type(yard, victim, subnet) -> None:
    net = yard.network(subnet)
    a = await victim(network=net)
    injector = Disconnect()
    state = await injector.prepare(TARGET, a.world)
    await injector.apply(state, a.world)
    assert (await injector.witness(state, a.world)).present
    assert not await a.serves()
    thief = yard.make(network=net)
    assert yard.address(thief) == state.attachments[0].address, "the engine gives the lowest free address"
    world = a.reborn()
    with pytest.raises(RevertError, match="already in use") as told:
        await injector.revert(state, world)
    address = state.attachments[0].address
    assert told.value.commands == (f"docker network connect --ip {address} {net} {state.container[:12]}",)
    assert (await injector.verify(state, world)).present
    yard.client.remove_container(thief, force=True)
    await injector.revert(state, world)
    assert not (await injector.verify(state, world)).present
    await a.serving()


async def test_networks_of_a_container_made_anew_are_left_alone(yard, victim, subnet) -> None:
    net = yard.network(subnet)
    a = await victim(network=net)
    injector = Disconnect()
    state = await injector.prepare(TARGET, a.world)
    await injector.apply(state, a.world)
    yard.client.remove_container(a.name, force=True)
    yard.make(name=a.name, network="none")
    world = a.reborn()
    await injector.revert(state, world)
    assert list(yard.client.inspect_container(a.name)["NetworkSettings"]["Networks"]) == ["none"]
    evidence = await injector.verify(state, world)
    assert (evidence.present, evidence.what) == (False, f"container {state.container[:12]} does not exist any more")


INSIDE: dict[str, Any] = {
    "apply": ["sh", "-c", "docker exec $$BLACKSTART_CONTAINER touch /tmp/broken"],
    "revert": ["sh", "-c", "docker exec $$BLACKSTART_CONTAINER rm -f /tmp/broken"],
    "witness": ["sh", "-c", "docker exec $$BLACKSTART_CONTAINER sh -c '[ -e /tmp/broken ]'"],
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.cell("exec", kind)) for kind in ("container", "compose")]
)
async def test_exec_reaches_into_a_container(victim, bystander, kind) -> None:
    a = await victim(kind)
    await check_injector(Exec(ExecParams.model_validate(INSIDE)), TARGET, a.world)


@pytest.mark.privileged
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.cell("bandwidth", kind)) for kind in ("container", "compose")]
)
async def test_bandwidth_is_felt_and_put_back(victim, bystander, kind) -> None:
    a = await victim(kind)
    narrow = Bandwidth(BandwidthParams.model_validate({"rate": "100KB/s"}))
    await check_injector(narrow, TARGET, a.world, vanish=a.vanish if kind == "container" else None)
    if kind == "container":
        await a.host.start()
        await a.serving()
    state = await narrow.prepare(TARGET, a.world)
    await narrow.apply(state, a.world)
    began = time.monotonic()
    assert await a.yard.asked(a.place[0], 200_000, a.place[1], limit_s=60) == 200_000
    took = time.monotonic() - began
    assert took > 1.5, f"200 KB at 100 KB/s take 2 s, less what the bucket holds; took {took:.2f} s"
    assert " 0 times at its limit" not in (await narrow.witness(state, a.world)).what
    with pytest.raises(UnsafeError, match="shaped already: tbf b1ac: on eth0; a bandwidth fault stands there already"):
        await narrow.prepare(TARGET, a.world)
    world = a.reborn()
    await narrow.revert(state, world)
    assert not (await narrow.verify(state, world)).present


@pytest.mark.privileged
async def test_a_shape_that_is_somebody_elses_is_refused_and_stays(victim) -> None:
    a = await victim()
    inside = ["nsenter", "-t", str((await a.host.find()).pid), "-n", "tc", "qdisc"]
    subprocess.run(
        [*inside, "add", "dev", "eth0", "root", "tbf", "rate", "10mbit", "burst", "9000", "latency", "9ms"], check=True
    )
    narrow = Bandwidth(BandwidthParams.model_validate({"rate": "100KB/s"}))
    with pytest.raises(UnsafeError, match=r"shaped already: tbf 8\w*: on eth0; not ours to replace"):
        await narrow.prepare(TARGET, a.world)
    assert "tbf" in subprocess.run([*inside, "show"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_the_reaper_puts_back_what_another_process_broke(victim, fault) -> None:
    a = await victim()
    before = await a.host.find()
    injector = FAULTS[fault]()
    state = await injector.prepare(TARGET, a.world)
    await injector.apply(state, a.world)
    told = injector.state_type.model_validate_json(state.model_dump_json())
    world, other = a.reborn(), FAULTS[fault]()
    assert (await other.witness(told, world)).present
    await other.revert(told, world)
    assert not (await other.verify(told, world)).present
    await a.serving()
    assert (await a.host.find() == before) is (fault == "pause")


async def test_a_paused_container_accepts_and_says_nothing(victim) -> None:
    a = await victim(publish=True)
    pause = FAULTS["pause"]()
    state = await pause.prepare(TARGET, a.world)
    await pause.apply(state, a.world)
    evidence = await pause.witness(state, a.world)
    assert evidence.what.endswith("127.0.0.1:18440 still accepts connections")
    assert not await a.serves()
    with pytest.raises(InjectError, match="is stopped already, not by this fault"):
        await pause.prepare(TARGET, a.world)
    await pause.revert(state, a.world)
    await a.serving()


async def test_kill_says_what_was_seen(victim) -> None:
    a = await victim(publish=True)
    kill = FAULTS["kill"]()
    state = await kill.prepare(TARGET, a.world)
    await kill.apply(state, a.world)
    what = (await kill.witness(state, a.world)).what
    assert what == f"container {state.container[:12]} is gone; 127.0.0.1:18440 refuses connections"
    await kill.revert(state, a.world)
    assert (await kill.verify(state, a.world)).what.startswith(f"container {state.container[:12]} runs and accepts")


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_who_was_made_anew_meanwhile_is_left_alone(victim, fault) -> None:
    a = await victim(publish=True)
    injector = FAULTS[fault]()
    state = await injector.prepare(TARGET, a.world)
    await injector.apply(state, a.world)
    a.yard.client.remove_container(a.name, force=True)
    a.yard.make(name=a.name, publish={8080: ("127.0.0.1", 18440)})
    a.yard.client.pause(a.name)
    world = a.reborn()
    await injector.revert(state, world)
    after = a.yard.client.inspect_container(a.name)["State"]
    assert after["Paused"], "somebody else's pause of somebody else's container stays"
    assert not (await injector.verify(state, world)).present


async def test_what_was_removed_is_named_unreverted_until_it_is_there_again(victim) -> None:
    a = await victim(publish=True)
    kill = FAULTS["kill"]()
    state = await kill.prepare(TARGET, a.world)
    await kill.apply(state, a.world)
    a.yard.client.remove_container(a.name)
    world = a.reborn()
    with pytest.raises(RevertError, match=f"cannot be started again: instance a: there is no container {a.name}"):
        await kill.revert(state, world)
    assert (await kill.verify(state, world)).present
    a.yard.make(name=a.name, publish={8080: ("127.0.0.1", 18440)})
    await a.yard.serving("127.0.0.1", port=18440)
    await kill.revert(state, world)
    assert not (await kill.verify(state, world)).present
