"""A gateway's cache in a Redis server: what it does in memory, and that nobody waits for one that is gone."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.reference.cache import Cache, Kept
from harness.reference.redis_cache import RedisCache
from tests.ports import free_port

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
]


def kept(word: str = "ba") -> Kept:
    return Kept(tokens=(word, "é"), finish="stop", usage={"completion_tokens": 2}, sha="ab", at=time.monotonic())


class Server:
    """A Redis of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._argv = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--save",
            "",
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL)

    async def ready(self) -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path)
    await made.ready()
    yield made
    made.end()


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Cache]:
    made = Cache(2.0) if request.param == "memory" else RedisCache(server.url, 2.0, answer_s=5.0)
    yield made
    await made.close()


async def ask(cache: Cache, key: str, answer: Kept | None) -> Kept | None:
    async def make() -> Kept | None:
        return answer

    return await cache.through(key, make)


async def test_both_give_an_answer_again_until_it_is_old_or_wiped(cache: Cache) -> None:
    assert await ask(cache, "k", kept()) is None
    again = await ask(cache, "k", kept("other"))
    assert again is not None
    assert (again.tokens, again.finish, again.usage, again.sha) == (("ba", "é"), "stop", {"completion_tokens": 2}, "ab")
    assert await ask(cache, "unfit", None) is None and await ask(cache, "unfit", None) is None
    await asyncio.sleep(2.2)
    assert await ask(cache, "k", kept("new")) is None
    assert await cache.wipe() == 1
    assert await ask(cache, "k", kept()) is None
    assert (cache.hits, cache.misses) == (1, 5)


async def test_of_several_that_miss_one_asks(cache: Cache) -> None:
    made = []

    async def make() -> Kept:
        made.append(1)
        await asyncio.sleep(0.1)
        return kept()

    found = await asyncio.gather(*(cache.through("k", make) for _ in range(20)))
    assert len(made) == 1 and found.count(None) == 1


async def test_two_gateways_of_a_region_share_it(server: Server) -> None:
    one, two = (RedisCache(server.url, 60.0, answer_s=5.0) for _ in range(2))
    await ask(one, "k", kept())
    assert await ask(two, "k", None) is not None
    await one.close()
    await two.close()


@pytest.mark.parametrize("how", ["gone", "frozen"])
async def test_without_its_server_every_answer_is_made_and_nobody_waits(server: Server, how: str) -> None:
    cache = RedisCache(server.url, 5.0)
    await ask(cache, "k", kept())
    if how == "gone":
        server.end()
    else:
        server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(50):
        assert await ask(cache, "k", kept()) is None
    assert time.monotonic() - began < 5, "one waits a quarter of a second, the others not at all"
    assert 1 <= cache.errors <= 6
    if how == "gone":
        server.start()
        await server.ready()
    else:
        server.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while await ask(cache, "k", kept()) is None:
            await asyncio.sleep(0.1)
    await cache.close()
