"""Where the messages of an HTTP/1 byte stream begin and end. Here: framing alone. Not here: what is done with a message.

A `Framer` is pushed bytes as they come and gives them back piece by piece; put together, the pieces are what was pushed,
byte for byte. What is not HTTP/1 is given back raw from there on: a fault proxy must never break what it does not know.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Framer", "Head", "Part", "Piece"]

_HEAD_LIMIT_BYTES = 64 * 1024
_LINE_LIMIT_BYTES = 4 * 1024
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.([01])\Z")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: .*)?\Z")
# How a first line that is not complete yet may begin; any other start will not become HTTP by waiting for more.
_REQUEST_START = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: [^\r\n]*\r?)?\Z")
_STATUS_START = re.compile(rb"HTTP/1\.[01] [^\r\n]*\r?\Z")
_STATUS_WORD = b"HTTP/1.1 "
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\Z")
_NO_BODY = frozenset({204, 304})


class Part(enum.Enum):
    """What a piece is."""

    HEAD = "head"  # start line and fields, to the empty line
    SIZE = "size"  # the line before a chunk
    DATA = "data"  # payload: what of it has come so far
    CHUNK_END = "chunk-end"  # the line end after a chunk: it is complete
    LAST = "last"  # the line of the chunk of size 0
    TRAILER = "trailer"  # a line after that, the empty one included
    END = "end"  # the message is over; no bytes
    RAW = "raw"  # not HTTP, or no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a head says. `method` is empty in an answer, `status` 0 in a request. `keeps` is whether the connection stays."""

    method: str = ""
    status: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)
    keeps: bool = True
    chunked: bool = False
    length: int | None = None

    @property
    def interim(self) -> bool:
        """Whether another answer to the same request follows."""
        return 100 <= self.status < 200 and self.status != 101


class Piece(NamedTuple):
    """Some bytes of a message; `head` comes with Part.HEAD only."""

    part: Part
    data: bytes
    head: Head | None = None


class _NotHttpError(Exception):
    """These bytes are no message."""


def _may_begin(line: bytes, request: bool) -> bool:
    """Whether a first line, its end not seen yet, may still become one of HTTP."""
    if request:
        return _REQUEST_START.match(line) is not None
    return _STATUS_WORD.startswith(line[:9].replace(b"1.0", b"1.1")) or _STATUS_START.match(line) is not None


def _parse_fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise _NotHttpError
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        if key == "content-length" and fields.get(key, text) != text:
            raise _NotHttpError
        fields[key] = f"{fields[key]}, {text}" if key in fields and key != "content-length" else text
    return fields


def _parse_head(data: bytes, request: bool) -> Head:
    first, *rest = [line.rstrip(b"\r") for line in data.rstrip(b"\r\n").split(b"\n")]
    found = (_REQUEST_LINE if request else _STATUS_LINE).match(first)
    if found is None:
        raise _NotHttpError
    fields = _parse_fields(rest)
    codings = [coding.strip() for coding in fields.get("transfer-encoding", "").lower().split(",") if coding.strip()]
    length = fields.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit()):
        raise _NotHttpError
    wishes = {wish.strip() for wish in fields.get("connection", "").lower().split(",")}
    minor = found[3] if request else found[1]
    return Head(
        method=found[1].decode() if request else "",
        status=0 if request else int(found[2]),
        fields=fields,
        keeps="close" not in wishes and (minor == b"1" or "keep-alive" in wishes),
        chunked=bool(codings) and codings[-1] == "chunked",
        length=None if codings or length is None else int(length),
    )


