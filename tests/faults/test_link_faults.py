"""Link faults through the real embedded server: applied, witnessed, reverted, verified, and seen by a client."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import InjectError, RevertError, UnsafeError
from harness.model.plan import Target
from harness.model.ports import Toxic
from harness.model.wiring import Wiring
from harness.proxy.client import PlainLinks, ToxiproxyLinks, revive_links
from harness.proxy.launch import start_embedded
from harness.registry import catalog
from harness.run.clock import MonotonicClock
from harness.run.world import RunWorld
from harness.testing.conformance import check_injector
from tests.ports import free_port

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
    "slice": {"size": "2B"},
    "slow-close": {"delay": "20ms"},
    "limit-data": {"bytes": "3B"},
}


def cases(where: str) -> list[Any]:
    """Every kind of link fault, each a cell of the table of faults."""
    return [pytest.param(kind, marks=pytest.mark.cell(kind, where)) for kind in CASES]


@pytest.mark.parametrize("kind", CASES)
async def test_a_fault_is_there_and_then_gone(kind: str, rig: SimpleNamespace) -> None:
    injector = made(kind, **CASES[kind])
    reader, writer = await client(rig.listen)
    assert await talk(reader, writer) == b"hello"
    state = await injector.prepare(LINK, rig.world)
    assert (await injector.verify(state, rig.world)).present is False, "before apply there is nothing to verify away"
    await injector.apply(state, rig.world)
    if kind == "slow-close":  # it is felt at the end only
        writer.close()
    else:
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


@contextlib.contextmanager
def toxiproxy_server() -> Iterator[str]:
    """The URL of Shopify's server, from TOXIPROXY_SERVER or PATH; the test is skipped where there is none."""
    binary = os.environ.get("TOXIPROXY_SERVER") or shutil.which("toxiproxy-server")
    if binary is None:
        pytest.skip("needs Shopify's toxiproxy-server on PATH, or TOXIPROXY_SERVER")
    port = free_port()
    command = [binary, "-host", "127.0.0.1", "-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
                try:
                    connection.request("GET", "/version")
                    connection.getresponse().read()
                    break
                except OSError:
                    assert time.monotonic() < deadline, "toxiproxy-server never answered"
                    time.sleep(0.02)
                finally:
                    connection.close()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def talkers(listen: str) -> AsyncIterator[None]:
    """Clients that talk through the link all the while, end now and then, and connect again, also when they are cut off."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(2):
                    reader, writer = await client(listen)
                    try:
                        for _ in range(5):
                            await talk(reader, writer)
                            await asyncio.sleep(0.005)
                        writer.write_eof()
                        await reader.read()
                    finally:
                        writer.transport.abort()
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(3)]
        yield
        for task in tasks:
            task.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("kind", cases("link"))
async def test_conformance_on_the_embedded_proxy(kind: str, rig: SimpleNamespace) -> None:
    async with talkers(rig.listen):
        await check_injector(made(kind, **CASES[kind]), LINK, rig.world)


@pytest.mark.slow
@pytest.mark.parametrize("kind", cases("link-toxiproxy"))
async def test_conformance_on_toxiproxy(kind: str, rig: SimpleNamespace) -> None:
    with toxiproxy_server() as url:
        links = ToxiproxyLinks(url, embedded=False)
        target = (await rig.links.get("eu-db")).upstream
        state = await links.create("eu-db", "127.0.0.1:0", target, {"mirror_refusal": True})
        world = RunWorld("run-1", MonotonicClock(), Wiring(), {}, links)
        async with talkers(state.listen):
            await check_injector(made(kind, **CASES[kind]), LINK, world)
        assert await links.counters("eu-db") is None
        await links.delete("eu-db")
        with pytest.raises(InjectError, match="proxy not found"):
            await links.get("eu-db")


@pytest.mark.parametrize(("direction", "stream"), [("out", "upstream"), ("in", "downstream")])
async def test_a_one_way_partition_cuts_that_way_and_heals(rig: SimpleNamespace, direction: str, stream: str) -> None:
    reader, writer = await client(rig.listen)
    assert await talk(reader, writer) == b"hello"
    injector = made("partition", direction=direction)
    state = await injector.prepare(LINK, rig.world)
    await injector.apply(state, rig.world)
    writer.write(b"hello")
    assert (await injector.witness(state, rig.world)).present
    seen = await rig.links.evidence("eu-db")
    assert [toxic["stream"] for toxic in seen["toxics"]] == [stream]
    await injector.revert(state, rig.world)
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_a_cut_that_newcomers_cross_is_not_witnessed(rig: SimpleNamespace) -> None:
    injector = made("partition")
    state = await injector.prepare(LINK, rig.world)
    await injector.apply(state, rig.world)
    for name in state.link.toxics:  # somebody tampers with it: it stands, and hits nobody
        path = f"/proxies/eu-db/toxics/{name}"
        await rig.links._plain("PATCH", path, {"toxicity": 0})
    evidence = await injector.witness(state, rig.world)
    assert (evidence.present, evidence.what) == (False, "link eu-db still accepts")
    await injector.revert(state, rig.world)


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("latency", {"delay": "500us"}, "expected at least '1ms'"),
        ("bandwidth", {"rate": "900B/s"}, "expected at least '1KB/s'"),
        ("partition", {"direction": "up"}, "Input should be 'both', 'in' or 'out'"),
        ("refuse", {"after": "1s"}, "Extra inputs are not permitted"),
        ("slice", {"size": "0B"}, "size: expected at least '1B'"),
        ("slice", {"size": "10B", "variation": "10B"}, "variation: expected less than size"),
        ("slow-close", {"delay": "10us"}, "expected at least '1ms'"),
        ("limit-data", {"bytes": "1KB", "direction": "both"}, "Input should be 'in' or 'out'"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(kind: str, params: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        catalog().fault(kind).params.model_validate(params)


@pytest.mark.parametrize("control", [ToxiproxyLinks, PlainLinks])
async def test_a_toxic_is_added_updated_and_removed(rig: SimpleNamespace, control: Any) -> None:
    links = control(rig.links.url, embedded=True)
    for toxicity, latency in ((1.0, 5), (0.3, 6)):
        toxic = Toxic(name="blackstart-a", type="latency", toxicity=toxicity, attributes={"latency": latency})
        await links.add("eu-db", toxic)
        (there,) = (await links.get("eu-db")).toxics
        assert (there.attributes, there.toxicity) == ({"latency": latency, "jitter": 0}, toxicity)
    for _ in range(2):
        await links.remove("eu-db", "blackstart-a")
    assert (await links.get("eu-db")).toxics == ()
    with pytest.raises(InjectError, match=r"answered .*invalid toxic type"):
        await links.add("eu-db", Toxic(name="blackstart-b", type="nonsense"))
    with pytest.raises(UnsafeError, match="someone else's"):
        await links.remove("eu-db", "latency_downstream")
    with pytest.raises(InjectError, match="proxy not found"):
        await links.set_enabled("us-db", False)


async def test_a_proxy_that_is_there_already_is_used_and_never_deleted(rig: SimpleNamespace) -> None:
    theirs = await rig.links.get("eu-db")
    links = ToxiproxyLinks(rig.links.url, embedded=False)
    assert await links.create("eu-db", theirs.listen, theirs.upstream, {}) == theirs
    await links.delete("eu-db")
    assert await rig.links.get("eu-db") == theirs
    with pytest.raises(UnsafeError, match="already has a proxy 'eu-db'"):
        await links.create("eu-db", theirs.listen, "127.0.0.1:9", {})
    with pytest.raises(UnsafeError, match="address already in use"):
        await links.create("other", theirs.listen, theirs.upstream, {})
    await rig.links.delete("eu-db")
    with pytest.raises(InjectError, match="proxy not found"):
        await rig.links.get("eu-db")


async def test_many_calls_to_a_hung_server_hold_up_no_other(
    rig: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.proxy.client.CALL_LIMIT_S", 60.0)
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
    hung = ToxiproxyLinks(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", embedded=False)
    calls = [asyncio.ensure_future(hung.get("eu-db")) for _ in range(50)]
    while len(writers) < 50:
        await asyncio.sleep(0.005)
    async with asyncio.timeout(20):
        await rig.links.add("eu-db", Toxic(name="blackstart-a", type="latency"))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await ended(server, writers)


@pytest.mark.parametrize("answer", [b"[]", b"{}", b"no json", b'{"name": 1, "toxics": [3]}'])
async def test_an_answer_that_is_no_proxy_is_an_error_of_the_fault_proxy(answer: bytes) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    links = PlainLinks(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", embedded=False)
    with pytest.raises(InjectError):
        await links.get("eu-db")
    await ended(server, writers)


@pytest.mark.parametrize(
    ("kind", "command"), [("partition", "curl -X DELETE http://"), ("refuse", "curl -X POST http://")]
)
async def test_a_revert_that_fails_says_what_would_do_it(rig: SimpleNamespace, kind: str, command: str) -> None:
    injector = made(kind)
    state = await injector.prepare(LINK, rig.world)
    await injector.apply(state, rig.world)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        links = PlainLinks(f"http://127.0.0.1:{nobody.getsockname()[1]}", embedded=True)
        world = RunWorld("run-1", rig.world.clock, Wiring(), {}, links)
        with pytest.raises(RevertError, match="refused") as caught:
            await injector.revert(state, world)
    assert caught.value.commands
    assert all(each.startswith(command) for each in caught.value.commands)
    await injector.revert(state, rig.world)
