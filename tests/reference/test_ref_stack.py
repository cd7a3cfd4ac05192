"""The whole stack in calm weather: an unmodified OpenAI client, exact streams, idempotency, start and size."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from harness.reference import oracle
from harness.reference.oracle import PINS, Basis

pytestmark = [pytest.mark.live, pytest.mark.slow]
Make = Callable[..., Awaitable[Any]]


def expected(content: str) -> str:
    """The oracle's answer, at the engine's default length."""
    basis = Basis(pins=PINS, prompt=oracle.prompt_sha([{"role": "user", "content": content}], PINS.template))
    return oracle.answer(basis, oracle.length(basis, 16, 24))


async def test_an_unmodified_openai_client_talks_to_it(make_stack: Make) -> None:
    stack = await make_stack()
    async with openai.AsyncOpenAI(base_url=stack.url("edge") + "/v1", api_key="any", max_retries=0) as client:
        models = [model.id async for model in client.models.list()]
        assert models == [PINS.model]
        whole = await client.chat.completions.create(
            model=PINS.model, messages=[{"role": "user", "content": "hello"}], user="session-1"
        )
        assert whole.choices[0].message.content == expected("hello")
        assert whole.choices[0].finish_reason == "stop" and whole.usage is not None
        assert whole.usage.completion_tokens == len(oracle.split(expected("hello")))

        text, reasons = "", []
        stream = await client.chat.completions.create(
            model=PINS.model, messages=[{"role": "user", "content": "again"}], stream=True, user="session-1"
        )
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            reasons.append(chunk.choices[0].finish_reason)
        assert text == expected("again") and reasons[-1] == "stop" and len(reasons) > 2

        short = await client.chat.completions.create(
            model=PINS.model, messages=[{"role": "user", "content": "again"}], max_tokens=3
        )
        assert short.choices[0].finish_reason == "length"
        assert short.choices[0].message.content == "".join(oracle.split(expected("again"))[:3])
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model=PINS.model, messages=[])
    assert len(await stack.values("eu", "session-1")) == len(await stack.values("us", "session-1")) == 2


async def test_a_resent_turn_is_answered_from_the_log(make_stack: Make) -> None:
    stack = await make_stack()
    first = await stack.turn("s", "v1", idem="key-1")
    assert first.acked and first.exact and first.headers["x-attempts"] == "1" and first.headers["x-region"] == "eu-west"
    second = await stack.turn("s", "v1", idem="key-1")
    assert (second.text, second.headers["x-cached"]) == (first.text, "replay")
    together = await asyncio.gather(*(stack.turn("s", "v2", idem="key-2") for _ in range(5)))
    assert {answer.text for answer in together} == {expected("turn v2")} and all(a.acked for a in together)
    assert (await stack.turn("s", "other", idem="key-1")).status == 422
    assert await stack.values("eu", "s") == await stack.values("us", "s") == ["v1", "v2"]

    at_standby = await stack.turn("s", "v3", url=stack.url("gateway-us"))
    assert (at_standby.status, at_standby.error) == (409, "not_primary")
    direct = await stack.turn("s", "v4", url=stack.url("gateway-eu"))
    assert direct.acked and direct.headers["x-served-by"] == "gateway-eu"
    for name in ("eu", "us"):
        _, body = await stack.get(f"{stack.url(f'gateway-{name}')}/v1/sessions/s")
        assert [(t["value"], t["region"], t["epoch"], t["state"]) for t in body["turns"]] == [
            (value, "eu-west", 1, "done") for value in ("v1", "v2", "v4")
        ]
        assert body["turns"][0]["answer_sha"] == oracle.text_sha(first.text) and body["turns"][0]["idem"] == "key-1"


async def test_a_journaled_turn_run_again_in_either_region_says_the_same_and_leaves_no_trace(make_stack: Make) -> None:
    stack = await make_stack()
    first = await stack.turn("s", "v1", idem="key-1")
    _, before = await stack.get(stack.url("journal-eu") + "/v1/journal/digest")
    for name in ("gateway-eu", "gateway-us"):
        _, body = await stack.get(f"{stack.url(name)}/v1/sessions/s")
        (turn,) = body["turns"]
        headers = {"x-dry-run": "1"}
        url = stack.url(name) + "/v1/chat/completions"
        async with stack.http.post(url, json=turn["request"], headers=headers) as reply:
            said = await reply.json()
            assert reply.status == 200, said
        text = said["choices"][0]["message"]["content"]
        assert text == first.text and oracle.text_sha(text) == turn["answer_sha"]
    _, after = await stack.get(stack.url("journal-eu") + "/v1/journal/digest")
    assert (after["seq"], after["digest"]) == (before["seq"], before["digest"])
    for name in ("journal-eu", "journal-us"):
        async with stack.http.get(stack.url(name) + "/v1/journal/export") as reply:
            lines = [json.loads(line) for line in (await reply.text()).splitlines()]
        assert [line["hash"] for line in lines][:-1] == [line["prev"] for line in lines][1:]
        assert lines[-1]["hash"] == after["digest"]


async def test_load_is_served_exactly_and_every_process_tells_its_metrics(make_stack: Make) -> None:
    stack = await make_stack()
    answers = await stack.load(2, rate=30)
    assert len(answers) > 50 and all(answer.acked and answer.exact for answer in answers)
    for answer in answers:
        assert answer.text == expected(f"turn {answer.value}")
    await stack.converged()
    for short in ("eu", "us"):
        found = await stack.judge(short, answers)
        assert (found.lost, found.doubled, found.reordered) == ([], [], [])
    for name in stack.ports:
        async with stack.http.get(stack.url(name) + "/metrics") as reply:
            text = await reply.text()
        told = {
            "edge": "ctl_decisions_total",
            "gateway": "gw_admission_limit",
            "engine": "vllm:num_requests_running",
            "journal": "store_commit_seconds_count",
        }
        assert told[name.partition("-")[0]] in text
        async with stack.http.get(stack.url(name) + "/livez") as reply:
            assert reply.status == 200
    _, about = await stack.get(stack.url("edge") + "/v1/about")
    assert about["mutants"] == [] and about["primary_gateway"] == "gateway-eu"
    _, events = await stack.get(stack.url("edge") + "/events?since=3")
    assert [event["seq"] for event in events] == list(range(4, 4 + len(events)))
    assert (await stack.get(stack.url("edge") + "/v1/replication"))[1]["behind"] == 0


async def test_a_gateway_that_is_full_sheds_with_retry_after(make_stack: Make) -> None:
    stack = await make_stack(extra={"gateway-eu": ["--admit", "0"]})
    refused = await stack.turn("s", "v")
    assert (refused.status, refused.error, refused.headers["Retry-After"]) == (429, "overloaded", "1")
    assert await stack.values("us", "s") == []


async def test_sigterm_ends_every_process_within_a_second(make_stack: Make) -> None:
    stack = await make_stack()
    under_way = asyncio.create_task(stack.turn("s", "v"))
    await asyncio.sleep(0)
    began = time.monotonic()
    stack.signal(list(stack.ports), signal.SIGTERM)
    codes = [await asyncio.to_thread(child.wait, 10) for child in stack.children.values()]
    print(f"SIGTERM to all gone: {time.monotonic() - began:.2f} s")
    assert codes == [0] * 7
    await under_way
    for name in stack.ports:
        log = [json.loads(line) for line in (stack.path / f"{name}.log").read_text().splitlines()]
        assert [line["event"] for line in log][-1] == "stopping"


def test_usage_errors_end_with_2() -> None:
    argv = [sys.executable, "-m", "harness.reference.engine", "--port", "1", "--mutant", "no-such"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "unknown name 'no-such'" in done.stderr


_ZYGOTE = """
import os, signal, sys, importlib, json
from multiprocessing.util import _exit_function
mains = {}
for line in json.loads(sys.argv[1]):
    module = importlib.import_module(line[2])
    mains[line[0]] = (module.main, line[3:])
