"""HTTP faults through the real embedded server: conformance under load, and what they refuse."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, web

from harness.errors import InjectError, UnsafeError
from harness.model.experiment import At, FaultEntry, Selector
from harness.model.plan import Target
from harness.model.ports import World
from harness.model.stack import HostSpec, Instance, Link, Stack
from harness.model.wiring import Wiring
from harness.plan.targets import resolve_targets
from harness.proxy.launch import create_links, start_embedded
from harness.registry import catalog
from harness.run.clock import MonotonicClock
from harness.run.world import RunWorld
from harness.testing.conformance import check_injector

CASES: dict[str, dict[str, Any]] = {
    "http-error": {"status": 429, "ratio": "50%", "retry_after": "1s"},
    "empty-reply": {"ratio": "50%"},
    "slow-first-byte": {"delay": "20ms"},
    "stall-stream": {"after_chunks": 1, "ratio": "50%"},
    "cut-stream": {"after_chunks": 1, "ratio": "50%"},
    "truncate-stream": {"after_chunks": 1},
    "in-band-error": {"after_chunks": 1},
    "garble": {"ratio": "50%"},
}
LINK = Target(kind="link", name="llm")


def made(kind: str, params: dict[str, Any]) -> Any:
    found = catalog().fault(kind)
    return found.load()(found.params.model_validate(params))


async def stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for number in range(3):
        await answer.write(b'data: {"n":%d}\n\n' % number)
    await answer.write_eof()
    return answer


@pytest.fixture
async def provider() -> AsyncIterator[int]:
    """The port of a server whose every answer is a stream of three events."""
    app = web.Application()
    app.router.add_get("/stream", stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def world(provider: int, tmp_path: Path) -> AsyncIterator[World]:
    """The world with one HTTP link, llm, and a plain one, db."""
    proxy = await start_embedded(7, tmp_path / "proxy.log")
    try:
        upstream = f"127.0.0.1:{provider}"
        await proxy.links.create("llm", "127.0.0.1:0", upstream, {"http": True})
        await proxy.links.create("db", "127.0.0.1:0", upstream, {})
        yield RunWorld("run-1", MonotonicClock(), Wiring(), {}, proxy.links)
    finally:
        proxy.process.terminate()
        await proxy.process.wait()


@contextlib.asynccontextmanager
async def asking(listen: str) -> AsyncIterator[list[tuple[float, str]]]:
    """Clients that ask all the while; the list grows by when each request began and what became of it."""
    outcomes: list[tuple[float, str]] = []

    async def one(session: ClientSession) -> None:
        while True:
            began = time.monotonic()
            try:
                async with session.get(f"http://{listen}/stream") as reply:
                    outcomes.append((began, f"{reply.status} {len(await reply.read())}"))
            except (ClientError, OSError, TimeoutError) as exc:
                outcomes.append((began, type(exc).__name__))
            await asyncio.sleep(0.005)

    async with ClientSession(timeout=ClientTimeout(total=0.5)) as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(session)) for _ in range(4)]
        yield outcomes
        for task in tasks:
            task.cancel()


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.cell(kind, "link")) for kind in CASES])
async def test_conformance(kind: str, world: World) -> None:
    async with asking((await world.links.get("llm")).listen) as outcomes:
        await check_injector(made(kind, CASES[kind]), LINK, world)
        healed = time.monotonic()
        async with asyncio.timeout(10):
            while len(after := [what for began, what in outcomes if began > healed]) < 20:
                await asyncio.sleep(0.01)
    whole = len(b'data: {"n":0}\n\n') * 3
    assert set(after) == {f"200 {whole}"}, "after the revert every answer is whole"


def test_a_date_needs_a_time_to_come() -> None:
    with pytest.raises(ValueError, match="retry_after_as: expected retry_after"):
        made("http-error", {"retry_after_as": "date"})
    named, attributes = made("http-error", {"retry_after_as": "date", "retry_after": "2s"}).toxic()
    assert (named, attributes) == ("http_error", {"status": 503, "retry_after": 2000, "as_date": 1})


@pytest.mark.live
async def test_the_witness_states_the_share_that_was_seen(world: World) -> None:
    injector = made("http-error", {"status": 503})
    state = await injector.prepare(LINK, world)
    await injector.apply(state, world)
    listen = (await world.links.get("llm")).listen
    async with ClientSession() as session:
        for _ in range(4):
            async with session.get(f"http://{listen}/stream") as reply:
                assert reply.status == 503
    evidence = await injector.witness(state, world)
    assert (evidence.present, evidence.what) == (
        True,
        "http-error on link llm: 4 of 4 requests felt it (4 were drawn for it, asked 100%)",
    )
    await injector.revert(state, world)


@pytest.mark.live
async def test_a_fault_that_no_request_felt_is_not_witnessed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.faults.link.WITNESS_LIMIT_S", 0.1)
    injector = made("stall-stream", {"after_chunks": 9})
    state = await injector.prepare(LINK, world)
    await injector.apply(state, world)
    listen = (await world.links.get("llm")).listen
    async with ClientSession() as session, session.get(f"http://{listen}/stream") as reply:
        assert len(await reply.read()) > 0
    evidence = await injector.witness(state, world)
    assert (evidence.present, evidence.what) == (
        False,
        "stall-stream on link llm: 0 of 1 requests felt it (1 were drawn for it, asked 100%)",
    )
    await injector.revert(state, world)


@pytest.mark.live
async def test_a_link_that_was_made_without_http_is_refused(world: World) -> None:
    with pytest.raises(InjectError, match="needs the embedded fault proxy and `http: true`"):
        await made("garble", {}).prepare(Target(kind="link", name="db"), world)


def stack(*, http: bool, fault_proxy: str = "embedded", url: str = "http://127.0.0.1:1") -> Stack:
    instances = {
        "app": Instance(name="app", host=HostSpec(kind="external", params={"external": "http://127.0.0.1:2"})),
        "llm": Instance(name="llm", host=HostSpec(kind="external", params={"external": url})),
    }
    links = {"llm": Link(name="llm", source="app", to="llm", http=http)}
    return Stack(
        name="s", base_dir="/", instances=instances, links=links, drillable=("link:*",), fault_proxy=fault_proxy
    )


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize(
    ("http", "fault_proxy", "message"),
    [
        (False, "embedded", "link llm is not declared to carry it; add `http: true`"),
        (True, "toxiproxy", "needs the embedded fault proxy, and the stack uses toxiproxy"),
        (True, "http://127.0.0.1:8474", "needs the embedded fault proxy, and the stack uses http://127"),
    ],
)
def test_links_that_cannot_have_it_are_refused_in_the_plan(
    kind: str, http: bool, fault_proxy: str, message: str
) -> None:
    entry = FaultEntry(id="f", kind=kind, params={}, at=At(offset_ns=0), on=Selector(by="link", names=("llm",)))
    with pytest.raises(UnsafeError, match=message):
        resolve_targets(entry, stack(http=http, fault_proxy=fault_proxy), catalog(), 7)
    targets, _ = resolve_targets(entry, stack(http=True), catalog(), 7)
    assert [target.name for target in targets] == ["llm"]


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("http-error", {"status": 200}, "greater than or equal to 400"),
        ("http-error", {"ratio": "0%"}, "expected more than '0%'"),
        ("slow-first-byte", {"delay": "100us"}, "expected at least '1ms'"),
        ("stall-stream", {"after_chunks": -1}, "greater than or equal to 0"),
        ("garble", {"bytes": 0}, "greater than or equal to 1"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(kind: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        catalog().fault(kind).params.model_validate(params)


class NoLinks:
    """A control that must not be asked for anything."""

    embedded = False


async def test_tls_to_an_upstream_is_refused_where_nobody_speaks_it() -> None:
    there = stack(http=True, url="https://llm.internal")
    with pytest.raises(UnsafeError, match="only the embedded fault proxy speaks TLS to an upstream"):
        await create_links(NoLinks(), there, Wiring(links={"llm": "127.0.0.1:0"}), {"llm": "llm.internal:443"})  # type: ignore[arg-type]


@pytest.mark.live
async def test_a_link_to_an_https_upstream_speaks_tls(world: World) -> None:
    there = stack(http=True, url="https://llm.internal")
    await world.links.delete("llm")  # type: ignore[attr-defined]
    await create_links(world.links, there, Wiring(links={"llm": "127.0.0.1:0"}), {"llm": "llm.internal:443"})  # type: ignore[arg-type]
    shown = await world.links._plain("GET", "/proxies/llm")  # type: ignore[attr-defined]
    assert shown["blackstart"] == {"http": True, "mirror_refusal": True, "tls": True}
