"""A gateway before an OpenAI-compatible server that is no oracle: a strict one, written for this test, which sends as others do."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from harness.reference import engine, oracle
from harness.reference.cache import Cache
from harness.reference.foreign import UNPROVEN, Words, question
from harness.reference.metrics import Metrics
from harness.reference.oracle import split
from harness.reference.providers import Pool, Provider
from harness.reference.turns import Ask, Running, Upstream, run_dry, run_turn

PIECES = ["", "Hel", "lo", " the", "re,", "  wor", "ld\n", "- a\n\n", "ü", "ber "]
TEXT = "".join(PIECES)
KNOWN = {"model", "messages", "seed", "stream", "stream_options", "max_tokens", "response_format"}


async def chat(request: web.Request) -> web.StreamResponse:
    """As llama.cpp's and vLLM's servers: CRLF, a role first, pieces of any size, usage alone at the end, no unknown key."""
    body = await request.json()
    if set(body) - KNOWN or body["model"] != "tiny":
        return web.json_response({"error": {"message": f"unknown: {body}"}}, status=400)
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}]
    chunks += [{"choices": [{"index": 0, "delta": {"content": one}, "finish_reason": None}]} for one in PIECES]
    if body["messages"][0]["content"] != "break":
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        chunks.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}})
    for chunk in chunks:
        data = f"data: {json.dumps(chunk)}\r\n\r\n".encode()
        for cut in (data[:-1], data[-1:]):  # also in the midst of what ends an event
            await reply.write(cut)
            await asyncio.sleep(0)
    if body["messages"][0]["content"] != "break":
        await reply.write(b"data: [DONE]\r\n\r\n")
    return reply


class Journal:
    """Takes every turn; keeps the outcome that it was given."""

    def __init__(self) -> None:
        self.outcome: dict[str, Any] = {}

    async def call(self, op: str, body: dict[str, Any], _limit_s: float) -> dict[str, Any]:
        if op == "finish":
            self.outcome = body["body"]
        place = {"epoch": 1, "seq": 1, "degraded": False, "template": None, "state": "new"}
        return place | {"outcome": json.dumps(self.outcome)}


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        provider = Provider(name="own", url=str(server.make_url("/")).rstrip("/"), foreign="tiny")
        yield Upstream(
            session=session,
            pool=Pool([provider], frozenset()),
            cache=Cache(0, frozenset()),
            registry=SimpleNamespace(flag=lambda _: False),  # type: ignore[arg-type]
            journal=Journal(),  # type: ignore[arg-type]
            metrics=Metrics(region="eu"),
        )


def turn(content: str = "hello", prefix: str = "") -> Running:
    ask = Ask(
        idem="k", session="s", value="v", messages=[{"role": "user", "content": content}], seed=7, max_tokens=20,
        prefix=prefix, prefix_model="tiny" if prefix else None,
    )  # fmt: skip
    return Running(ask=ask, readers=1)


async def test_an_answer_arrives_byte_for_byte_and_says_whose_it_is(up) -> None:
    one = turn()
    await run_turn(one, up)
    assert one.failed is None
    assert "".join(one.tokens) == TEXT
    assert tuple(one.tokens) == split(TEXT), "offsets count what a resend would count"
    assert one.model == "tiny"
    assert one.outcome is not None
    assert (one.outcome["answer"], one.outcome["finish"]) == (TEXT, "stop")
    assert one.outcome["usage"]["completion_tokens"] == 9


async def test_the_simulator_keeps_the_same_contract(up) -> None:
    args = argparse.Namespace(
        name="engine", region="eu", small=False, first_ms=1, step_ms=0, per_running_us=0, min_tokens=16, max_tokens=24,
        tokens_per_event=4, slots=0, prefill_ms=0,
    )  # fmt: skip
    app = web.Application()
    async with asyncio.TaskGroup() as tasks:
        await engine._build(tasks, app, args, frozenset())
    async with TestServer(app) as server:
        provider = Provider(name="own", url=str(server.make_url("/")).rstrip("/"), foreign="oracle-1")
        one = turn()
        await run_turn(one, replace(up, pool=Pool([provider], frozenset())))
    assert one.failed is None
    basis = oracle.Basis(
        pins=oracle.PINS, prompt=oracle.prompt_sha(one.ask.messages, oracle.PINS.template), seed=7, guided=False
    )
    assert one.outcome is not None
    assert one.outcome["answer"] == oracle.answer(basis, len(one.tokens))
    assert one.model == "oracle-1", "what it could prove is not claimed for a server that is treated as foreign"


async def test_a_broken_stream_is_an_explicit_error_and_is_never_begun_anew_behind_what_was_said(up) -> None:
    one = turn("break")
    await run_turn(one, up)
    assert one.failed is not None
    assert one.failed.code == "engine_failed"
    again = turn("hello", prefix="Hello there,")
    await run_turn(again, up)
    assert again.failed is not None
    assert (again.failed.status, again.failed.code) == (502, "not_resumable")
    assert again.failed.message == UNPROVEN["resume"]


async def test_a_dry_run_is_refused(up) -> None:
    one = turn()
    await run_dry(one, up)
    assert one.failed is not None
    assert (one.failed.code, one.failed.message) == ("no_oracle", UNPROVEN["replay"])
    assert not one.tokens


def test_words_are_what_the_whole_text_splits_into_however_it_comes() -> None:
    for text in (TEXT, "", " ", "a", "  a  b ", "\n\nx y"):
        assert "".join(split(text)) == text
        for size in (1, 2, 3, 50):
            words = Words()
            found = [word for at in range(0, len(text), size) for word in words.add(text[at : at + size])]
            assert (*found, *words.rest()) == split(text)


def test_the_question_has_only_what_every_server_knows() -> None:
    assert set(question("m", [], 1, 5, guided=True)) == KNOWN
    assert "max_tokens" not in question("m", [], 1, None, guided=False)
