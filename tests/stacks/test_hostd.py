"""The process host's own life: it outlives its client, ends when left alone or told to, and leaves nothing, even when killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from harness.errors import UnsafeError
from harness.stacks.client import HostdClient, end_stack, ensure_hostd
from harness.stacks.ending import marked_processes
from harness.stacks.launch import StateDir
from harness.stacks.procfs import alive, read_stat

pytestmark = [pytest.mark.live, pytest.mark.slow]

CLIENT = """
import asyncio, json, sys
from harness.model.ports import HostSettings
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring
from harness.stacks.process import ProcessHost

async def main(folder):
    settings = HostSettings(run_id="r", state_dir=folder + "/state", log_dir=folder + "/logs", base_dir=folder)
    spec = HostSpec(kind="process", params={"process": ["python3", "program.py", "nest", "pids"]})
    host = ProcessHost(Instance(name="a", host=spec), Wiring(), settings)
    print(json.dumps((await host.start()).pid), flush=True)
    await asyncio.sleep(60)

asyncio.run(main(sys.argv[1]))
"""


def running(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and not stat.ended


async def until_gone(pids: list[int], limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while any(running(pid) for pid in pids):
            await asyncio.sleep(0.02)


async def test_it_survives_its_client_and_shutdown_ends_all(rig) -> None:
    with subprocess.Popen([sys.executable, "-c", CLIENT, str(rig.folder)], stdout=subprocess.PIPE) as client:
        try:
            pid = json.loads(client.stdout.readline())
            pids = await rig.noted("pids", 3)
        finally:
            client.kill()
    state = StateDir(rig.settings.state_dir)
    hostd = state.hostd()
    assert hostd is not None
    assert os.getsid(hostd.pid) == hostd.pid, "in a session of its own, where no Ctrl-C reaches"
    assert all(running(one) for one in pids)
    assert await end_stack(rig.settings.state_dir) == ("a",)
    assert not any(running(one) for one in [pid, hostd.pid, *pids])
    assert state.hostd() is None
    assert await end_stack(rig.settings.state_dir) == (), "twice is as good as once"


async def test_with_the_process_host_killed_all_is_still_found_and_ended(rig) -> None:
    rig.program("a", "nest", "pids")
    rig.function("b", "double", "more")
    wiring = rig.wiring()
    identity = await rig.host("a", wiring).start()
    await rig.host("b", wiring).start()
    pids = [*(await rig.noted("pids", 3)), *(await rig.noted("more", 2))]
    state = StateDir(rig.settings.state_dir)
    hostd = state.hostd()
    os.kill(hostd.pid, signal.SIGKILL)
    await until_gone([hostd.pid])
    assert all(running(pid) for pid in pids)
    assert await rig.hosts["a"].find() == identity
    await rig.hosts["a"].freeze(identity)
    assert await rig.hosts["a"].frozen(identity)
    assert sorted(await end_stack(rig.settings.state_dir)) == ["a", "b"]
    assert not any(running(pid) for pid in pids)
    assert marked_processes(state) == ()


async def test_a_new_process_host_takes_over_from_a_dead_one(rig) -> None:
    rig.program("a", "nest", "pids")
    rig.program("b", "stubborn", "more")
    wiring = rig.wiring()
    first = await rig.host("a", wiring).start()
    dead = StateDir(rig.settings.state_dir).hostd()
    os.kill(dead.pid, signal.SIGKILL)
    await until_gone([dead.pid])
    assert await rig.hosts["a"].start() == first
    second = await rig.host("b", wiring).start()
    await rig.hosts["a"].kill(first)
    again = await rig.hosts["a"].start()
    assert again != first
    assert StateDir(rig.settings.state_dir).hostd() != dead
    assert sorted(await end_stack(rig.settings.state_dir, 0)) == ["a", "b"]
    assert alive(second.pid, second.start_ticks) is None


async def test_left_alone_it_ends_its_instances_and_itself(rig) -> None:
    hostd = await ensure_hostd(rig.settings.state_dir, rig.settings.log_dir, orphan_grace_ns=300_000_000)
    rig.program("a", "nest", "pids")
    await rig.host("a").start()
    pids = await rig.noted("pids", 3)
    await asyncio.sleep(0.9)
    assert all(running(pid) for pid in [hostd.pid, *pids]), "a client is connected"
    await rig.hosts["a"].close()
    await until_gone([hostd.pid, *pids])


async def test_sigterm_ends_all(rig) -> None:
    rig.program("a", "stubborn", "pids")
    await rig.host("a").start()
    pids = await rig.noted("pids", 1)
    hostd = StateDir(rig.settings.state_dir).hostd()
    os.kill(hostd.pid, signal.SIGTERM)
    await until_gone([hostd.pid, *pids], 5)  # what a caller that escalates waits for


async def test_many_who_want_one_get_one(rig) -> None:
    found = await asyncio.gather(*(ensure_hostd(rig.settings.state_dir, rig.settings.log_dir) for _ in range(8)))
    assert len(set(found)) == 1


async def test_it_refuses_what_it_does_not_know_and_goes_on(rig) -> None:
    await ensure_hostd(rig.settings.state_dir, rig.settings.log_dir)
    client = HostdClient(StateDir(rig.settings.state_dir))
    with pytest.raises(UnsafeError, match="cannot do 'fly'"):
        await client.request({"do": "fly"}, 5_000_000_000)
    with pytest.raises(UnsafeError, match="KeyError"):
        await client.request({"do": "start"}, 5_000_000_000)
    answer = await client.request({"do": "ping"}, 5_000_000_000)
    assert answer["ok"] is True
    await client.close()


async def test_a_path_longer_than_a_socket_name_may_be(rig) -> None:
    deep = rig.folder / ("d" * 60) / ("e" * 60)
    hostd = await ensure_hostd(str(deep), rig.settings.log_dir)
    try:
        assert running(hostd.pid)
    finally:
        await end_stack(str(deep))
    assert not running(hostd.pid)


async def test_its_secrets_are_for_its_owner_alone(rig) -> None:
    rig.program("a", "stubborn", "pids", env={"TOKEN": "s3cret"})
    host = rig.host("a")
    await host.start()
    assert "s3cret" not in json.dumps(host.recipe())
    # Instances of other users pass through it to directories of their own; they may not list it, nor read what holds secrets.
    assert os.stat(rig.settings.state_dir).st_mode & 0o066 == 0
    holders = [path for path in (rig.folder / "state").glob("*.json") if "s3cret" in path.read_text()]
    assert [path.name for path in holders if path.stat().st_mode & 0o077] == []
    await end_stack(rig.settings.state_dir)
    assert not any("s3cret" in path.read_text() for path in (rig.folder / "state").glob("*.json"))
    assert not (rig.folder / "dirs").exists()
