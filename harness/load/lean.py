"""A lean HTTP/1.1 client on asyncio protocols and httptools: fixed requests at high rates, no more than that.

What it has: keep-alive, bodies of known length, chunked or to the end, streams, finite timeouts, the current op told of the
wire. What it leaves to aiohttp: TLS, cookies, redirects, compression, proxies. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from harness.load.op import CURRENT_OP
from harness.load.outcomes import Disconnected, NotHttp, PayloadBroken, StatusError

__all__ = ["LeanClient", "LeanReply", "close_idle"]

_MARGIN_S = 0.25  # as with aiohttp: the op's own timeout comes first
_PREPARED_MOST = 512
_HIGH_WATER = 1 << 20  # bytes of a stream that nobody has read yet: the socket waits then


class Headers:
    """Response headers; names in any case, the first of several counts."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def get(self, name: str, default: str | None = None) -> str | None:
        """The header's value; `default` when it is not there."""
        wanted = name.lower().encode("latin-1")
        return next((value.decode("latin-1") for key, value in self._raw if key.lower() == wanted), default)


class _Connection(asyncio.Protocol):
    """One connection and the answer that it is reading. A connection that has broken is never used again."""

    def __init__(self, idle: deque[_Connection]) -> None:
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self.broken: BaseException | None = None
        self._reset(head_only=False)

    def _reset(self, *, head_only: bool) -> None:
        self.status = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.headed = self.done = self._alive = False
        self._framed = False  # a length or chunks say where the body ends
        self._head_only, self._held = head_only, 0

    # ---- the wire ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of a class of its own

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._break(PayloadBroken(str(exc)) if self.headed else NotHttp(str(exc)))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.headed and not self.done and not self._framed and exc is None:
            self.done = True  # a body without a length ends with the connection
        missing = PayloadBroken("the body stopped short") if self.headed else Disconnected("closed before an answer")
        self._break(missing if exc is None or self.headed else exc)
        self._wake()

    def _break(self, exc: BaseException) -> None:
        self.broken = self.broken or exc
        if self in self._idle:
            self._idle.remove(self)
        if self._transport is not None:
            self._transport.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- httptools --------------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.raw_headers.append((name, value))
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer: the real one follows
            self.raw_headers.clear()
            return
        self.headed = True
        if self._head_only or self.status in (204, 304):
            self._framed = self.done = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        self._held += len(body)
        if self._held > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.headed:
            self.done = True
            self._alive = self._parser.should_keep_alive()  # the parser knows it only now

    # ---- one exchange -----------------------------------------------------------------------------------------------

    def send(self, request: bytes, *, head_only: bool) -> None:
        """Send a request; what comes back is read into this object."""
        assert self._transport is not None
        self._reset(head_only=head_only)
        self._transport.write(request)

    async def more(self) -> None:
        """Wait until something has come. Raises what broke the connection, unless the answer had ended."""
        if self.broken is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.broken is not None and not self.done:
            raise self.broken

    def take(self) -> bytes:
        """The body so far, since the last call."""
        pieces, self.pieces, self._held = self.pieces, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """Keep the connection for the next request when it can be; close it else."""
        if self.done and self._framed and self.broken is None and self._keeps():
            if self._head_only:
                self._parser = httptools.HttpResponseParser(self)  # it would wait for a body
            self._idle.append(self)
        else:
            self.broken = self.broken or Disconnected("released before the end")
            if self._transport is not None and self.done:
                self._transport.close()
            elif self._transport is not None:
                self._transport.abort()

    def _keeps(self) -> bool:
        if self._head_only:
            return (Headers(self.raw_headers).get("connection") or "").lower() != "close"
        return self._alive