class Framer:
    """One direction of a connection. `asked` gives, for answers, the method of the request that the next one is to.

    Pushed bytes wait until they are pulled, and a head until it is complete; all else can be pulled as soon as it came.
    """

    __slots__ = ("_asked", "_buffer", "_left", "_next", "request")

    def __init__(self, asked: Callable[[], str] | None = None) -> None:
        self.request = asked is None
        self._asked = asked
        self._buffer = b""
        self._left = 0  # bytes to come of the body or chunk
        self._next: Callable[[], Piece | None] = self._head

    @property
    def raw(self) -> bool:
        """Whether everything passes as it is from here on."""
        return self._next == self._raw

    @property
    def held_bytes(self) -> int:
        """Bytes that were pushed and not yet pulled."""
        return len(self._buffer)

    def push(self, data: bytes) -> None:
        """Take the next bytes."""
        self._buffer = self._buffer + data if self._buffer else data

    def pull(self) -> Piece | None:
        """The next piece, or None until more is pushed."""
        try:
            return self._next()
        except _NotHttpError:
            self.go_raw()
            return self._next()

    def go_raw(self) -> None:
        """Give everything back as it is from here on."""
        self._next = self._raw

    def finish(self) -> Piece | None:
        """After the end of the stream: the end of a body that lasts until then, or what is left of one cut short."""
        if self._next == self._until_close:
            self._next = self._head
            return Piece(Part.END, b"")
        self.go_raw()
        return self._raw()

    # --- states

    def _raw(self) -> Piece | None:
        return Piece(Part.RAW, self._take(len(self._buffer))) if self._buffer else None

    def _head(self) -> Piece | None:
        if not self._buffer:
            return None
        if self._buffer[:1] in (b"\r", b"\n") and self.request:  # an empty line too many after a body: allowed
            return Piece(Part.RAW, self._take(1))
        found = _HEAD_END.search(self._buffer)
        if found is None or found.end() > _HEAD_LIMIT_BYTES:
            line, newline, _ = self._buffer.partition(b"\n")
            whole = (
                bool(newline)
                and (_REQUEST_LINE if self.request else _STATUS_LINE).match(line.rstrip(b"\r")) is not None
            )
            if len(self._buffer) > _HEAD_LIMIT_BYTES or not (whole if newline else _may_begin(line, self.request)):
                raise _NotHttpError
            return None
        head = _parse_head(self._buffer[: found.end()], self.request)
        self._choose(head)
        return Piece(Part.HEAD, self._take(found.end()), head)

    def _choose(self, head: Head) -> None:
        """What follows this head."""
        if self._asked is not None:
            method = self._asked()
            if head.status == 101 or (method == "CONNECT" and 200 <= head.status < 300):
                self.go_raw()
                return
            if head.interim or method == "HEAD" or head.status in _NO_BODY:
                self._next = self._end
                return
        if head.chunked:
            self._next = self._size
        elif head.length is not None:
            self._left = head.length
            self._next = self._body if head.length else self._end
        elif self.request:
            self._next = self._end
        else:
            self._next = self._until_close

    def _end(self) -> Piece | None:
        self._next = self._head
        return Piece(Part.END, b"")

    def _body(self) -> Piece | None:
        data = self._take(self._left)
        self._left -= len(data)
        if not self._left:
            self._next = self._end
        return Piece(Part.DATA, data) if data else None

    def _until_close(self) -> Piece | None:
        return Piece(Part.DATA, self._take(len(self._buffer))) if self._buffer else None

    def _size(self) -> Piece | None:
        line = self._line()
        if line is None:
            return None
        found = _SIZE.match(line.rstrip(b"\r\n"))
        if found is None:
            raise self._untake(line)
        self._left = int(found[1], 16)
        self._next = self._chunk if self._left else self._trailer
        return Piece(Part.SIZE if self._left else Part.LAST, line)

    def _chunk(self) -> Piece | None:
        data = self._take(self._left)
        self._left -= len(data)
        if not self._left:
            self._next = self._chunk_end
        return Piece(Part.DATA, data) if data else None

    def _chunk_end(self) -> Piece | None:
        line = self._line()
        if line is None:
            return None
        if line not in (b"\r\n", b"\n"):
            raise self._untake(line)
        self._next = self._size
        return Piece(Part.CHUNK_END, line)

    def _trailer(self) -> Piece | None:
        line = self._line()
        if line in (b"\r\n", b"\n"):
            self._next = self._end
        return None if line is None else Piece(Part.TRAILER, line)

    # --- bytes

    def _take(self, count: int) -> bytes:
        taken = self._buffer[:count]  # no copy when it is all of them
        self._buffer = self._buffer[count:]
        return taken

    def _untake(self, line: bytes) -> _NotHttpError:
        self._buffer = line + self._buffer
        return _NotHttpError()

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, _LINE_LIMIT_BYTES)
        if end < 0:
            if len(self._buffer) >= _LINE_LIMIT_BYTES:
                raise _NotHttpError
            return None
        return self._take(end + 1)
