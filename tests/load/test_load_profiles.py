"""Profiles `chat` and `http` against raw servers: what is read, what ends an answer, what breaks it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from typing import Any

import pytest

from harness.errors import SpecError
from harness.history.op import Op
from harness.load.profile import load_profile

SHA = hashlib.sha256(b"one two ").hexdigest()
HEAD = "200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n" + (
    "x-served-by: gw-1\r\nx-region: eu\r\nx-epoch: 3\r\nx-attempts: 2\r\nx-cached: 0\r\nx-model-rev: m1"
)


def event(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


WHOLE = event(role="assistant") + event("one ") + event("two ")
DONE = b"data: [DONE]\n\n"


async def turn(
    bench: Any, serve_raw: Any, answer: bytes, head: str = HEAD, *, profile: str = "chat", **options: Any
) -> tuple[Op, list[bytes]]:
    """One arrival of a profile against a server that answers with these bytes and closes; the op and what was asked."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in request.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
        request += await reader.readexactly(int(length[0].split()[1])) if length else b""
        asked.append(request)
        for piece in (f"HTTP/1.1 {head}\r\n\r\n".encode() + answer[:7], answer[7:]):
            writer.write(piece)
            await writer.drain()

    async with serve_raw(handle) as url:
        op = await bench.arrival(bench.user(load_profile(profile, options), url))
    return op, asked


async def test_a_turn(bench: Any, serve_raw: Any) -> None:
    op, (asked,) = await turn(bench, serve_raw, WHOLE + event(finish="stop") + DONE)
    assert (op.f, op.outcome, op.status, op.chunks, op.wrong, op.broken) == ("append", "ok", 200, 2, False, False)
    assert (op.value, op.key, op.session, op.idem) == ("seed-0-1", "s0", "s0", "run-seed-0-1")
    assert (op.served_by, op.region, op.epoch, op.attempts, op.cached, op.degraded) == ("gw-1", "eu", 3, 2, False, None)
    assert op.version == "m1"
    assert op.sent_ns is not None and op.first_ns is not None and op.done_ns is not None
    assert op.sent_ns <= op.first_ns <= op.done_ns
    head, _, body = asked.partition(b"\r\n\r\n")
    lines = {line.split(b": ")[0].lower(): line.split(b": ")[1] for line in head.split(b"\r\n")[1:]}
    assert (lines[b"idempotency-key"], lines[b"x-session"], lines[b"x-turn-value"]) == (
        b"run-seed-0-1",
        b"s0",
        b"seed-0-1",
    )
    assert json.loads(body)["stream"] is True
    assert bench.acknowledged == ["s0"]


async def test_details_of_the_last_event_count(bench: Any, serve_raw: Any) -> None:
    last = event(finish="stop", serving={"region": "us", "served_by": "gw-2", "epoch": 4, "answer_sha": SHA})
    op, _ = await turn(bench, serve_raw, WHOLE + last + DONE)
    assert (op.outcome, op.wrong, op.region, op.served_by, op.epoch) == ("ok", False, "us", "gw-2", 4)


@pytest.mark.parametrize("where", ["usage", "top", "header"])
async def test_wrong_content_is_wrong(bench: Any, serve_raw: Any, where: str) -> None:
    other = "0" * 64
    more = {"usage": {"usage": {"answer_sha": other}}, "top": {"answer_sha": other}, "header": {}}[where]
    head = HEAD + (f"\r\nx-answer-sha: {other}" if where == "header" else "")
    op, _ = await turn(bench, serve_raw, WHOLE + event(finish="stop", **more) + DONE, head)
    assert (op.outcome, op.wrong, op.error) == ("ok", True, "wrong content")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (WHOLE, "cut stream"),
        (WHOLE + event(finish="stop"), "no end of stream"),
        (WHOLE + DONE, "no finish_reason"),
        (WHOLE + b'data: {"error": {"message": "overloaded"}}\n\n' + DONE, "error event"),
        (WHOLE + b"data: {oops\n\n", "not JSON"),
        (WHOLE + b"data: 5\n\n", "not an object"),
        (b"", "cut stream"),
    ],
)
async def test_a_short_stream_is_broken_and_info(bench: Any, serve_raw: Any, body: bytes, error: str) -> None:
    op, _ = await turn(bench, serve_raw, body)
    assert (op.outcome, op.broken, op.error) == ("info", True, error)
    assert bench.acknowledged == []


async def test_a_break_of_the_wire_in_mid_stream(bench: Any, serve_raw: Any) -> None:
    chunked = "200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
    op, _ = await turn(bench, serve_raw, b"%x\r\n" % len(WHOLE) + WHOLE + b"\r\n", chunked)
    assert (op.outcome, op.broken, op.error, op.chunks) == ("info", True, "payload-broken", 2)


