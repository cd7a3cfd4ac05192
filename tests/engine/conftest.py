"""Real containers on a real engine, of an image made from this machine's own Python; all that a test made goes with it."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from harness.model.ports import Host, HostSettings
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring
from harness.stacks.compose import ComposeHost
from harness.stacks.container import ContainerHost

sys.path.insert(0, str(Path(__file__).parent))
import base_image

SERVER = """
import os, signal, socket, sys
signal.alarm(240)
if "stubborn" not in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with socket.create_server(("0.0.0.0", 8080)) as server:
    print("serving", os.getpid(), flush=True)
    while True:
        with server.accept()[0] as one:
            data = one.recv(100)
            print("asked", data.decode(errors="replace").strip(), flush=True)
            one.sendall(b"x" * int(data or b"1"))
"""


@pytest.fixture(scope="session")
def image() -> str:
    """The base image's tag. Skips where there is no engine, or the image cannot be made."""
    if shutil.which("docker") is None:
        pytest.skip("no docker program here")
    told = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    if told.returncode != 0:
        pytest.skip(f"no container engine answers: {told.stderr.strip()[-200:]}")
    return base_image.build()


@dataclass
class Yard:
    """Makes containers and networks that all carry one label, and hosts of them."""

    client: Any
    image: str
    folder: Path
    mark: str = field(default_factory=lambda: f"yard-{secrets.token_hex(4)}")
    hosts: list[Host] = field(default_factory=list)
    count: int = 0

    @property
    def labels(self) -> dict[str, str]:
        return {"blackstart.test": self.mark}

    @property
    def settings(self) -> HostSettings:
        return HostSettings(
            run_id="run-1",
            state_dir=str(self.folder / "state"),
            log_dir=str(self.folder / "logs"),
            base_dir=str(self.folder),
        )

    def network(self, subnet: str | None = None) -> str:
        """A bridge network's name; with `subnet`, one on which addresses can be laid down."""
        self.count += 1
        name = f"{self.mark}-net{self.count}"
        ipam = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)]) if subnet else None
        self.client.create_network(name, driver="bridge", ipam=ipam, labels=self.labels)
        return name

    def make(
        self, *args: str, run: bool = True, network: str | None = None, address: str | None = None, **more: Any
    ) -> str:
        """A container that serves on 8080, running unless told otherwise; its name. `address`: a fixed one on the network."""
        self.count += 1
        if address is not None:
            pin = self.client.create_endpoint_config(ipv4_address=address)
            more["networking_config"] = self.client.create_networking_config({network: pin})
        name = more.pop("name", f"{self.mark}-{self.count}")
        published = more.pop("publish", None)
        limits = {"restart_policy": more.pop("restart", None), "port_bindings": published} | more.pop("limits", {})
        made = self.client.create_container(
            self.image,
            ["python3", "-c", SERVER, *args],
            name=name,
            ports=list(published) if published else None,
            host_config=self.client.create_host_config(network_mode=network, **limits),
            labels=self.labels | more.pop("labels", {}),
            **more,
        )
        if run:
            self.client.start(made["Id"])
        return name

    def instance(self, params: dict[str, Any], **more: Any) -> Instance:
        kind = "compose" if "compose" in params else "container"
        return Instance(name="a", host=HostSpec(kind=kind, params=params), **more)

    def host(self, params: dict[str, Any] | str) -> ContainerHost:
        """A host of the instance `a` on that container."""
        given = {"container": params} if isinstance(params, str) else params
        made = (ComposeHost if "compose" in given else ContainerHost)(self.instance(given), Wiring(), self.settings)
        self.hosts.append(made)
        return made

    def address(self, name: str) -> str:
        networks = self.client.inspect_container(name)["NetworkSettings"]["Networks"]
        return next(one["IPAddress"] for one in networks.values() if one["IPAddress"])

    async def asked(self, address: str, size: int = 1, port: int = 8080, limit_s: float = 1.0) -> int | None:
        """How many bytes it answered with; None when it did not."""
        writer = None
        try:
            async with asyncio.timeout(limit_s):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(str(size).encode())
                answer = await reader.read(-1)
        except (OSError, TimeoutError):
            return None
        finally:
            if writer is not None:
                writer.close()
        return len(answer) or None

    async def serving(self, address: str, port: int = 8080) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 20
        while await self.asked(address, port=port) is None:
            assert time.monotonic() < deadline, f"{address}:{port} never answered"
            await asyncio.sleep(0.02)

    def clear(self) -> None:
        mine = {"label": f"blackstart.test={self.mark}"}
        for one in self.client.containers(all=True, filters=mine):
            self.client.remove_container(one["Id"], force=True)
        for one in self.client.networks(filters=mine):
            self.client.remove_network(one["Id"])
        self.client.close()


@pytest.fixture
async def yard(image: str, tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(docker.APIClient(version="auto", timeout=30), image, tmp_path)
    yield yard
    for host in yard.hosts:
        await host.close()
    yard.clear()


@pytest.fixture
def subnet() -> Iterator[str]:
    """A subnet of ours that no route of this machine covers."""
    taken = Path("/proc/net/route").read_text()
    for third in range(100, 250):
        # /proc writes addresses in hexadecimal, last byte first.
        if f"00{third:02X}C6C6" not in taken.upper() and f"00{third:02X}12C6" not in taken.upper():
            yield f"198.18.{third}.0/24"
            return
    pytest.skip("no free subnet for a test network")
