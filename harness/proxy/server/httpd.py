"""HTTP/1.1 framing for the control API. Here: requests off a connection, one at a time, and responses onto it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from http import HTTPStatus

from harness.proxy.server.routes import Request, Response, Routes

__all__ = ["ControlProtocol"]

_HEAD_LIMIT_BYTES = 64 * 1024
_BODY_LIMIT_BYTES = 8 * 1024 * 1024
_IDLE_S = 60.0
_ids = itertools.count(1)


class _BadRequest(Exception):
    """What arrived is not HTTP that we read; the text is the status line's end."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(HTTPStatus(status).phrase)


def _head(raw: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, target, version and headers of a request head without its blank line."""
    lines = raw.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise _BadRequest(400)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise _BadRequest(400)
        headers[name.lower()] = value.strip()
    return words[0], words[1].partition("?")[0], words[2], headers


def _dechunk(data: bytearray, start: int) -> tuple[bytes, int] | None:
    """The body of a chunked request that begins at `start`, and where it ends; None while some of it is missing."""
    body = bytearray()
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        try:
            size = int(bytes(data[start:line_end]).partition(b";")[0], 16)
        except ValueError as exc:
            raise _BadRequest(400) from exc
        if size < 0 or len(body) + size > _BODY_LIMIT_BYTES:
            raise _BadRequest(413)
        start = line_end + 2
        if size == 0:
            # No trailers: nobody sends any here, and the blank line then follows at once.
            return (bytes(body), start + 2) if len(data) >= start + 2 else None
        if len(data) < start + size + 2:
            return None
        body += data[start : start + size]
        start += size + 2


class ControlProtocol(asyncio.Protocol):
    """One client of the control API. Requests are answered in order; an idle connection is closed after a minute."""

    def __init__(self, routes: Routes, spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]]) -> None:
        self._routes = routes
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._busy = False
        self._continued = False
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._idle is not None:
            self._idle.cancel()

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(_IDLE_S, self._close)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._wait()
        self._next()

    def _next(self) -> None:
        if self._busy or self._transport is None:
            return
        try:
            found = self._take()
        except _BadRequest as exc:
            self._send(Response(status=exc.status), keep=False)
            return
        if found is not None:
            self._busy = True
            self._spawn(self._answer(*found))

    def _take(self) -> tuple[Request, bool] | None:
        """The next whole request and whether the connection outlives it; None while more must arrive."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > _HEAD_LIMIT_BYTES:
                raise _BadRequest(431)
            return None
        method, path, version, headers = _head(bytes(self._data[:end]))
        start = end + 4
        if "chunked" in headers.get("transfer-encoding", "").lower():
            self._continue(headers)
            whole = _dechunk(self._data, start)
            if whole is None:
                return None
            body, stop = whole
        else:
            length = headers.get("content-length", "0")
            if not (length.isascii() and length.isdigit()):
                raise _BadRequest(400)
            if int(length) > _BODY_LIMIT_BYTES:
                raise _BadRequest(413)
            stop = start + int(length)
            if len(self._data) < stop:
                self._continue(headers)
                return None
            body = bytes(self._data[start:stop])
        del self._data[:stop]
        self._continued = False
        wish = headers.get("connection", "").lower()
        keep = "close" not in wish and (version != "HTTP/1.0" or "keep-alive" in wish)
        return Request(method=method, path=path, headers=headers, body=body), keep

    def _continue(self, headers: dict[str, str]) -> None:
        if headers.get("expect", "").lower() == "100-continue" and not self._continued and self._transport is not None:
            self._continued = True
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _answer(self, request: Request, keep: bool) -> None:
        response = await self._routes.answer(request)
        self._busy = False
        self._send(response, keep)
        if keep:
            self._next()

    def _send(self, response: Response, keep: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"X-Toxiproxy-Request-Id: {next(_ids):020x}",
        ]
        if response.content_type is not None:
            lines.append(f"Content-Type: {response.content_type}")
        if response.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(response.body)}")
        lines += [f"{name}: {value}" for name, value in response.extra.items()]
        if not keep:
            lines.append("Connection: close")
        self._transport.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + response.body)
        if not keep:
            self._transport.close()