async def test_answers_in_one_piece(bench: Any, serve_raw: Any) -> None:
    answer = {
        "choices": [{"message": {"content": "one two "}, "finish_reason": "stop"}],
        "serving": {"answer_sha": SHA},
    }
    head = "200 OK\r\nx-cached: replay\r\nx-degraded: small\r\nconnection: close"
    op, _ = await turn(bench, serve_raw, json.dumps(answer).encode(), head, stream=False)
    assert (op.outcome, op.wrong, op.cached, op.degraded) == ("ok", False, True, "small")
    op, _ = await turn(bench, serve_raw, b'{"choices": []}', head, stream=False)
    assert (op.outcome, op.error) == ("info", "no answer in the body")


async def test_final_reads_list_values_and_a_missing_session_is_empty(bench: Any, serve_raw: Any) -> None:
    answers = iter(
        [
            ("200 OK", b'{"turns": [{"seq": 1, "value": "a"}, {"seq": 2, "value": "b"}]}'),
            ("404 No", b"{}"),
            ("503 Busy", b"{}"),
        ]
    )

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /v1/sessions/s9 ")
        head, body = next(answers)
        writer.write(f"HTTP/1.1 {head}\r\nconnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    async with serve_raw(handle) as url:
        for _ in range(3):
            user = bench.user(load_profile("chat", {}), url, session="s9", region="us", phase="final")
            try:
                await user.final()
            except Exception as exc:
                assert exc is user._ended_by
    ops = bench.ops()
    assert [(op.outcome, op.result) for op in ops] == [("ok", '["a","b"]'), ("ok", "[]"), ("fail", None)]
    assert {(op.phase, op.region, op.session, op.f) for op in ops} == {("final", "us", "s9", "read")}


@pytest.mark.parametrize(("again", "wrong"), [("one two", False), ("one too", True), (None, None)])
async def test_a_share_of_the_final_reads_runs_a_turn_again(
    bench: Any, serve_raw: Any, again: str | None, wrong: bool | None
) -> None:
    """The journaled request, as it is and without a trace; an answer that differs is wrong, a refusal leaves the read."""
    sha = hashlib.sha256(b"one two").hexdigest()
    turns = [
        {"value": "a", "request": {"messages": ["m"], "seed": 4}, "answer_sha": sha},
        {"value": "b", "answer_sha": None},
    ]
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body, status = json.dumps({"turns": turns}).encode(), "200 OK"
        if head.startswith(b"POST"):
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
            asked.append(head + await reader.readexactly(int(length[0].split()[1])))
            choice = {"message": {"content": again}, "finish_reason": "stop"}
            body, status = json.dumps({"choices": [choice]}).encode(), "200 OK" if again else "409 Conflict"
        writer.write(f"HTTP/1.1 {status}\r\nconnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    async with serve_raw(handle) as url:
        user = bench.user(load_profile("chat", {"replay": 1.0}), url, session="s9", region="us", phase="final")
        await user.final()
    read, replay = bench.ops()
    assert (read.f, read.outcome, read.result) == ("read", "ok", '["a","b"]')
    assert (replay.f, replay.phase, replay.value, replay.region) == ("replay", "final", "a", "us")
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert b"x-dry-run: 1" in head.lower() and json.loads(body) == turns[0]["request"]
    if again is None:
        assert (replay.outcome, replay.compared) == ("fail", 0)
        return
    assert (replay.outcome, replay.compared, replay.wrong) == ("ok", 1, wrong)
    assert replay.answer == hashlib.sha256(again.encode()).hexdigest()[:32]


async def test_digests_of_question_and_answer_are_recorded_when_asked_for(bench: Any, serve_raw: Any) -> None:
    op, _ = await turn(bench, serve_raw, WHOLE + event(finish="stop") + DONE)
    assert (op.input, op.answer, op.compared) == (None, None, 0)
    op, (asked,) = await turn(bench, serve_raw, WHOLE + event(finish="stop") + DONE, digests=True, api_key="tenant-1")
    request = json.loads(asked.partition(b"\r\n\r\n")[2])
    text = json.dumps(["tenant-1", request], sort_keys=True)
    assert op.input == hashlib.sha256(text.encode()).hexdigest()[:32] and op.answer is not None


async def test_http_asks_a_path(bench: Any, serve_raw: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        status = "404 No" if line == b"GET /none HTTP/1.1" else "201 Made"
        writer.write(f"HTTP/1.1 {status}\r\nx-instance: i1\r\nconnection: close\r\n\r\nhello".encode())
        await writer.drain()

    named = {"served_by_header": "x-instance"}
    cases: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
        ({"expect": 201, "contains": "ell"} | named, ("get", "ok", 201, "i1", False)),
        ({"expect": 201, "contains": "elk", "stream": True}, ("get", "ok", 201, None, True)),
        ({"method": "POST", "body": "{}"}, ("post", "fail", 201, None, False)),  # another status than asked for
        ({"path": "/none"}, ("get", "fail", 404, None, False)),
        ({"path": "/none", "expect": 404}, ("get", "ok", 404, None, False)),
    ]
    async with serve_raw(handle) as url:
        for options, expected in cases:
            op = await bench.arrival(bench.user(load_profile("http", options), url))
            assert (op.f, op.outcome, op.status, op.served_by, op.wrong) == expected, options


async def test_a_mix_is_drawn_by_weight_from_the_seed(bench: Any, serve_raw: Any) -> None:
    asked: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode())
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    mix = [{"path": "/a", "weight": 3}, {"path": "/b", "method": "DELETE"}]
    async with serve_raw(handle) as url:
        user = bench.user(load_profile("http", {"mix": mix}), url)
        for number in (*range(200), *range(20)):
            user._arrive(str(number), 0)
            await user.run()
    drawn = [(op.f, op.key) for op in bench.ops()[:200]]
    assert set(drawn) == {("get", "/a"), ("delete", "/b")}
    assert 120 <= drawn.count(("get", "/a")) <= 180
    assert asked[200:] == asked[:20]  # a function of the seed and the arrival's number


def test_a_mix_is_told_what_is_wrong_with_it() -> None:
    with pytest.raises(SpecError, match=r"mix: .*greater than 0"):
        load_profile("http", {"mix": [{"path": "/a", "weight": 0}]})
    with pytest.raises(SpecError, match="mix: unexpected keyword"):
        load_profile("http", {"mix": [{"path": "/a", "wieght": 1}]})


async def test_lengths_have_heavy_tails_and_come_from_the_seed(bench: Any) -> None:
    options = {"prompt_chars": 200, "prompt_sigma": 1.0, "max_tokens": 50, "max_tokens_sigma": 1.0}
    user = bench.user(load_profile("chat", options))
    lengths, tokens = [], []
    for number in range(600):
        user._arrive(str(number), 0)
        lengths.append(len(user._prompt("v")))
        tokens.append(user._drawn(50, 1.0))
    assert 180 <= sorted(lengths)[300] <= 225
    assert max(lengths) > 1500  # three times the standard deviation of the logarithm and more
    assert 42 <= sorted(tokens)[300] <= 60
    user._arrive("7", 0)
    assert len(user._prompt("v")) == lengths[7]


async def test_a_sitting_has_turns_with_thought_between(bench: Any, serve_raw: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in request.lower().split(b"\r\n") if line.startswith(b"content-length: "))
        await reader.readexactly(int(length.split()[1]))
        writer.write(f"HTTP/1.1 {HEAD}\r\n\r\n".encode() + WHOLE + event(finish="stop") + DONE)

    async with serve_raw(handle) as url:
        await bench.arrival(bench.user(load_profile("chat", {"turns": 3, "think_s": 0.02}), url))
    ops = bench.ops()
    assert [(op.outcome, op.later) for op in ops] == [("ok", False), ("ok", True), ("ok", True)]
    assert all(after.intended_ns - before.done_ns >= 20_000_000 for before, after in itertools.pairwise(ops))


async def test_a_job(bench: Any, serve_raw: Any) -> None:
    options = {
        "path": "/v1/batches",
        "body": '{"work": "add"}',
        "session_header": "x-session",
        "served_by_header": "x-served-by",
    }
    op, (asked,) = await turn(bench, serve_raw, b"", HEAD.replace("200 OK", "202 Accepted"), profile="jobs", **options)
    assert (op.f, op.outcome, op.status, op.served_by) == ("submit", "ok", 202, "gw-1")
    assert (op.value, op.key, op.idem) == ("seed-0-1", "s0", "run-seed-0-1")
    head, _, body = asked.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/batches ") and json.loads(body) == {"work": "add"}
    assert b"idempotency-key: run-seed-0-1" in head.lower() and b"x-session: s0" in head.lower()
    assert bench.acknowledged == ["s0"]


async def test_a_poisoned_job_is_no_job_of_the_model(bench: Any, serve_raw: Any) -> None:
    op, (asked,) = await turn(bench, serve_raw, b"", profile="jobs", poison=1.0, poison_body='{"work": "poison"}')
    assert (op.f, op.outcome, bench.acknowledged) == ("poison", "ok", [])
    assert asked.endswith(b'{"work": "poison"}') and b"x-session" not in asked
    refused, _ = await turn(bench, serve_raw, b"", "503 Full\r\nconnection: close", profile="jobs")
    assert (refused.f, refused.status, refused.outcome) == ("submit", 503, "info")
    with pytest.raises(SpecError, match="poison"):
        load_profile("jobs", {"poison": 1.5})