for name, (main, argv) in mains.items():
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        import ctypes; ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        main(argv)
        os._exit(0)
    print(name, pid, flush=True)
sys.stdin.read()
"""


async def test_forked_from_one_zygote_it_is_up_in_no_time_and_small(new_stack: Any) -> None:
    stack = new_stack
    spawned: list[list[str]] = []
    stack.spawn = lambda name: spawned.append([name, *stack.argv(name)[1:]])
    began = time.monotonic()
    await stack.start()
    argv = [sys.executable, "-c", _ZYGOTE, json.dumps(spawned)]
    zygote = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert zygote.stdout is not None
        pids = [int((await zygote.stdout.readline()).split()[1]) for _ in spawned]
        await stack.ready()
        took = time.monotonic() - began
        await stack.load(1, rate=20)
        pss = sum(_pss_kib(pid) for pid in [*pids, zygote.pid]) / 1024
        print(f"ready in {took:.2f} s with imports, {pss:.0f} MiB PSS with the zygote")
        assert took < 15 and pss < 300
    finally:
        zygote.kill()
        await zygote.wait()
        await stack.stop()


def _pss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))


def test_importing_the_programs_starts_nothing() -> None:
    code = (
        "import sys, threading, importlib\n"
        "for name in ('edge', 'gateway', 'engine', 'journal_server'):\n"
        "    importlib.import_module('harness.reference.' + name)\n"
        "assert threading.active_count() == 1\n"
        "mine = [m for m in sys.modules if m.startswith('harness.') and not m.startswith('harness.reference')]\n"
        "assert not mine, mine\n"
        "heavy = {'numpy', 'pandas', 'pydantic', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, env=environment)


async def test_an_engine_that_lies_is_caught(make_stack: Make) -> None:
    """A region whose engine garbles its words ends in an explicit error, and nothing of it is acknowledged."""
    stack = await make_stack()
    stack.signal(["engine-eu"], signal.SIGKILL)
    server = await asyncio.start_server(_garbling_engine, "127.0.0.1", stack.ports["engine-eu"])
    try:
        answer = await stack.turn("s", "v")
        assert not answer.acked and answer.error == "answer_mismatch"
        _, body = await stack.get(f"{stack.url('gateway-us')}/v1/sessions/s")
        assert [turn["state"] for turn in body["turns"]] == ["pending"]
    finally:
        server.close()


async def _garbling_engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    if b'"max_tokens": 1' in request or b"stream" not in await reader.read(4096):
        reply = b'{"usage": {"completion_tokens": 1}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(f"Content-Length: {len(reply)}\r\n\r\n".encode() + reply)
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n")
        writer.write(b"x-answer-sha: " + b"0" * 64 + b"\r\n\r\n")
        chunk = '{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}'
        for words, finish in (("garbled words", "null"), ("", '"stop"')):
            writer.write(f"data: {chunk % (words, finish)}\n\n".encode())
        writer.write(b"data: [DONE]\n\n")
    await writer.drain()
    writer.close()


async def test_a_client_that_leaves_does_no_harm(make_stack: Make) -> None:
    stack = await make_stack()
    body = {"messages": [{"role": "user", "content": "turn v"}], "stream": True}
    headers = {"x-session": "s", "x-turn-value": "v", "idempotency-key": "v"}
    async with stack.http.post(stack.url("edge") + "/v1/chat/completions", json=body, headers=headers) as reply:
        await reply.content.readany()
    answer = await stack.turn("s", "v")
    assert answer.acked and answer.text == expected("turn v")
    assert await stack.values("us", "s") == ["v"]
    with pytest.raises(aiohttp.ClientConnectionError):
        await stack.http.get("http://127.0.0.1:1/")
