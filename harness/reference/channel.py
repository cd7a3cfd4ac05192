"""Calls over one WebSocket: gateway to journal, and journal to journal. Many calls may be under way at once.

A call ends in an answer, in `Refused` (the other side decided), in `Unreachable` (never sent: surely no effect) or in
`Lost` (sent, no answer: cannot be known).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from harness.reference.program import log

__all__ = ["CallError", "Channel", "Lost", "Refused", "Unreachable", "Wire", "serve_calls"]

Wire = dict[str, Any]  # a JSON object on the wire
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_CONNECT_S = 0.5


class CallError(Exception):
    """A call without an answer."""


class Unreachable(CallError):
    """The call was never sent."""


class Lost(CallError):
    """The call was sent and no answer came."""


class Refused(Exception):
    """The other side refused; `code` names why, `facts` go with it."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        self.facts: Wire = facts


class Channel:
    """One connection, made when needed and made again when it broke."""

    def __init__(self, tasks: asyncio.TaskGroup, session: aiohttp.ClientSession, url: str) -> None:
        self._tasks = tasks
        self._session = session
        self._url = url
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._connecting = asyncio.Lock()
        self._waiting: dict[int, tuple[aiohttp.ClientWebSocketResponse, asyncio.Future[Wire]]] = {}
        self._last_id = 0

    @property
    def connected(self) -> bool:
        """Whether the next call goes over the connection of the last."""
        return self._socket is not None and not self._socket.closed

    async def call(self, op: str, body: Wire, within_s: float) -> Wire:
        """The answer of the other side; raises Refused, Unreachable or Lost."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + _CONNECT_S)):
                socket = await self._connected()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise Unreachable(f"{op}: {self._url}: {exc or type(exc).__name__}") from exc
        self._last_id += 1
        number = self._last_id
        reply: asyncio.Future[Wire] = loop.create_future()
        self._waiting[number] = (socket, reply)
        try:
            async with asyncio.timeout_at(deadline):
                await socket.send_str(json.dumps({"id": number, "op": op, "body": body}, separators=(",", ":")))
                answer = await reply
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise Lost(f"{op}: {self._url}: {exc or type(exc).__name__}") from exc
        finally:
            del self._waiting[number]
        if "refused" in answer:
            raise Refused(str(answer["refused"]), **answer.get("facts", {}))
        result: Wire = answer["ok"]
        return result

    def hang_up(self) -> None:
        """Forget the connection: a path that swallowed one call is not trusted with the next."""
        socket, self._socket = self._socket, None
        if socket is not None:
            self._tasks.create_task(self._close(socket))

    async def _close(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await socket.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            log("close-failed", url=self._url, why=repr(exc))

    async def _connected(self) -> aiohttp.ClientWebSocketResponse:
        async with self._connecting:
            if self._socket is None or not self.connected:
                self._socket = await self._session.ws_connect(
                    self._url, max_msg_size=_MAX_MESSAGE_BYTES, timeout=aiohttp.ClientWSTimeout(ws_close=_CONNECT_S)
                )
                self._tasks.create_task(self._read(self._socket))
            return self._socket

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                answer = json.loads(message.data)
                _, reply = self._waiting.get(answer["id"], (None, None))
                if reply is not None and not reply.done():
                    reply.set_result(answer)
        for owner, reply in self._waiting.values():
            if owner is socket and not reply.done():
                reply.set_exception(ConnectionResetError("connection closed"))


Handler = Callable[[str, Wire], Awaitable[Wire]]


async def serve_calls(request: web.Request, tasks: asyncio.TaskGroup, handle: Handler) -> web.WebSocketResponse:
    """Answer calls on this connection until it closes."""
    socket = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE_BYTES, compress=False, timeout=_CONNECT_S)
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            tasks.create_task(_answer(socket, json.loads(message.data), handle))
    return socket


async def _answer(socket: web.WebSocketResponse, call: Wire, handle: Handler) -> None:
    answer: Wire = {"id": call["id"]}
    try:
        answer["ok"] = await handle(str(call["op"]), call["body"])
    except Refused as refusal:
        answer["refused"] = refusal.code
        answer["facts"] = refusal.facts
    except (KeyError, TypeError, ValueError) as exc:
        log("malformed-call", op=call["op"], why=repr(exc))
        answer["refused"] = "malformed"
        answer["facts"] = {"why": repr(exc)}
    try:
        await socket.send_str(json.dumps(answer, separators=(",", ":")))
    except (ConnectionError, aiohttp.ClientError) as exc:
        log("answer-unsent", op=call["op"], why=repr(exc))
