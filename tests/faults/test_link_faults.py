"""Link faults through the real embedded server: applied, witnessed, reverted, verified, and seen by a client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import InjectError, UnsafeError
from harness.model.plan import Target
from harness.model.ports import Toxic
from harness.model.wiring import Wiring
from harness.proxy.client import PlainLinks, ToxiproxyLinks, revive_links
from harness.proxy.launch import start_embedded
from harness.registry import catalog
from harness.run.clock import MonotonicClock
from harness.run.world import RunWorld

pytestmark = pytest.mark.live


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[SimpleNamespace]:
    """An echo server behind a link of a real embedded proxy, and the world that injectors see."""

    writers: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = await start_embedded(7, tmp_path / "proxy.log")
    try:
        state = await proxy.links.create("eu-db", "127.0.0.1:0", f"127.0.0.1:{port}", {"mirror_refusal": True})
        world = RunWorld("run-1", MonotonicClock(), Wiring(), {}, proxy.links)
        yield SimpleNamespace(links=proxy.links, world=world, listen=state.listen)
    finally:
        proxy.process.terminate()
        await proxy.process.wait()
        await ended(server, writers)


async def ended(server: asyncio.Server, writers: list[asyncio.StreamWriter]) -> None:
    """Close a test server and every connection it took."""
    server.close()
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def client(listen: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = listen.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit_s: float = 5) -> bytes:
    writer.write(b"hello")
    async with asyncio.timeout(limit_s):
        return await reader.readexactly(5)


def made(kind: str, **params: Any) -> Any:
    found = catalog().fault(kind)
    return found.load()(found.params.model_validate(params))


LINK = Target(kind="link", name="eu-db")
CASES = {
    "latency": {"delay": "50ms"},
    "bandwidth": {"rate": "1KB/s"},
    "partition": {},
    "refuse": {},
    "reset": {"after": "0ms"},
}


@pytest.mark.parametrize("kind", CASES)
async def test_a_fault_is_there_and_then_gone(kind: str, rig: SimpleNamespace) -> None:
    injector = made(kind, **CASES[kind])
    reader, writer = await client(rig.listen)
    assert await talk(reader, writer) == b"hello"
    state = await injector.prepare(LINK, rig.world)
    assert (await injector.verify(state, rig.world)).present is False, "before apply there is nothing to verify away"
    await injector.apply(state, rig.world)
    writer.write(b"again")  # traffic for the toxics that are only felt
    evidence = await injector.witness(state, rig.world)
    assert evidence.present, evidence.what

    again = injector.state_type.model_validate_json(state.model_dump_json())
    later = RunWorld("run-1", rig.world.clock, Wiring(), {}, revive_links(rig.links.recipe()))
    await injector.revert(again, later)  # as the reaper would: from the journal, by another client
    await injector.revert(again, later)
    assert (await injector.verify(again, later)).present is False
    assert (await rig.links.get("eu-db")).toxics == ()
    fresh = await client(rig.listen)
    assert await talk(*fresh) == b"hello"
    for each in (writer, fresh[1]):
        each.close()


async def test_nothing_crosses_a_partition_and_a_short_one_is_resumed(rig: SimpleNamespace) -> None:
    reader, writer = await client(rig.listen)
    injector = made("partition")
    state = await injector.prepare(LINK, rig.world)
    await injector.apply(state, rig.world)
    with pytest.raises(TimeoutError):
        await talk(reader, writer, limit_s=0.2)
    await injector.revert(state, rig.world)
    async with asyncio.timeout(5):
        assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_refuse_resets_open_connections(rig: SimpleNamespace) -> None:
    reader, writer = await client(rig.listen)
    assert await talk(reader, writer) == b"hello"
    injector = made("refuse")
    state = await injector.prepare(LINK, rig.world)
    await injector.apply(state, rig.world)
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(5):
            await reader.read()
    with pytest.raises(InjectError, match="down already"):
        await made("refuse").prepare(LINK, rig.world)
    await injector.revert(state, rig.world)
    writer.close()


async def test_a_latency_that_nobody_feels_is_not_witnessed(
    rig: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.faults.link.WITNESS_LIMIT_S", 0.1)
    injector = made("latency", delay="20ms")
    state = await injector.prepare(LINK, rig.world)
    await injector.apply(state, rig.world)
    evidence = await injector.witness(state, rig.world)
    assert not evidence.present
    assert "no connection felt it" in evidence.what


@pytest.mark.parametrize("control", [ToxiproxyLinks, PlainLinks])
async def test_foreign_toxics_are_refused_and_stay(rig: SimpleNamespace, control: Any) -> None:
    links = control(rig.links.url, embedded=True)
    await links._plain(
        "POST", "/proxies/eu-db/toxics", {"name": "theirs", "type": "latency", "attributes": {"latency": 1}}
    )
    with pytest.raises(UnsafeError, match="theirs was set by someone else"):
        await links.add("eu-db", Toxic(name="blackstart-x-y", type="latency", attributes={"latency": 1}))
    with pytest.raises(UnsafeError, match="ours begin with"):
        await links.add("eu-db", Toxic(name="mine", type="latency"))
    assert [toxic.name for toxic in (await links.get("eu-db")).toxics] == ["theirs"]


@pytest.mark.parametrize("control", [ToxiproxyLinks, PlainLinks])
async def test_a_server_that_hangs_costs_its_deadline_and_no_more(
    control: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.proxy.client.CALL_LIMIT_S", 0.2)
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(InjectError, match=f"fault proxy at http://127.0.0.1:{port}: GET /proxies/x: "):
        await control(f"http://127.0.0.1:{port}", embedded=False).get("x")
    await ended(server, writers)


async def test_two_servers_are_driven_at_once_without_mixing(rig: SimpleNamespace, tmp_path: Path) -> None:
    other = await start_embedded(8, tmp_path / "other.log")
    try:
        await other.links.create("eu-db", "127.0.0.1:0", "127.0.0.1:9", {})
        toxics = [Toxic(name=f"blackstart-{n}", type="latency", attributes={"latency": n}) for n in range(5)]
        await asyncio.gather(
            *(links.add("eu-db", toxic) for links, toxic in zip([rig.links, other.links] * 3, toxics, strict=False))
        )
        assert {toxic.name for toxic in (await rig.links.get("eu-db")).toxics} == {
            "blackstart-0",
            "blackstart-2",
            "blackstart-4",
        }
        assert {toxic.name for toxic in (await other.links.get("eu-db")).toxics} == {"blackstart-1", "blackstart-3"}
    finally:
        other.process.terminate()
        await other.process.wait()
