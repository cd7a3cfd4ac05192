"""The outcome table, literally: classified exceptions, and real servers that misbehave in one way each."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import Any

import pytest

from harness.load import Broken, HttpUser, Rejected, User
from harness.load.outcomes import classify


class Poster(HttpUser):
    model = "set"

    async def run(self) -> None:
        async with self.op("add", value=self.unique()), self.client.post("/x", json={}) as reply:
            reply.raise_for_status()
            await reply.read()


class Reader(HttpUser):
    model = "set"

    async def run(self) -> None:
        async with self.op("read") as op, self.client.get("/x") as reply:
            reply.raise_for_status()
            op.result = await reply.text()


@pytest.mark.parametrize(
    ("exc", "unsent", "write", "read"),
    [
        (Rejected("full"), False, ("fail", "full"), ("fail", "full")),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), None, ("fail", "refused"), ("fail", "refused")),
        (socket.gaierror(-2, "no such name"), None, ("fail", "unresolved"), ("fail", "unresolved")),
        (ConnectionResetError(errno.ECONNRESET, "gone"), None, ("info", "reset"), ("fail", "reset")),
        (ConnectionResetError(errno.ECONNRESET, "gone"), True, ("fail", "reset"), ("fail", "reset")),
        (TimeoutError(), None, ("info", "timeout"), ("fail", "timeout")),
        (TimeoutError(), False, ("info", "timeout"), ("fail", "timeout")),
        (TimeoutError(), True, ("fail", "connect-timeout"), ("fail", "connect-timeout")),
        (Broken("short"), False, ("info", "short"), ("fail", "short")),
        (ValueError("odd"), None, ("info", "ValueError"), ("fail", "ValueError")),
        (asyncio.CancelledError(), None, ("info", "cancelled"), ("fail", "cancelled")),
    ],
)
def test_the_table(exc: BaseException, unsent: bool | None, write: tuple[str, str], read: tuple[str, str]) -> None:
    ending = classify(exc, "add", unsent=unsent)
    assert (ending.outcome, ending.error) == write
    ending = classify(exc, "read", unsent=unsent)
    assert (ending.outcome, ending.error) == read


def test_no_proof_counts_once_an_attempt_ended_unanswered() -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "no")
    assert classify(refused, "add", unsent=True, tainted=True).outcome == "info"
    assert classify(Rejected(), "add", unsent=False, tainted=True).outcome == "info"


async def _answer(writer: asyncio.StreamWriter, head: str, body: bytes = b"") -> None:
    writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)
    await writer.drain()


async def _request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


STATUSES = [
    (200, "ok"),
    *((status, "fail") for status in (400, 401, 403, 404, 409, 412, 413, 422, 429)),
    *((status, "info") for status in (500, 502, 503, 504)),
]


@pytest.mark.parametrize(("status", "outcome"), STATUSES)
async def test_statuses(bench: Any, serve_raw: Any, status: int, outcome: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await _answer(writer, f"{status} Said\r\ncontent-length: 0\r\nconnection: close")

    async with serve_raw(handle) as url:
        op = await bench.arrival(bench.user(Poster, url))
        assert (op.outcome, op.status, op.broken) == (outcome, status, False)
        assert op.error == (None if status == 200 else f"http {status}")
        read = await bench.arrival(bench.user(Reader, url))
        assert read.outcome == ("ok" if status == 200 else "fail")


@pytest.mark.parametrize(
    ("head", "error", "status"),
    [
        ("200 OK\r\ncontent-type: text/html; charset=utf-8", "not JSON: text/html", 200),
        ("201 Made", "not JSON: no content type", 201),
        ("404 No\r\ncontent-type: text/html", "http 404", 404),
    ],
)
async def test_an_answer_that_is_no_json_says_what_it_is(
    bench: Any, serve_raw: Any, head: str, error: str, status: int
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await _answer(writer, f"{head}\r\ncontent-length: 2\r\nconnection: close", b"hm")

    class Trusting(Poster):
        async def run(self) -> None:
            async with self.op("add", value=self.unique()), self.client.post("/x", json={}) as reply:
                await reply.json()

    async with serve_raw(handle) as url:
        op = await bench.arrival(bench.user(Trusting, url))
    sure = status == 404  # else the server may well have done it
    assert (op.outcome, op.error, op.status, op.broken) == ("fail" if sure else "info", error, status, False)


async def test_503_is_fail_when_the_profile_says_so(bench: Any, serve_raw: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await _answer(writer, "503 Busy\r\ncontent-length: 0\r\nconnection: close")

    class Sure(Poster):
        no_effect = (503,)

    async with serve_raw(handle) as url:
        assert (await bench.arrival(bench.user(Sure, url))).outcome == "fail"


async def test_refused_and_unresolved_are_fail(bench: Any) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, not listening
        op = await bench.arrival(bench.user(Poster, f"http://127.0.0.1:{unheard.getsockname()[1]}"))
    assert (op.outcome, op.error, op.status, op.broken) == ("fail", "refused", None, False)
    op = await bench.arrival(bench.user(Poster, "http://no-such-host.invalid"))
    assert (op.outcome, op.error) == ("fail", "unresolved")


async def test_reset_after_the_request_is_info(bench: Any, serve_raw: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        _reset(writer)

    async with serve_raw(handle) as url:
        user = bench.user(Poster, url)
        before = user.writer
        op = await bench.arrival(user)
        assert (op.outcome, op.error, op.first_ns, op.broken) == ("info", "reset", None, False)
        assert op.writer == before != user.writer  # what comes next is another writer's
        assert (await bench.arrival(bench.user(Reader, url))).outcome == "fail"


async def test_a_close_before_the_answer_is_info(bench: Any, serve_raw: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)

    async with serve_raw(handle) as url:
        op = await bench.arrival(bench.user(Poster, url))
        assert (op.outcome, op.error) == ("info", "eof")


async def test_a_break_in_mid_body_is_broken(bench: Any, serve_raw: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await _answer(writer, "200 OK\r\ncontent-length: 100", b"half")

    async with serve_raw(handle) as url:
        op = await bench.arrival(bench.user(Poster, url))
        assert (op.outcome, op.error, op.status, op.broken) == ("info", "payload-broken", 200, True)
        assert op.first_ns is not None


@pytest.mark.slow
async def test_a_hang_ends_by_the_timeout(bench: Any, serve_raw: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await _answer(writer, "200 OK\r\ncontent-length: 100", b"half")
        await asyncio.sleep(30)

    bench.desk.timeout_s = 0.2
    async with serve_raw(silent) as url, serve_raw(half) as other:
        op = await bench.arrival(bench.user(Poster, url))
        assert (op.outcome, op.error, op.broken) == ("info", "timeout", False)
        op = await bench.arrival(bench.user(Poster, other))
        assert (op.outcome, op.error, op.broken) == ("info", "timeout", True)


@pytest.mark.slow
async def test_a_connect_that_hangs_sent_nothing(bench: Any) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        queued = [socket.socket() for _ in range(8)]
        try:
            for sock in queued:  # fill the backlog: further SYNs are dropped
                sock.setblocking(False)
                sock.connect_ex(address)
            bench.desk.timeout_s = 0.3
            op = await bench.arrival(bench.user(Poster, f"http://127.0.0.1:{address[1]}"))
        finally:
            for sock in queued:
                sock.close()
    assert (op.outcome, op.error) == ("fail", "connect-timeout")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_nothing_is_silently_sent_again(bench: Any, serve_raw: Any, method: str) -> None:
    """Notices a release of aiohttp in which the private switch no longer works: the server would see a third request."""
    seen = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        seen.append("first")
        await _answer(writer, "200 OK\r\ncontent-length: 2", b"ok")
        await _request(reader)
        seen.append("second")  # on the reused connection, which dies without an answer

    class Repeating(HttpUser):
        async def run(self) -> None:
            async with self.op("put"), self.client.request(method, "/x") as reply:
                await reply.read()

    async with serve_raw(handle) as url:
        user = bench.user(Repeating, url)
        assert (await bench.arrival(user)).outcome == "ok"
        second = await bench.arrival(user, "1")
        assert (second.outcome, second.error) == ("info", "eof")
        assert seen == ["first", "second"]


async def test_attempts(bench: Any, serve_raw: Any) -> None:
    answers = iter(["429 Slow down", "200 OK"])

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await _answer(writer, f"{next(answers)}\r\ncontent-length: 0\r\nconnection: close")

    class Retrying(HttpUser):
        urls: tuple[str, ...] = ()

        async def run(self) -> None:
            async with self.op("add") as op:
                for number, url in enumerate(self.urls, start=1):
                    try:
                        async with op.attempt(), self.client.post(url) as reply:
                            reply.raise_for_status()
                            return
                    except Exception:
                        if number == len(self.urls):
                            raise

    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)

    nobody = "http://127.0.0.1:1"
    async with serve_raw(handle) as url, serve_raw(dying) as dead:
        for urls, outcome, attempts in [
            ((url, nobody), "fail", 2),  # 429, then refused: surely nothing
            ((nobody, url), "ok", 2),
            ((dead, nobody), "info", 2),  # unanswered, then refused: who knows
            ((nobody, nobody, nobody), "fail", 3),
        ]:
            user = bench.user(Retrying, url)
            user.urls = urls
            op = await bench.arrival(user)
            assert (op.outcome, op.attempts) == (outcome, attempts), urls


async def test_what_a_profile_tells_is_in_the_row(bench: Any) -> None:
    class Telling(User):
        model = "register"

        async def run(self) -> None:
            async with self.op("write", key="k", value=self.unique(), idem="i", session="other") as op:
                op.served_by, op.region, op.epoch, op.version = "gw-1", "eu", 4, "v2"
                op.degraded, op.cached, op.result = "small", True, {"a": [1]}
                op.chunk(10)
                op.chunk(5)
                op.expect("got", "want")
            async with self.op("read"):
                raise Rejected("empty")

    op, read = (await bench.arrival(bench.user(Telling, group="sticky")), *bench.ops())[1:]
    assert (op.outcome, op.wrong, op.error, op.group, op.session) == ("ok", True, "wrong content", "sticky", "other")
    assert (op.served_by, op.region, op.epoch, op.version) == ("gw-1", "eu", 4, "v2")
    assert (op.degraded, op.cached, op.result, op.chunks, op.bytes) == ("small", True, '{"a":[1]}', 2, 15)
    assert (op.key, op.value, op.idem, op.later, op.intended_ns) == ("k", "seed-0-1", "i", False, 0)
    assert (read.outcome, read.error, read.later) == ("fail", "empty", True)
    assert read.intended_ns == read.sent_ns
    assert bench.acknowledged == ["other"]


async def test_hostile_and_mistyped_values_cost_no_row(bench: Any) -> None:
    class Sloppy(User):
        async def run(self) -> None:
            async with self.op("get") as op:
                op.served_by = 17  # type: ignore[assignment]
                op.region = "eu\x1b[31m\udcff" + "x" * 500
                op.epoch = "nine"  # type: ignore[assignment]
                op.status = 1 << 40

    op = await bench.arrival(bench.user(Sloppy))
    assert (op.served_by, op.epoch, op.status) == ("17", None, None)
    assert op.region is not None and op.region.startswith("eu?[31m?x") and len(op.region) == 200
