"""Regions in network namespaces of their own: two hosts on one machine, cut off from each other each way, while we reach both."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import InjectError
from harness.faults.loss import Loss, LossParams
from harness.faults.partition import Partition, PartitionParams
from harness.faults.sockets import Identity, reach
from harness.model.plan import CutEnd, Target
from harness.model.ports import HostSettings
from harness.model.stack import HostSpec, Instance, Link, Region, Stack
from harness.model.wiring import RegionNetworks
from harness.stacks.client import end_stack
from harness.stacks.netns import make_networks, namespace_path, remove_networks
from harness.stacks.process import ProcessHost
from harness.stacks.python import PythonHost
from harness.stacks.wire import allocate
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeWorld

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(120),
]
SERVER = """
import os, signal, socket
def main(args):
    signal.alarm(100)
    with socket.create_server((args[0], int(args[1]))) as server:
        print("uid", os.getuid(), flush=True)
        while True:
            server.accept()[0].close()
if __name__ == "__main__":
    import sys
    main(sys.argv[1:])
"""
SIDES = ((CutEnd(instance="a", netns="east"),), (CutEnd(instance="b", netns="west"),))
TARGET = Target(kind="cut", name="a | b", sides=SIDES)


@dataclass
class Hosts:
    """Two regions of one server each: `a` a process of another user, `b` forked from a zygote; `c` lives in a's region."""

    world: FakeWorld
    networks: RegionNetworks
    folder: Path

    def address(self, name: str) -> tuple[str, int]:
        return self.world.wiring.addresses[name], self.world.wiring.ports[name]["http"]

    async def reaches(self, client: str | None, server: str | tuple[str, int]) -> str:
        """What becomes of a connect from a region (None: from here)."""
        address, port = self.address(server) if isinstance(server, str) else server
        if client is None:
            return await reach(Identity(), address, port, 0.5)
        told = f"import socket; s = socket.socket(); s.settimeout(0.5); print(s.connect_ex(({address!r}, {port})))"
        inside = ["nsenter", f"--net={namespace_path(self.networks.namespace(client))}", sys.executable, "-I", "-S"]
        process = await asyncio.create_subprocess_exec(*inside, "-c", told, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return {0: "accepted", 11: "silent", 111: "refused"}[int(out)]


@pytest.fixture
async def hosts() -> AsyncIterator[Hosts]:
    """In a folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="blackstart-regions-"))
    folder.chmod(0o711)
    try:
        async for made in _hosts(folder):
            yield made
    finally:
        shutil.rmtree(folder)


async def _hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    (tmp_path / "served.py").write_text(SERVER)
    listen = ["${addr:NAME}", "${port:http}"]
    made = {}
    for name, region, user in (("a", "east", "24101"), ("b", "west", None), ("c", "east", None)):
        args = [text.replace("NAME", name) for text in listen]
        if name == "b":
            spec = HostSpec(kind="python", params={"python": "served:main", "args": args, "cwd": str(tmp_path)})
        else:
            spec = HostSpec(kind="process", params={"process": ["/usr/bin/env", "python3", "-S", "-c", SERVER, *args]})
        # The same fixed port in both regions: each is a host of its own.
        made[name] = Instance(
            name=name, region=region, host=spec, user=user, ports={"http": 8080 if name != "c" else None}
        )
    regions = {name: Region(name=name, isolation="netns") for name in ("east", "west")}
    links = {
        "out": Link(name="out", source="a", to="b", to_port="http"),
        "in": Link(name="in", source="clients", to="a"),
    }
    stack = Stack(name="s", base_dir=str(tmp_path), regions=regions, instances=made, links=links)
    state = str(tmp_path / "state")
    wiring = allocate(stack, state)
    networks = wiring.networks
    assert networks is not None
    settings = HostSettings(run_id="r", state_dir=state, log_dir=str(tmp_path / "logs"), base_dir=str(tmp_path))
    (tmp_path / "logs").mkdir()
    kinds = {"process": ProcessHost, "python": PythonHost}
    running = {name: kinds[one.host.kind](one, wiring, settings) for name, one in made.items()}
    try:
        await make_networks(networks)
        world = FakeWorld(hosts=dict(running), wiring=wiring)  # type: ignore[arg-type]
        built = Hosts(world, networks, tmp_path)
        for host in running.values():
            await host.start()
        async with asyncio.timeout(20):
            while {await built.reaches(None, name) for name in running} != {"accepted"}:
                await asyncio.sleep(0.02)
        yield built
    finally:
        for host in running.values():
            await host.close()
        await end_stack(state, 1_000_000_000)
        await remove_networks(networks)
        await remove_networks(networks)  # idempotent
    names = [networks.switch, *map(networks.namespace, networks.regions)]
    assert [name for name in names if Path(namespace_path(name)).exists()] == []
    assert not Path("/sys/class/net", networks.interface).exists()


@pytest.mark.cell("partition", "cut-netns")
@pytest.mark.cell("loss", "cut-netns")
async def test_regions_are_hosts_and_cuts_between_them_keep_the_contract(hosts: Hosts) -> None:
    assert hosts.address("a")[1] == hosts.address("b")[1] == 8080
    assert hosts.address("a")[0] == hosts.address("c")[0] == hosts.networks.regions["east"]
    assert (hosts.folder / "logs" / "a.log").read_text() == "uid 24101\n"
    assert hosts.world.wiring.links["in"].startswith("127.0.0.1:")
    address, _, port = hosts.world.wiring.links["out"].partition(":")
    assert address == hosts.networks.gateway
    async with await asyncio.start_server(lambda _, writer: writer.close(), address, int(port)):
        assert await hosts.reaches("east", (address, int(port))) == "accepted", "a link of its own is in reach"
    both = Target(kind="cut", name="a, c | b", sides=((*SIDES[0], CutEnd(instance="c", netns="east")), SIDES[1]))
    await check_injector(Partition(PartitionParams(via="namespace")), both, hosts.world)
    await check_injector(Loss(LossParams.model_validate({"ratio": "30%"})), both, hosts.world)


async def test_each_way_while_the_machine_keeps_access_and_restarts_stay_inside(hosts: Hosts) -> None:
    both = Target(kind="cut", name="a, c | b", sides=((*SIDES[0], CutEnd(instance="c", netns="east")), SIDES[1]))
    for direction, first, second in (("out", "refused", "silent"), ("in", "silent", "refused")):
        injector = Partition(PartitionParams.model_validate({"direction": direction, "style": "reject"}))
        state = await injector.prepare(both, hosts.world)
        await injector.apply(state, hosts.world)
        try:
            evidence = await injector.witness(state, hosts.world)
            assert evidence.present, evidence.what
            assert await hosts.reaches("east", "b") == first
            assert await hosts.reaches("west", "a") == second
            assert {await hosts.reaches(None, name) for name in "abc"} == {"accepted"}
            assert await hosts.reaches("east", "c") == "accepted"
        finally:
            await injector.revert(state, hosts.world)
        assert not (await injector.verify(state, hosts.world)).present
    for name in "ab":  # as a fault's revert would: by a host that another process revived
        host = type(hosts.world.host(name)).revive(hosts.world.host(name).recipe())  # type: ignore[attr-defined]
        found = await host.find()
        await host.kill(found)
        await host.start()
        async with asyncio.timeout(20):
            while await hosts.reaches(None, name) != "accepted":
                await asyncio.sleep(0.02)
        await host.close()
    assert await hosts.reaches("east", "b") == "accepted"


async def test_a_part_of_a_region_would_take_its_neighbours_along(hosts: Hosts) -> None:
    with pytest.raises(Exception, match="instance c shares the network namespace of a, and would be cut off too"):
        await Partition(PartitionParams()).prepare(TARGET, hosts.world)
    await hosts.world.host("b").stop(1_000_000_000)
    with pytest.raises(InjectError, match="instance b: nothing runs, so nothing can be cut off"):
        await Partition(PartitionParams()).prepare(TARGET, hosts.world)
