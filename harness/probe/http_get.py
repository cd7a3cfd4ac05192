"""One HTTP GET over a connection of its own: no pool, no redirect, no silent second try, a bounded answer."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.probe.text import ANSWER_LIMIT

__all__ = ["HttpAnswer", "HttpError", "get"]

_HEAD_LIMIT = 32_768


class HttpError(Exception):
    """No usable answer: refused, cut, or not HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """Status and body. `cut`: the body was longer than is read."""

    status: int
    body: bytes
    cut: bool


async def get(url: str, timeout_s: float, body_limit: int = ANSWER_LIMIT) -> HttpAnswer:
    """The answer to a GET, at most `body_limit` bytes of it. Raises HttpError, saying why, when there is none in time."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HttpError(f"not an http URL: {url!r}")
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = (
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        "Connection: close\r\nAccept: */*\r\nUser-Agent: blackstart-probe\r\n\r\n"
    )
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure, limit=_HEAD_LIMIT)
            writer.write(head.encode("latin-1", "replace"))
            await writer.drain()
            return await _read(reader, body_limit)
    except TimeoutError as exc:
        raise HttpError(f"no answer in {timeout_s:g} s") from exc
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, EOFError) as exc:
        raise HttpError(f"broken answer: {exc}") from exc
    except OSError as exc:
        raise HttpError(exc.strerror or str(exc) or type(exc).__name__) from exc
    finally:
        if writer is not None:
            writer.transport.abort()  # the answer is read or given up: nothing is left to wait for


async def _read(reader: asyncio.StreamReader, limit: int) -> HttpAnswer:
    status = 100
    fields: dict[str, str] = {}
    while 100 <= status < 200:  # "100 Continue" and the like come before the answer
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = head[0].partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f"expected HTTP/1.x, got {head[0][:40]!r}")
        status = int(rest[:3])
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if status in (204, 304):
        return HttpAnswer(status=status, body=b"", cut=False)
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = await _chunks(reader, limit)
    elif "content-length" in fields:
        length = int(fields["content-length"])
        body = await reader.readexactly(min(length, limit + 1))
    else:
        body = b""
        while len(body) <= limit and (piece := await reader.read(limit)):
            body += piece
    return HttpAnswer(status=status, body=body[:limit], cut=len(body) > limit)


async def _chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = b""
    while len(body) <= limit:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            break
        body += await reader.readexactly(min(size, limit + 1))
        if size <= limit:
            await reader.readexactly(2)
    return body
