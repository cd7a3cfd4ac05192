"""A gateway before a real OpenAI-compatible server, llama.cpp's own: the contract that the simulator keeps too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

from harness.reference.cache import Cache
from harness.reference.foreign import ALONE, UNPROVEN
from harness.reference.metrics import Metrics
from harness.reference.oracle import split
from harness.reference.providers import Pool, Provider
from harness.reference.turns import Upstream, run_dry, run_turn
from tests.ports import free_port
from tests.reference.test_ref_foreign import Journal, turn

pytest.importorskip("xllamacpp", reason="no wheel of llama.cpp's server for this machine")
pytestmark = [pytest.mark.live, pytest.mark.slow]
_LONG = 1500


class Llama:
    """The server in a process of its own; it ends with this one."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        script = str(Path(__file__).with_name("tiny_llama.py"))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, script, str(folder), self.url.rpartition(":")[2]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
async def llama(tmp_path: Path) -> AsyncIterator[Llama]:
    made = Llama(tmp_path)
    assert made.process.stdout is not None
    told = await asyncio.to_thread(made.process.stdout.readline)
    assert told.decode().strip() == made.url, (tmp_path / "log").read_text()[-2000:]
    yield made
    made.end()


@pytest.fixture
async def up(llama: Llama) -> AsyncIterator[Upstream]:
    async with aiohttp.ClientSession() as session:
        yield Upstream(
            session=session,
            pool=Pool([Provider(name="own", url=llama.url, foreign="tiny")], frozenset()),
            cache=Cache(0, frozenset()),
            registry=SimpleNamespace(flag=lambda _: False),  # type: ignore[arg-type]
            journal=Journal(),  # type: ignore[arg-type]
            metrics=Metrics(region="eu"),
        )


async def asked(up: Upstream, llama: Llama, limit: int) -> str:
    """What the server says to the same question when nothing stands between."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "seed": 7, "max_tokens": limit}
    async with up.session.post(f"{llama.url}/v1/chat/completions", json=body, headers=ALONE) as reply:
        assert reply.status == 200, await reply.text()
        content: str = (await reply.json())["choices"][0]["message"]["content"]
        return content


async def test_an_answer_arrives_byte_for_byte_and_says_whose_it_is(up: Upstream, llama: Llama) -> None:
    one = turn()
    await run_turn(one, up)
    assert one.failed is None
    said = await asked(up, llama, 20)
    assert len(said.split()) >= 15, said
    assert "".join(one.tokens) == said
    assert tuple(one.tokens) == split(said)
    assert one.model == "tiny"
    assert one.outcome is not None
    assert (one.outcome["answer"], one.outcome["finish"]) == (said, "length")
    assert one.outcome["usage"]["completion_tokens"] == 20


async def test_a_server_that_dies_in_mid_answer_is_an_explicit_error(up: Upstream, llama: Llama) -> None:
    one = turn()
    one.ask = replace(one.ask, max_tokens=_LONG)
    running = asyncio.create_task(run_turn(one, up))
    async with asyncio.timeout(20):
        while len(one.tokens) < 5:
            await asyncio.sleep(0)
    llama.end()
    async with asyncio.timeout(20):
        await running
    assert 5 <= len(one.tokens) < _LONG
    assert one.failed is not None
    assert one.failed.code in ("engine_failed", "engine_unreachable", "engine_silent"), one.failed
    again = turn("hello", prefix="".join(one.tokens))
    await run_turn(again, up)
    assert again.failed is not None
    assert (again.failed.status, again.failed.code, again.failed.message) == (502, "not_resumable", UNPROVEN["resume"])


async def test_a_dry_run_is_refused_without_asking_it(up: Upstream) -> None:
    one = turn()
    await run_dry(one, up)
    assert one.failed is not None
    assert one.failed.code == "no_oracle"


async def test_it_is_probed_as_an_engine_is(up: Upstream, llama: Llama) -> None:
    from harness.reference.desk import Desk

    desk = Desk(SimpleNamespace(up=up, mutants=frozenset(), front=None, registry=None))  # type: ignore[arg-type]
    assert await desk._token_from(llama.url, "tiny")
    llama.end()
    with pytest.raises(aiohttp.ClientError):
        await desk._token_from(llama.url, "tiny")


async def test_turn_after_turn_although_it_closes_its_connections(up: Upstream) -> None:
    for number in range(30):
        one = turn(f"turn {number}")
        await run_turn(one, up)
        assert one.failed is None, (number, one.failed)
