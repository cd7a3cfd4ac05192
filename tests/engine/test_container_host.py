"""The container host on a real engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from harness.errors import InjectError, UnsafeError
from harness.model.fields import JsonObject
from harness.model.ports import Identity
from harness.run.residue import compare, look
from harness.run.residue_sources import InstanceFacts
from harness.stacks.compose import ComposeHost
from harness.stacks.container import ContainerHost
from harness.stacks.container_facts import identity_of
from harness.testing.conformance import check_host

pytestmark = [pytest.mark.live, pytest.mark.slow]


def compose_labels(service: str, project: str, number: int = 1, oneoff: str = "False") -> dict[str, str]:
    return {
        "com.docker.compose.service": service,
        "com.docker.compose.project": project,
        "com.docker.compose.oneoff": oneoff,
        "com.docker.compose.container-number": str(number),
    }


async def test_keeps_the_contract_of_a_host(yard) -> None:
    name = yard.make(run=False)
    await check_host(lambda: yard.host(name), ContainerHost)


async def test_identity_tells_two_runs_of_one_container_apart(yard) -> None:
    host = yard.host(yard.make())
    first = await host.find()
    assert first.container == yard.client.inspect_container(yard.mark + "-1")["Id"]
    assert os.path.exists(f"/proc/{first.pid}")
    await host.kill(first)
    second = await host.start()
    assert second.container == first.container
    assert second.started != first.started
    assert second != first


async def test_the_residue_audit_sees_a_pause_and_a_lost_network(yard) -> None:
    network = yard.network()
    host = yard.host(yard.make(network=network))
    source = InstanceFacts({"a": host}, frozenset({"a"}))
    before = await look([source])
    assert before.facts["attached instances"] == {
        "instance a": "runs",
        "instance a, engine's state": "running",
        "instance a, networks": network,
    }
    found = await host.find()
    await host.freeze(found)
    await host.detach(found, (await host.attachments(found.container))[0])
    left = compare([source], before, await look([source]))
    assert [(str(one), one.ours) for one in left] == [
        ("instance a: was runs, is stopped", True),
        ("instance a, engine's state: was running, is paused", True),
        (f"instance a, networks: was {network}, is none", True),
    ]
    await host.thaw(found)


async def test_who_took_the_name_later_is_seen_but_not_touched(yard) -> None:
    name = yard.make()
    host = yard.host(name)
    first = await host.find()
    yard.client.remove_container(name, force=True)
    assert await host.find() is None
    with pytest.raises(
        UnsafeError, match=f"there is no container {name} on engine .*, and nothing says how to make one"
    ):
        await host.start()
    yard.make(name=name)
    second = await host.find()
    assert second.container != first.container
    for late in (host, ContainerHost.revive(host.recipe())):
        await late.kill(first)
        await late.thaw(first)
        with pytest.raises(InjectError, match="does not run as it did"):
            await late.freeze(first)
        with pytest.raises(InjectError, match="does not run any more"):
            await late.crash(first)
        await late.attach(first.container, (await late.attachments(second.container))[0])
        assert await late.attachments(first.container) is None
        assert await late.find() == second
        await late.close()
    yard.client.stop(name, timeout=5)
    with pytest.raises(UnsafeError, match=r"was removed; another called .* is not ours to start"):
        await host.start()


async def test_found_by_label_or_compose_service(yard) -> None:
    one = yard.make(run=False, labels=compose_labels("db", yard.mark))
    yard.make(run=False, labels=compose_labels("db", yard.mark, oneoff="True"))
    two = yard.make(run=False, labels=compose_labels("web", yard.mark) | {"tier": "front"})
    three = yard.make(run=False, labels=compose_labels("web", yard.mark, 2))

    async def id_of(params) -> str:
        host = yard.host(params)
        await host.find()
        return host.recipe()["id"]

    def known(name: str) -> str:
        return yard.client.inspect_container(name)["Id"]

    mine = f"blackstart.test={yard.mark}"
    assert await id_of({"compose": "db", "project": yard.mark}) == known(one)
    assert await id_of({"compose": "web", "project": yard.mark, "number": 2}) == known(three)
    assert await id_of({"container": {"label": [mine, "tier=front"]}}) == known(two)
    with pytest.raises(UnsafeError, match=f"2 containers have .*: {two}, {three}; add a label"):
        await yard.host({"compose": "web", "project": yard.mark}).find()
    assert await yard.host({"compose": "none", "project": yard.mark}).find() is None


async def test_a_recipe_names_the_engine_and_the_container(yard, monkeypatch) -> None:
    host = yard.host({"compose": "db", "project": yard.mark})
    yard.make(labels=compose_labels("db", yard.mark))
    identity = await host.find()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    revived = ComposeHost.revive(host.recipe())
    assert await revived.find() == identity
    await revived.close()


async def test_tells_where_ports_are_reached(yard, subnet) -> None:
    net = yard.network(subnet)
    published = yard.make(run=False, publish={8080: ("127.0.0.1", 18431)})
    everywhere = yard.make(run=False, publish={8080: 18432})
    bare, stopped = yard.make(network=net), yard.make(run=False)
    chosen = yard.make(publish={8080: None})

    async def located(name: str, ports: dict[str, int], **more: str) -> tuple[str, dict[str, int]]:
        return await yard.host(name).locate(yard.instance({"container": name}, ports=ports, **more))

    assert await located(published, {"http": 8080}) == ("127.0.0.1", {"http": 18431})
    assert await located(published, {"http": 18431}) == ("127.0.0.1", {"http": 18431})
    assert await located(everywhere, {"http": 8080}) == ("127.0.0.1", {"http": 18432})
    assert await located(bare, {"http": 8080, "other": 9}) == (yard.address(bare), {"http": 8080, "other": 9})
    assert await located(chosen, {"http": 8080}) == (yard.address(chosen), {"http": 8080})
    assert await located(published, {"http": 1}, address="127.0.0.9") == ("127.0.0.9", {"http": 1})
    assert await located(stopped, {}) == ("127.0.0.1", {})
    with pytest.raises(UnsafeError, match="is not running, so that nothing tells where to reach http: 8080; start it"):
        await located(stopped, {"http": 8080})
    with pytest.raises(UnsafeError, match="instance a: there is no container nowhere-at-all on engine unix://"):
        await located("nowhere-at-all", {"http": 8080})


async def test_stop_tells_whether_it_ended_by_itself(yard) -> None:
    polite, stubborn = yard.host(yard.make()), yard.host(yard.make("stubborn"))
    await yard.serving(yard.address(f"{yard.mark}-1"))
    assert await polite.stop(5_000_000_000) is True
    assert await stubborn.stop(1_000_000_000) is False
    assert await stubborn.find() is None


async def test_what_cannot_start_says_why(yard, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = yard.host(yard.make(run=False, publish={8080: ("127.0.0.1", taken.getsockname()[1])}))
        with pytest.raises(UnsafeError, match=r"(?s)instance a: engine unix://.*: start .*(in use|already)"):
            await host.start()
    name = yard.make("x", run=False, entrypoint=["sh", "-c", "exit 3"])
    crashing = yard.host(name)
    inspect = crashing._engine.inspect

    async def when_it_is_over(container: str) -> JsonObject | None:
        """What the engine says of it, once it has ended if it ever began: a busy machine might show it alive before."""
        while (found := await inspect(container)) is not None and found["State"]["Status"] == "running":
            await asyncio.sleep(0.02)
        return found

    monkeypatch.setattr(crashing._engine, "inspect", when_it_is_over)
    with pytest.raises(UnsafeError, match=r"it was started, but is exited \(exit code 3\)"):
        await crashing.start()


async def test_a_crash_makes_restart_policies_act_and_an_engine_kill_does_not(yard) -> None:
    host = yard.host(yard.make(restart={"Name": "always"}))
    first = await host.find()
    await host.crash(first)
    deadline = time.monotonic() + 15
    while (second := await host.find()) is None:
        assert time.monotonic() < deadline, "the restart policy did not act"
        await asyncio.sleep(0.02)
    assert second.container == first.container
    assert second.pid is not None, "the one that has died is taken for one that runs"
    assert second.started != first.started
    with pytest.raises(InjectError, match="does not run any more"):
        await host.crash(first)
    assert await host.find() == second
    await host.kill(second)
    facts = (await host.facts())[0]
    assert (facts.status, facts.name) == ("exited", f"{yard.mark}-1")


async def test_it_starts_again_at_once_after_a_crash_that_its_engine_has_not_noticed(yard) -> None:
    host = yard.host(yard.make())
    for _ in range(3):
        before = await host.find()
        await host.crash(before)
        assert await host.find() is None
        after = await host.start()
        assert after.pid is not None
        assert after.started != before.started


async def test_its_log_is_followed_over_a_restart(yard) -> None:
    name = yard.make(publish={8080: ("127.0.0.1", 18433)})
    host = yard.host(name)
    await yard.serving("127.0.0.1", 18433)
    log = Path(host.log_path)
    sizes = iter(range(100, 10_000))
    following = asyncio.create_task(host.follow_log())

    async def seen() -> None:
        """Ask, each time for another size, until one of the questions is in the log."""
        deadline, asked = time.monotonic() + 30, []
        while not log.exists() or not any(f"asked {size}\n" in log.read_text() for size in asked):
            assert time.monotonic() < deadline, f"none of {asked} ever came"
            asked.append(next(sizes))
            await yard.asked("127.0.0.1", asked[-1], 18433)
            await asyncio.sleep(0.1)

    try:
        await seen()
        await host.kill(await host.find())
        await host.start()
        await seen()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    questions = [line for line in log.read_text().splitlines() if line.startswith("asked 1")]
    assert len(questions) == len(set(questions)), "no line is copied twice"


async def test_an_engine_that_is_not_there_is_named(yard) -> None:
    host = yard.host({"container": "shop", "engine": "unix:///nowhere/docker.sock"})
    with pytest.raises(
        InjectError, match=r"engine unix:///nowhere/docker.sock: inspect shop: no such file or directory"
    ):
        await host.find()


async def test_a_hanging_engine_is_a_deadline_never_a_hang_and_works_again_afterwards(
    yard, tmp_path, monkeypatch
) -> None:
    """The machine's engine behind a relay that can stop passing anything on: to a client that is what a stopped engine is."""
    name, path = yard.make(), str(tmp_path / "relay.sock")
    flows, waiting = asyncio.Event(), []
    flows.set()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await flows.wait()
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.append(asyncio.current_task())
        inner, outer = await asyncio.open_unix_connection("/var/run/docker.sock")
        await asyncio.gather(one_way(reader, outer), one_way(inner, writer))

    server = await asyncio.start_unix_server(relay, path)
    host = yard.host({"container": name, "engine": f"unix://{path}"})
    try:
        identity = await host.find()
        assert identity is not None
        monkeypatch.setattr("harness.stacks.engine.CALL_LIMIT_S", 0.5)
        monkeypatch.setattr("harness.stacks.engine.CHANGE_LIMIT_S", 0.5)
        flows.clear()
        for wanted in (host.find(), host.kill(identity), host.freeze(identity), host.stop(0)):
            with pytest.raises(InjectError, match=rf"engine unix://{path}: inspect \w+: no answer in"):
                await wanted
        with pytest.raises(InjectError, match="no answer in"):
            await ContainerHost.revive(host.recipe()).find()
        flows.set()
        monkeypatch.undo()
        assert await host.find() == identity
    finally:
        flows.set()
        await host.close()
        server.close()
        await asyncio.gather(*waiting, return_exceptions=True)


def test_no_account_makes_identities_of_the_dead() -> None:
    state = {"Running": True, "Restarting": True, "Pid": 0, "StartedAt": "x"}
    assert identity_of({"Id": "c" * 64, "State": state}) is None
    elsewhere = {"Running": True, "Pid": 1, "StartedAt": "2026-01-01T00:00:00Z"}
    found = identity_of({"Id": "c" * 64, "State": elsewhere})
    assert found == Identity(container="c" * 64, started="2026-01-01T00:00:00Z"), "pid 1 here is none of that container"
