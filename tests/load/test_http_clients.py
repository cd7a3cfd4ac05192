"""One suite for both HTTP clients: whatever the wire does, the op's record says the same, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.errors import SpecError, UnsafeError
from harness.history.op import Op
from harness.load.lean import LeanClient
from harness.load.profile import load_profile

pytestmark = pytest.mark.slow

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["aiohttp", "lean"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b"")


def answering(*pieces: bytes, then: str = "keep") -> Handle:
    """A server that sends these pieces to each request; then keeps the connection, closes it, resets it or hangs."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            if then == "reset":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if then in ("close", "reset"):
                return
            if then == "hang":
                await asyncio.sleep(30)

    return handle


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Instance: a1\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

CASES: list[tuple[str, Handle, dict[str, Any], tuple[Any, ...]]] = [
    ("length", answering(OK), {}, ("ok", None, 200, False, 5)),
    ("in pieces", answering(OK[:20], OK[20:-2], OK[-2:]), {}, ("ok", None, 200, False, 5)),
    ("chunked", answering(CHUNKED + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"), {}, ("ok", None, 200, False, 5)),
    ("until close", answering(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", then="close"), {}, ("ok", None, 200, False, 5)),
    ("empty", answering(b"HTTP/1.1 204 No Content\r\n\r\n"), {"expect": 204}, ("ok", None, 204, False, 0)),
    ("head", answering(OK[:-5]), {"method": "HEAD"}, ("ok", None, 200, False, 0)),
    ("interim", answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK), {}, ("ok", None, 200, False, 5)),
    ("404", answering(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), {}, ("fail", "http 404", 404, False, 0)),
    ("500 read", answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), {}, ("fail", "http 500", 500, False, 0)),
    (
        "500 write",
        answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        {"method": "POST"},
        ("info", "http 500", 500, False, 0),
    ),
    ("eof", answering(then="close"), {"method": "POST"}, ("info", "eof", None, False, 0)),
    ("reset", answering(then="reset"), {"method": "POST"}, ("info", "reset", None, False, 0)),
    ("short", answering(OK[:-2], then="close"), {"method": "POST"}, ("info", "payload-broken", 200, True, 0)),
    (
        "short chunks",
        answering(CHUNKED + b"5\r\nhel", then="close"),
        {"method": "POST"},
        ("info", "payload-broken", 200, True, 0),
    ),
    ("hang", answering(then="hang"), {"method": "POST"}, ("info", "timeout", None, False, 0)),
    ("hang in body", answering(OK[:-2], then="hang"), {"method": "POST"}, ("info", "timeout", 200, True, 0)),
]


@pytest.mark.parametrize(("handle", "options", "want"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_both_clients_record_the_same(
    bench: Any, serve_raw: Any, client: str, handle: Handle, options: dict[str, Any], want: tuple[Any, ...]
) -> None:
    bench.desk.timeout_s = 0.3
    async with serve_raw(handle) as url:
        op = await bench.arrival(bench.user(load_profile("http", {"client": client, **options}), url))
        await bench.close()
    assert (op.outcome, op.error, op.status, op.broken, op.bytes) == want
    assert (op.first_ns is None) == (op.status is None)


async def test_refused(bench: Any, client: str) -> None:
    op = await bench.arrival(bench.user(load_profile("http", {"client": client, "method": "POST"})))
    assert (op.outcome, op.error, op.status) == ("fail", "refused", None)


async def test_what_is_no_http(bench: Any, serve_raw: Any, client: str) -> None:
    async with serve_raw(answering(b"SSH-2.0-x\r\n")) as url:
        op = await bench.arrival(bench.user(load_profile("http", {"client": client, "method": "POST"}), url))
    assert (op.outcome, op.error, op.status) == ("info", "not-http", None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "HEAD"])
async def test_a_reused_connection_that_dies_is_not_asked_again(
    bench: Any, serve_raw: Any, client: str, method: str
) -> None:
    asked: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await request(reader))
        writer.write(OK[:-5] if method == "HEAD" else OK)
        asked.append(await request(reader))  # and dies of the second one

    async with serve_raw(once) as url:
        user = bench.user(load_profile("http", {"client": client, "method": method}), url)
        first, second = await bench.arrival(user, "0"), await bench.arrival(user, "1")
        await bench.close()
    assert (first.outcome, second.outcome) == ("ok", "fail" if method in ("GET", "HEAD") else "info")
    assert second.error in ("eof", "reset")
    assert len(asked) == 2


async def test_connections_are_kept_and_a_dead_idle_one_is_not_used(bench: Any, serve_raw: Any, client: str) -> None:
    ends: list[asyncio.StreamWriter] = []
    closed = asyncio.Event()

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        for _ in range(2):
            await request(reader)
            writer.write(OK)
        writer.close()
        closed.set()

    async with serve_raw(twice) as url:
        user = bench.user(load_profile("http", {"client": client, "served_by_header": "x-instance"}), url)
        ops = []
        for number in range(3):
            ops.append(await bench.arrival(user, str(number)))
            if number == 1:
                await closed.wait()
                await asyncio.sleep(0.05)  # the end of the connection is on its way to the client
        await bench.close()
    assert [(op.outcome, op.served_by) for op in ops] == [("ok", "a1")] * 3
    assert len(ends) == 2


async def test_streams_have_first_chunk_gaps_and_breaks(bench: Any, serve_raw: Any, client: str) -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED)
        for pause_s in (0.0, 0.02, 0.12):
            await asyncio.sleep(pause_s)
            writer.write(b"3\r\nabc\r\n")
            await writer.drain()

    async with serve_raw(slowly) as url:
        user = bench.user(load_profile("http", {"client": client, "stream": True}), url)
        op = await bench.arrival(user)
    assert (op.outcome, op.error, op.broken, op.chunks, op.bytes) == ("fail", "payload-broken", True, 3, 9)
    assert op.gap_ns is not None and 115_000_000 <= op.gap_ns <= op.done_ns - op.first_ns


def sse(content: str | None, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    return b"data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"


@pytest.mark.parametrize("ends", ["whole", "cut"])
async def test_chat_streams(bench: Any, serve_raw: Any, client: str, ends: str) -> None:
    pieces = [sse("one "), sse("two "), *([sse(None, "stop"), b"data: [DONE]\n\n"] if ends == "whole" else [])]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    async with serve_raw(answering(head, *pieces, then="close")) as url:
        op: Op = await bench.arrival(bench.user(load_profile("chat", {"client": client}), url))
    assert op.chunks == 2
    assert op.gap_ns is not None and op.gap_ns >= 5_000_000
    assert (op.outcome, op.error, op.broken) == (
        ("ok", None, False) if ends == "whole" else ("info", "cut stream", True)
    )


async def test_the_lean_client_refuses_what_it_cannot_do(runner: Any) -> None:
    run = runner("https://127.0.0.1:1", options={"client": "lean"})
    with pytest.raises(UnsafeError, match="plain HTTP only, not 'https://127"):
        await run.start()
    with pytest.raises(SpecError, match="client: input should be 'aiohttp' or 'lean'"):
        load_profile("http", {"client": "curl"})
    client = LeanClient("http://127.0.0.1:1/base/", 1.0, {})
    with pytest.raises(ValueError, match="a line end or a space"):
        client.request("GET", "/a b")
    with pytest.raises(ValueError, match="a line end or a space"):
        client.request("GET", "/", headers={"x": "a\r\nEvil: 1"})


@pytest.mark.live
async def test_a_worker_runs_the_lean_client_on_a_loop_of_its_own(target: Any, runner: Any) -> None:
    run = runner(target().url, options={"client": "lean"}, workers=2)
    await run.start()
    await run.until(lambda: run.ended_count >= 60)
    await run.engine.stop_arrivals()
    await run.engine.drain(10**9)
    report = await run.close()
    ops = run.ops()
    assert {op.outcome for op in ops} == {"ok"}
    assert sum(worker.started_count for worker in report.workers) == len(ops)
    assert [worker.exit_code for worker in report.workers] == [0, 0]