class LeanReply:
    """`async with client.request(...) as reply`: the head is there inside, the body is read as it is asked for."""

    __slots__ = ("_client", "_connection", "_head_only", "_request", "_timer")

    def __init__(self, client: LeanClient, request: bytes, head_only: bool) -> None:
        self._client, self._request, self._head_only = client, request, head_only
        self._connection: _Connection | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> LeanReply:
        client, op = self._client, CURRENT_OP.get()
        if op is not None:
            op.requested()
        connection = client.idle.pop() if client.idle else await client.connect()
        self._connection = connection
        self._timer = client.loop.call_later(client.timeout_s, _time_out, connection)
        try:
            if op is not None:
                op.sending()
            connection.send(self._request, head_only=self._head_only)
            while not connection.headed:
                await connection.more()
        except BaseException:
            self._end()
            raise
        if op is not None:
            op.answered(connection.status)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._connection is not None
        if self._timer is not None:
            self._timer.cancel()
        self._connection.release()

    @property
    def status(self) -> int:
        """The answer's status."""
        return self._wire.status

    @property
    def headers(self) -> Headers:
        """The answer's headers."""
        return Headers(self._wire.raw_headers)

    @property
    def content(self) -> LeanReply:
        """Where `iter_any` is, as with aiohttp."""
        return self

    async def read(self) -> bytes:
        """The whole body. Raises PayloadBroken when it stops short."""
        while not self._wire.done:
            await self._wire.more()
        return self._wire.take()

    async def json(self, *, content_type: str | None = None) -> Any:
        """The body as JSON, whatever its type says. Raises ValueError for anything else."""
        return json.loads(await self.read())

    async def iter_any(self) -> AsyncIterator[bytes]:
        """The body as it comes, piece by piece. Raises PayloadBroken when it stops short."""
        wire = self._wire
        while True:
            if wire.pieces:
                yield wire.take()
            elif wire.done:
                return
            else:
                await wire.more()

    def raise_for_status(self) -> None:
        """Raise StatusError for 400 and above."""
        if self.status >= 400:
            raise StatusError(self.status)

    @property
    def _wire(self) -> _Connection:
        assert self._connection is not None
        return self._connection


def _time_out(connection: _Connection) -> None:
    """End an exchange that took too long, even where no op guards it."""
    connection._break(TimeoutError("no answer in time"))
    connection._wake()


class LeanClient:
    """Requests to one entry. Connections are shared by all clients of a worker to that entry (kept in `shared`)."""

    def __init__(self, entry: str, timeout_s: float, shared: dict[str, Any]) -> None:
        """Raises ValueError for an entry that is not plain `http://host[:port][/prefix]`."""
        parts = urlsplit(entry)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"the lean client speaks plain HTTP only, got {entry!r}")
        self.loop = asyncio.get_running_loop()
        self.timeout_s = timeout_s + _MARGIN_S
        self._address = (parts.hostname, parts.port or 80)
        self._host, self._prefix = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
        pools: dict[tuple[str, int], deque[_Connection]] = shared.setdefault("lean", {})
        self.idle = pools.setdefault(self._address, deque())
        self._prepared: dict[tuple[Any, ...], bytes] = {}

    def request(
        self,
        method: str,
        path: str,
        *,
        data: str | bytes | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> LeanReply:
        """One exchange; `path` is relative to the entry. The bytes of a request are made once and kept."""
        if json is not None:
            return LeanReply(self, self._bytes(method, path, _json(json), _typed(headers)), method == "HEAD")
        key = (method, path, data, None if headers is None else tuple(headers.items()))
        request = self._prepared.get(key)
        if request is None:
            request = self._bytes(method, path, data, headers or {})
            if len(self._prepared) < _PREPARED_MOST:
                self._prepared[key] = request
        return LeanReply(self, request, method == "HEAD")

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> LeanReply:
        """A GET."""
        return self.request("GET", path, headers=headers)

    def post(self, path: str, *, json: Any = None, headers: Mapping[str, str] | None = None) -> LeanReply:
        """A POST of JSON."""
        return self.request("POST", path, json=json, headers=headers)

    async def connect(self) -> _Connection:
        """A new connection; the name is resolved each time, because a failover may be by DNS."""
        async with asyncio.timeout(self.timeout_s):
            _, connection = await self.loop.create_connection(lambda: _Connection(self.idle), *self._address)
        return connection

    async def close(self) -> None:
        """Nothing is this client's own."""

    def _bytes(self, method: str, path: str, data: str | bytes | None, headers: Mapping[str, str]) -> bytes:
        body = data.encode() if isinstance(data, str) else data
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._host}", "Accept: */*"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body or b'')}")
        if any("\r" in line or "\n" in line for line in lines) or " " in path:
            raise ValueError(f"a path or header with a line end or a space: {path!r}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "strict") + (body or b"")


def close_idle(shared: dict[str, Any]) -> None:
    """Close the connections that no exchange holds."""
    for idle in shared.pop("lean", {}).values():
        for connection in list(idle):
            connection._break(Disconnected("closed by us"))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _typed(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {"Content-Type": "application/json", **(headers or {})}
