"""Server-sent events: writing and reading, and the chunks of an OpenAI stream."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import StreamReader

__all__ = ["DONE", "Event", "Span", "error_event", "read_events", "write_event"]

DONE = b"data: [DONE]\n\n"
_END = re.compile(rb"\r\n\r\n|\n\n")  # the reference engine ends lines with the one, many servers with the other
_MAX_EVENT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The half-open range of tokens [start, end) that an event carries; told as its id, `start:end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as read: its exact bytes, its data, and its span of tokens when its id tells one."""

    raw: bytes
    data: bytes
    span: Span | None


def write_event(data: object, span: Span | None = None) -> bytes:
    """The bytes of one event with JSON data."""
    head = f"id: {span.start}:{span.end}\n" if span is not None else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def error_event(code: str, message: str) -> bytes:
    """The event that ends a stream which could not be finished; OpenAI clients raise on it."""
    return write_event({"error": {"message": message, "type": "server_error", "code": code}})


def _parse(raw: bytes) -> Event:
    data, span = b"", None
    for line in raw.split(b"\n"):
        if line.startswith(b"data:"):
            data = line[5:].strip()
        elif line.startswith(b"id:"):
            start, _, end = line[3:].strip().partition(b":")
            span = Span(start=int(start), end=int(end)) if start.isdigit() and end.isdigit() else None
    return Event(raw=raw + b"\n\n", data=data, span=span)


async def read_events(stream: StreamReader) -> AsyncIterator[Event]:
    """The events of a body until it ends; an unfinished last event is dropped (the caller waits for its terminator).

    Raises ValueError when one event is over 1 MiB.
    """
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = _END.split(rest + chunk)
        for raw in whole:
            if raw.strip():
                yield _parse(raw)
        if len(rest) > _MAX_EVENT_BYTES:
            raise ValueError(f"event of over {_MAX_EVENT_BYTES} bytes without an end")
