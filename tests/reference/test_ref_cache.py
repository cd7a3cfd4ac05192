"""A gateway's cache, the public status, and telemetry that serving never waits for."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from harness.reference.cache import Cache, Kept
from harness.reference.collector import Feed
from harness.reference.metrics import Metrics
from harness.reference.mutants import LOOSE_CACHE_KEY, NO_SINGLE_FLIGHT, SYNCHRONOUS_TELEMETRY
from harness.reference.telemetry import Telemetry

ASKED = {"messages": [{"role": "user", "content": "hello"}], "seed": 0, "max_tokens": 8}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(clock: Clock, word: str = "ba") -> Kept:
    return Kept(tokens=(word,), finish="stop", usage={}, sha=None, at=clock.now)


def test_a_key_is_of_tenant_revisions_and_question() -> None:
    one = Cache(1.0)
    keys = {
        one.key("a", {"template": "r1"}, ASKED),
        one.key("b", {"template": "r1"}, ASKED),
        one.key("a", {"template": "r2"}, ASKED),
        one.key("a", {"template": "r1"}, ASKED | {"seed": 1}),
    }
    assert len(keys) == 4
    loose = Cache(1.0, frozenset({LOOSE_CACHE_KEY}))
    assert loose.key("a", {"template": "r1"}, ASKED) == loose.key("b", {"template": "r2"}, ASKED)


async def test_an_answer_is_given_again_until_it_is_old_or_wiped_and_what_is_unfit_is_not_kept() -> None:
    clock = Clock()
    one = Cache(2.0, size=2, clock=clock)
    asked: list[str] = []

    async def ask() -> Kept | None:
        asked.append("x")
        return kept(clock)

    async def nothing() -> Kept | None:
        return None

    assert await one.through("k", ask) is None and one.misses == 1
    again = await one.through("k", ask)
    assert again is not None and again.tokens == ("ba",) and len(asked) == 1
    clock.now += 2.1
    assert await one.through("k", ask) is None and len(asked) == 2
    assert await one.through("n", nothing) is None and await one.through("n", nothing) is None
    await one.through("l", ask)
    await one.through("m", ask)
    assert one.about() == {"hits": 1, "misses": 6, "evictions": 1, "held": 2}
    assert await one.wipe() == 2 and one.about()["held"] == 0


@pytest.mark.parametrize(("mutants", "calls"), [(frozenset[str](), 1), (frozenset({NO_SINGLE_FLIGHT}), 5)])
async def test_of_many_who_ask_for_the_same_one_asks_the_provider(mutants: frozenset[str], calls: int) -> None:
    one, gate, made = Cache(5.0, mutants), asyncio.Event(), []

    async def ask() -> Kept | None:
        made.append("x")
        await gate.wait()
        return (
            kept(Clock())
            if not mutants
            else Kept(tokens=("ba",), finish="stop", usage={}, sha=None, at=time.monotonic())
        )

    one._clock = Clock() if not mutants else time.monotonic
    tasks = [asyncio.create_task(one.through("k", ask)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert len(made) == calls


async def test_when_the_first_fails_the_next_in_line_asks() -> None:
    one, clock = Cache(5.0, clock=Clock()), Clock()

    async def fails() -> Kept | None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def ask() -> Kept | None:
        return kept(clock)

    first = asyncio.create_task(one.through("k", fails))
    second = asyncio.create_task(one.through("k", ask))
    with pytest.raises(ValueError, match="no"):
        await first
    assert await second is None and one.about()["held"] == 1


def test_the_status_follows_what_fails_and_calls_an_incident_over_only_after_a_calm() -> None:
    feed = Feed(("eu", "us"))
    for n in range(40):
        feed.take("eu", n % 2 == 0, n / 20)
        feed.take("us", True, n / 20)
        feed.take("nowhere", False, n / 20)
    assert feed.look(2.0) == [("eu", 2, 0.5)] and feed.cells == {"eu": 2, "us": 0}
    for n in range(140):
        feed.take("eu", True, 2 + n / 20)
        if n % 5 == 0:
            feed.look(2 + n / 20)
    assert feed.cells["eu"] == 0
    states = [one["state"] for one in feed.updates]
    assert states[0] == "outage" and states[-1] == "operational" and len(states) <= 3
    assert feed.failing("us", 60.0) is None and feed.look(60.0) == []  # silence changes nothing


@pytest.mark.parametrize(("mutants", "waits"), [(frozenset[str](), False), (frozenset({SYNCHRONOUS_TELEMETRY}), True)])
async def test_serving_waits_for_no_collector(mutants: frozenset[str], waits: bool) -> None:
    stuck, asked = asyncio.Event(), asyncio.Event()

    async def take(_request: web.Request) -> web.Response:
        asked.set()
        await stuck.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/telemetry", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        one = Telemetry(f"http://127.0.0.1:{port}", "edge-1", session, Metrics(), mutants)
        one.note("eu", True, 0.1)
        note = asyncio.create_task(one.begin())
        if waits:
            await asked.wait()
            assert not note.done()
        stuck.set()
        await note
        assert asked.is_set() is waits
    await runner.cleanup()
