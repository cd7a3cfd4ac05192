"""The ladder of a revert: a fault proxy that hangs, answers 503 or closes ends in an account, and holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults import ladder
from harness.model.plan import Target
from harness.model.ports import Toxic
from harness.model.wiring import Wiring
from harness.proxy.client import Links, PlainLinks, ToxiproxyLinks, revive_links
from harness.proxy.launch import StartedProxy, start_embedded
from harness.registry import catalog
from harness.run.aftermath import revert_intents
from harness.run.clock import MonotonicClock
from harness.run.journal import Intent, Journal, JournalView
from harness.run.world import RunWorld

pytestmark = [pytest.mark.live, pytest.mark.slow]

LINK = Target(kind="link", name="eu-db")
Answer = Callable[[str, str], str | None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ladder of two seconds: what is tested is its order and its end, not its patience."""
    monkeypatch.setattr(ladder, "LADDER_LIMIT_S", 2.0)
    monkeypatch.setattr(ladder, "_RUNG_LIMIT_S", 0.5)
    monkeypatch.setattr(ladder, "_OPEN_AGAIN_LIMIT_S", 0.3)


def made(kind: str, **params: Any) -> Any:
    found = catalog().fault(kind)
    return found.load()(found.params.model_validate(params))


class Front:
    """Stands before a real server and forwards; `answer(method, path)` may say "hang", "503" or "close" instead."""

    def __init__(self, upstream: str, answer: Answer) -> None:
        self.host, _, port = upstream.removeprefix("http://").partition(":")
        self.port = int(port)
        self.answer = answer
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode().split(" ", 2)
            said = self.answer(method, path)
            if said == "hang":
                return
            if said is None:
                there, other = await asyncio.open_connection(self.host, self.port)
                kept = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head)
                other.write(kept.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if lengths:
                    other.write(await reader.readexactly(int(lengths[0].split(b":")[1])))
                writer.write(await there.read())
                other.close()
            elif said == "503":
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

    async def end(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[StartedProxy]:
    started = await start_embedded(7, tmp_path / "proxy.log")
    yield started
    with contextlib.suppress(ProcessLookupError):
        started.process.send_signal(signal.SIGCONT)
        started.process.kill()
    await started.process.wait()


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """Where an echo server listens."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in writers:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def fronted(proxy: StartedProxy, answer: Answer) -> AsyncIterator[ToxiproxyLinks]:
    front = Front(proxy.links.url, answer)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    try:
        yield ToxiproxyLinks(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", embedded=True)
    finally:
        server.close()
        await front.end()


def world(links: Links) -> RunWorld:
    return RunWorld("run-1", MonotonicClock(), Wiring(), {}, links)


async def applied(kind: str, links: Links, **params: Any) -> tuple[Any, Any]:
    injector = made(kind, **params)
    state = await injector.prepare(LINK, world(links))
    await injector.apply(state, world(links))
    return injector, state


async def answers(listen: str) -> bool:
    host, _, port = listen.rpartition(":")
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"hello")
            got = await reader.readexactly(5)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    writer.close()
    return got == b"hello"


@pytest.mark.parametrize("ill", ["hang", "503", "close"])
async def test_a_toxic_that_goes_only_once_the_proxy_is_disabled(proxy: StartedProxy, echo: str, ill: str) -> None:
    """As in Toxiproxy's issue 558: the removal waits for a connection that does not end by itself."""
    enabled = True

    def answer(method: str, path: str) -> str | None:
        return ill if method == "DELETE" and enabled else None

    async with fronted(proxy, answer) as links:
        state = await links.create("eu-db", "127.0.0.1:0", echo, {})
        injector, broken = await applied("partition", links)
        disable, restored = links.set_enabled, []

        async def noting(link: str, wanted: bool) -> None:
            nonlocal enabled
            await disable(link, wanted)
            enabled = wanted
            restored.append(wanted)

        links.set_enabled = noting  # type: ignore[method-assign]
        await injector.revert(broken, world(links))
        assert restored == [False, True]
        assert (await injector.verify(broken, world(links))).present is False
        assert (await proxy.links.get("eu-db")).toxics == ()
        assert await answers(state.listen)


@pytest.mark.parametrize("ill", ["hang", "503", "close"])
async def test_a_proxy_whose_toxics_will_not_go_is_made_again(proxy: StartedProxy, echo: str, ill: str) -> None:
    async with fronted(proxy, lambda method, path: ill if method == "DELETE" and "/toxics/" in path else None) as links:
        state = await links.create("eu-db", "127.0.0.1:0", echo, {"mirror_refusal": True})
        injector, broken = await applied("partition", links)
        other = Toxic(name="blackstart-run-1-other", type="latency", attributes={"latency": 1, "jitter": 0})
        await links.add("eu-db", other)
        await injector.revert(broken, world(links))
        again = await proxy.links.get("eu-db")
        assert (again.listen, again.upstream, again.enabled) == (state.listen, state.upstream, True)
        assert [toxic.name for toxic in again.toxics] == [other.name], "another fault's toxic stands on"
        shown = await proxy.links._plain("GET", "/proxies/eu-db")
        assert shown["blackstart"]["mirror_refusal"] is True
        assert await answers(state.listen)


async def test_a_server_of_ours_that_hangs_is_started_again_with_all_that_should_stand(
    proxy: StartedProxy, echo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "LADDER_LIMIT_S", 30.0)  # a new process takes its time on a busy machine
    spawned: list[int] = []
    proxy.on_restart = spawned.append
    links = proxy.links
    state = await links.create("eu-db", "127.0.0.1:0", echo, {"mirror_refusal": True})
    await links.create("closed", "127.0.0.1:0", echo, {})
    await links.set_enabled("closed", False)
    reverts: list[Awaitable[None]] = []
    for kind, params in (("partition", {}), ("bandwidth", {"rate": "1KB/s"})):
        injector, broken = await applied(kind, links, **params)
        reverts.append(injector.revert(broken, world(links)))
    other = Toxic(name="blackstart-run-1-other", type="latency", attributes={"latency": 1, "jitter": 0})
    await links.add("eu-db", other)
    before = proxy.pid
    proxy.process.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(40):
        await asyncio.gather(*reverts)
    assert spawned == [proxy.pid], "started once for both, and told"
    assert proxy.pid != before
    again = await links.get("eu-db")
    assert (again.listen, [toxic.name for toxic in again.toxics]) == (state.listen, [other.name])
    assert (await links.get("closed")).enabled is False
    assert await answers(state.listen)


async def test_the_reaper_ends_a_server_of_the_run_that_hangs_and_nothing_stands(
    proxy: StartedProxy, echo: str
) -> None:
    state = await proxy.links.create("eu-db", "127.0.0.1:0", echo, {})
    injector, broken = await applied("partition", proxy.links)
    reaper = world(revive_links(proxy.links.recipe()))
    proxy.process.send_signal(signal.SIGSTOP)
    await injector.revert(broken, reaper)
    evidence = await injector.verify(broken, reaper)
    assert (evidence.present, evidence.what) == (
        False,
        "the fault proxy of this run is gone, and all that stood on it",
    )
    assert await proxy.process.wait() == -signal.SIGKILL
    assert not await answers(state.listen)
    await injector.revert(broken, reaper)  # of what is gone: legal


async def test_a_server_that_died_by_itself_leaves_nothing_to_revert(proxy: StartedProxy, echo: str) -> None:
    await proxy.links.create("eu-db", "127.0.0.1:0", echo, {})
    faults = [await applied("latency", proxy.links, delay="1ms"), await applied("refuse", proxy.links)]
    proxy.process.kill()
    await proxy.process.wait()
    for injector, broken in faults:
        await injector.revert(broken, world(proxy.links))
        assert (await injector.verify(broken, world(proxy.links))).present is False


@pytest.mark.parametrize("ill", ["hang", "503", "close"])
async def test_the_end_is_an_account_in_time_and_others_are_reverted_meanwhile(
    proxy: StartedProxy, echo: str, ill: str, victim: Any, tmp_path: Path
) -> None:
    """B22: somebody's server, of which every call fails; a frozen process beside it is thawed all the same."""
    ailing = False
    one = victim("python")
    await one.up()
    async with fronted(proxy, lambda method, path: ill if ailing else None) as links:
        await links.create("eu-db", "127.0.0.1:0", echo, {})
        both = RunWorld("run-1", MonotonicClock(), one.world.wiring, {"a": one.host}, links)
        intents = []
        for kind, target in (("latency", LINK), ("pause", one.target)):
            params = {"delay": "1ms"} if kind == "latency" else {}
            injector = made(kind, **params)
            state = await injector.prepare(target, both)
            await injector.apply(state, both)
            told = {"id": kind, "fault": kind, "kind": kind, "params": params, "deadline_ns": 10**18}
            intents.append(Intent(**told, target=target, state=state.model_dump(mode="json")))
        ailing = True
        journal = Journal(tmp_path / "undo.jsonl")
        began = time.monotonic()
        outcomes = await revert_intents(tuple(intents), both, catalog(), journal, "test")
        took = time.monotonic() - began
        journal.close()
    assert took < 2.0 + 4.0, "the ladder's deadline, and some for a slow machine"
    assert [name for name, _, _ in outcomes] == ["pause", "latency"], "the healthy one did not wait for the other"
    (_, fine, _), (_, problem, commands) = outcomes
    assert fine == ""
    assert "undo: " in problem
    assert "restart the server: fault proxy at" in problem
    assert "this run did not start it" in problem
    (name,) = intents[0].state["toxics"][:1]
    assert commands[0] == f"curl -X DELETE {links.url}/proxies/eu-db/toxics/{name}"
    assert await one.accepts()
    assert [record.verified for record in JournalView.read(tmp_path / "undo.jsonl").reverted] == [True, False]


async def test_what_is_someone_elses_is_never_deleted_on_the_way_up(proxy: StartedProxy, echo: str) -> None:
    """B9: a foreign toxic set while ours stood survives every rung, and so does a proxy that was there before."""
    await proxy.links.create("eu-db", "127.0.0.1:0", echo, {})
    async with fronted(proxy, lambda method, path: "503" if method == "DELETE" else None) as links:
        links.claim(["eu-db"])
        injector, broken = await applied("latency", links, delay="1ms")
        body = {"name": "theirs", "type": "latency", "attributes": {"latency": 1}}
        await proxy.links._plain("POST", "/proxies/eu-db/toxics", body)
        with pytest.raises(RevertError, match="make again: link eu-db: theirs was set by someone else"):
            await injector.revert(broken, world(links))
        there = await proxy.links.get("eu-db")
        assert there.enabled
        assert {toxic.name for toxic in there.toxics} == {"theirs", *broken.toxics}
    unclaimed = ToxiproxyLinks(proxy.links.url, embedded=True)
    with pytest.raises(UnsafeError, match="was there before this run"):
        await unclaimed.recreate("eu-db")
    with pytest.raises(UnsafeError, match="this run did not start it"):
        await unclaimed.restart()
    await injector.revert(broken, world(unclaimed))
    assert [toxic.name for toxic in (await proxy.links.get("eu-db")).toxics] == ["theirs"]


async def test_foreign_toxics_are_refused_before_and_untouched_after_every_kind(proxy: StartedProxy, echo: str) -> None:
    await proxy.links.create("eu-db", "127.0.0.1:0", echo, {"http": True})
    body = {"name": "theirs", "type": "latency", "attributes": {"latency": 1}}
    await proxy.links._plain("POST", "/proxies/eu-db/toxics", body)
    before = await proxy.links.get("eu-db")
    cases: dict[str, dict[str, Any]] = {
        "latency": {"delay": "1ms"}, "bandwidth": {"rate": "1KB/s"}, "partition": {}, "refuse": {}, "reset": {},
        "slice": {"size": "9B"}, "slow-close": {"delay": "1ms"}, "limit-data": {"bytes": "1KB"}, "http-error": {},
        "garble": {},
    }  # fmt: skip
    for kind, params in cases.items():
        injector = made(kind, **params)
        state = await injector.prepare(LINK, world(proxy.links))
        with pytest.raises(UnsafeError, match="theirs was set by someone else"):
            await injector.apply(state, world(proxy.links))
        await injector.revert(state, world(proxy.links))
        assert await proxy.links.get("eu-db") == before
    with pytest.raises(UnsafeError, match="theirs was set by someone else"):
        await ToxiproxyLinks(proxy.links.url, embedded=True).create("eu-db", before.listen, before.upstream, {})


async def test_a_process_number_taken_over_is_not_killed(proxy: StartedProxy) -> None:
    recipe = proxy.links.recipe()
    recipe["process"] = {"pid": os.getpid(), "ticks": 1}
    revived = revive_links(recipe)
    assert not await revived.gone(), "that process is gone, but someone answers there"
    await revived.restart()
    nobody = PlainLinks("http://127.0.0.1:9", embedded=True)
    with pytest.raises(InjectError):
        await nobody.version()
    assert not await nobody.gone(), "never ours: nothing is known"
