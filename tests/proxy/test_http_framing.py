"""HTTP framing and exchanges without sockets: genuine bytes stay as they are, however they are cut up."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.server.http.exchange import joined
from harness.proxy.server.http.framing import Framer, Part
from harness.proxy.server.toxics.base import End

TOKENS = st.text(st.sampled_from("abcXYZ019-_"), min_size=1, max_size=8)
PAYLOADS = st.one_of(st.binary(max_size=300), st.sampled_from([b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\n\n"]))
FIELDS = st.lists(st.tuples(TOKENS.map(lambda name: "x-" + name), TOKENS), max_size=3)


def chunked(parts: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    lines = [b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part]
    return b"".join(lines) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Framing fields and the body they frame."""
    if draw(st.booleans()):
        body = draw(PAYLOADS)
        return b"Content-Length: %d\r\n" % len(body), body
    parts = draw(st.lists(PAYLOADS, max_size=4))
    extension, trailer = draw(st.sampled_from([b"", b";a=b"])), draw(st.sampled_from([b"", b"x-sum: 1\r\n"]))
    return b"transfer-Encoding: chunked\r\n", chunked(parts, extension, trailer)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, bytes, list[str]]:
    """What a client sends and hears on one connection, and the methods it used."""
    up = down = b""
    methods = []
    for _ in range(draw(st.integers(1, 4))):
        method = draw(st.sampled_from(["GET", "POST", "HEAD", "PUT"]))
        methods.append(method)
        fields = "".join(f"{name}: {value}\r\n" for name, value in draw(FIELDS)).encode()
        framing, body = draw(bodies()) if method in ("POST", "PUT") else (b"", b"")
        up += f"{method} /a?b HTTP/1.1\r\n".encode() + fields + framing + b"\r\n" + body
        if draw(st.booleans()):
            down += b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        status = draw(st.sampled_from([200, 404, 204, 304, 500]))
        framing, body = draw(bodies())
        if method == "HEAD" or status in (204, 304):
            body = b""
        down += f"HTTP/1.1 {status} Whatever\r\n".encode() + framing + b"\r\n" + body
    return up, down, methods


def cut(data: bytes, seed: int) -> list[bytes]:
    """`data` in pieces of random sizes, many of them small."""
    source = random.Random(seed)
    pieces = []
    while data:
        size = source.choice([1, 1, 2, 3, 10, 100, 10_000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


class Sink:
    """The end of a way: what came, and how it ended."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: End | None = None

    def feed(self, data: bytes) -> None:
        assert data
        self.data += data

    def feed_end(self, end: End) -> None:
        self.ended = end


class NoLine:
    """A line that cannot be held up."""

    loop: asyncio.AbstractEventLoop

    def block(self, who: object) -> None:
        raise AssertionError("nothing may wait")

    def unblock(self, who: object) -> None: ...


def pipes():
    """Both sides without toxics, and where their bytes arrive."""
    requests, answers = joined(NoLine(), lambda: (), lambda toxic: random.Random(1))
    up, down = Sink(), Sink()
    requests.next, answers.next = up, down
    return requests, answers, up, down


@pytest.mark.slow
@given(conversations(), st.integers(0, 2**32))
def test_genuine_bytes_pass_as_they_are_however_they_are_cut(conversation, seed):
    sent, heard, _ = conversation
    requests, answers, up, down = pipes()
    steps = [(requests, piece) for piece in cut(sent, seed)] + [(answers, piece) for piece in cut(heard, seed + 1)]
    for side, piece in steps:
        side.feed(piece)
    assert (up.data, down.data) == (sent, heard)
    assert (requests.held_bytes, answers.held_bytes, answers.outstanding_count) == (0, 0, 0), "all was understood"
    requests.feed_end(End.EOF)
    answers.feed_end(End.EOF)
    assert (up.data, down.data, up.ended, down.ended) == (sent, heard, End.EOF, End.EOF)


@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(0, 2**32))
def test_what_is_not_http_passes_as_it_is(sent, heard, seed):
    requests, answers, up, down = pipes()
    for piece in cut(sent, seed):
        requests.feed(piece)
    for piece in cut(heard, seed):
        answers.feed(piece)
    requests.feed_end(End.EOF)
    answers.feed_end(End.EOF)
    assert (up.data, down.data) == (sent, heard)


@pytest.mark.slow
@given(conversations(), st.integers(0, 2**32), st.data())
def test_a_conversation_cut_short_passes_as_far_as_it_came(conversation, seed, data):
    sent, heard, _ = conversation
    heard = heard[: data.draw(st.integers(0, len(heard)))]
    requests, answers, up, down = pipes()
    for piece in cut(sent, seed):
        requests.feed(piece)
    for piece in cut(heard, seed):
        answers.feed(piece)
    answers.feed_end(End.EOF)
    assert (up.data, down.data, down.ended) == (sent, heard, End.EOF)


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x02", b"SSH-2.0-x\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"{"])
def test_another_protocol_is_not_held_up(first):
    requests, answers, up, down = pipes()
    requests.feed(first)
    answers.feed(first)
    assert (up.data, down.data) == (first, first)


def test_a_stream_is_not_held_back_within_a_chunk():
    requests, answers, _, down = pipes()
    requests.feed(b"GET / HTTP/1.1\r\n\r\n")
    answers.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    answers.feed(b"ff\r\nfirst bytes of many")
    assert down.data.endswith(b"first bytes of many")


def test_an_upgraded_connection_is_left_alone():
    requests, answers, up, down = pipes()
    requests.feed(b"GET /ws HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    answers.feed(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n\x81\x02hi")
    requests.feed(b"\x82\x7e")
    assert up.data.endswith(b"\x82\x7e")
    assert down.data.endswith(b"\x81\x02hi")


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ["HEAD", "SIZE", "DATA", "CHUNK_END", "LAST", "TRAILER", "END"],
        ),
        (b"HTTP/1.0 200 OK\n\nto the end", ["HEAD", "DATA"]),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc", ["RAW"]),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabc", ["RAW"]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", ["HEAD", "RAW"]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n", ["HEAD", "SIZE", "DATA", "RAW"]),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", ["RAW"]),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, ["RAW"]),
    ],
)
def test_pieces(data, parts):
    framer = Framer(lambda: "GET")
    framer.push(data)
    pieces = []
    while (piece := framer.pull()) is not None:
        pieces.append(piece)
    assert [piece.part for piece in pieces] == [Part[name] for name in parts]
    assert b"".join(piece.data for piece in pieces) == data


def test_a_body_that_lasts_until_the_end_ends_with_it():
    framer = Framer(lambda: "GET")
    framer.push(b"HTTP/1.0 200 OK\r\n\r\nabc")
    assert [framer.pull().part, framer.pull().part, framer.pull()] == [Part.HEAD, Part.DATA, None]
    assert framer.finish().part is Part.END
