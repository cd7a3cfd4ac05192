"""cpu, memory and disk-fill in real containers: a helper that is the container's as far as its limits and its end go."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InjectError, UnsafeError
from harness.faults.cgroups import groups_of
from harness.faults.strained import helpers
from harness.model.plan import Target
from harness.model.wiring import Wiring
from harness.registry import catalog
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeWorld

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.privileged, pytest.mark.timeout(240)]
MIB = 1 << 20
TARGET = Target(kind="instance", name="a")
CASES: dict[str, dict[str, Any]] = {
    "cpu": {"load": "50%", "workers": 1},
    "memory": {"size": "32MiB"},
    "disk-fill": {"size": "8MiB", "path": "/tmp"},
}


def made(kind: str, **params: Any) -> Any:
    found = catalog().fault(kind)
    return found.load()(found.params.model_validate(params))


def victim(yard: Any, kind: str = "container", **more: Any) -> tuple[str, FakeWorld]:
    """A container that serves, with a `/tmp` of 64 MiB in memory, and the world in which it is the instance `a`."""
    labels = {"com.docker.compose.service": "web", "com.docker.compose.project": yard.mark}
    labels["com.docker.compose.oneoff"] = "False"
    name = yard.make(labels=labels, limits={"tmpfs": {"/tmp": "size=64m"}, **more})
    host = yard.host({"compose": "web", "project": yard.mark} if kind == "compose" else {"container": name})
    return name, FakeWorld(hosts={"a": host}, wiring=Wiring())


def group(pid: int, controller: str) -> Path:
    return Path(groups_of(pid, (controller,))[0])


async def gone(token: str) -> None:
    deadline = time.monotonic() + 20
    while helpers(token):
        assert time.monotonic() < deadline, "a helper outlived its container"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "host"),
    [
        pytest.param(kind, host, marks=pytest.mark.cell(kind, host))
        for kind in CASES
        for host in ("container", "compose")
    ],
)
async def test_uses_a_container_up(yard: Any, kind: str, host: str) -> None:
    name, world = victim(yard, host)
    await yard.serving(yard.address(name))
    before = yard.client.inspect_container(name)["HostConfig"]
    await check_injector(made(kind, **CASES[kind]), TARGET, world)
    assert await yard.asked(yard.address(name)) is not None
    assert yard.client.inspect_container(name)["HostConfig"] == before, "nothing of it was changed"


async def test_a_helper_counts_against_the_containers_limits(yard: Any) -> None:
    _, world = victim(yard, mem_limit=160 * MIB)
    pid = (await world.host("a").find()).pid
    memory, cpu = made("memory", size="64MiB"), made("cpu", load="10%")
    used = _current(pid)
    for injector in (memory, cpu):
        state = await injector.prepare(TARGET, world)
        await injector.apply(state, world)
        assert (await injector.witness(state, world)).present
        inside = {int(line) for line in (group(pid, injector.controllers[0]) / "cgroup.procs").read_text().split()}
        assert set(helpers(state.token)) <= inside
        if injector is memory:
            assert _current(pid) - used >= 60 * MIB, "the kernel charges it to the container"
        await injector.revert(state, world)
    with pytest.raises(UnsafeError, match=r"256 MiB asked for, but only \d+ MiB can be taken"):
        await made("memory", size="256MiB").prepare(TARGET, world)


def _current(pid: int) -> int:
    """Bytes that the container uses, as the kernel counts."""
    (file,) = (
        path for name in ("memory.current", "memory.usage_in_bytes") if (path := group(pid, "memory") / name).exists()
    )
    return int(file.read_text())


@pytest.mark.parametrize("kind", CASES)
async def test_a_helper_ends_with_its_container_which_starts_again(yard: Any, kind: str) -> None:
    name, world = victim(yard)
    injector = made(kind, **CASES[kind])
    state = await injector.prepare(TARGET, world)
    await injector.apply(state, world)
    assert helpers(state.token)
    yard.client.kill(name)
    await gone(state.token)
    evidence = await injector.witness(state, world)
    assert (evidence.present, evidence.what) == (False, "no helper runs")
    await injector.revert(state, world)
    yard.client.start(name)
    await yard.serving(yard.address(name))
    state = await injector.prepare(TARGET, world)
    await injector.apply(state, world)
    assert (await injector.witness(state, world)).present
    await injector.revert(state, world)
    assert not (await injector.verify(state, world)).present


async def test_a_full_disk_is_the_containers_alone_and_no_link_leads_out_of_it(yard: Any) -> None:
    _, world = victim(yard)
    pid = (await world.host("a").find()).pid
    here = os.statvfs("/tmp").f_bavail
    full = made("disk-fill", leave="0B", path="/tmp")
    state = await full.prepare(TARGET, world)
    await full.apply(state, world)
    assert os.statvfs(f"/proc/{pid}/root/tmp").f_bavail == 0
    assert "0.0 MiB are free" in (await full.witness(state, world)).what
    assert abs(os.statvfs("/tmp").f_bavail - here) * 4096 < 512 * MIB
    await full.revert(state, world)
    assert os.statvfs(f"/proc/{pid}/root/tmp").f_bavail * 4096 >= 60 * MIB
    Path(f"/proc/{pid}/root/tmp/way-out").symlink_to("/tmp")
    with pytest.raises(InjectError, match="expected `path` to be a folder, absolute, got '/tmp/way-out'"):
        await made("disk-fill", size="1MiB", path="/tmp/way-out").prepare(TARGET, world)
    with pytest.raises(InjectError, match="instance a has no folder of its own; say `path:`"):
        await made("disk-fill", size="1MiB").prepare(TARGET, world)
    with pytest.raises(UnsafeError, match=r"disk-fill: / has .* of at least 1024 MiB that stay free there"):
        await made("disk-fill", leave="1MiB", path="/").prepare(TARGET, world)
