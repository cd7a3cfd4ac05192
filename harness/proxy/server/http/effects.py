"""What an HTTP toxic does to one exchange. Here: the effects, none of which knows of sockets, timers or other exchanges.

An effect is made for each request that its toxic hits. It either answers in the upstream's place, so that the request
never gets there, or sees the answer go by piece by piece and may change, hold, end or cut it.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import ClassVar, Protocol

from harness.proxy.server.http.framing import Part, Piece
from harness.proxy.server.toxics.base import Fields, Toxic

__all__ = ["EFFECTS", "Effect", "Way"]

_PRINTABLE = bytes(range(0x21, 0x7F))
_LAST_CHUNK = (Piece(Part.LAST, b"0\r\n"), Piece(Part.TRAILER, b"\r\n"))
_ERRORS = {429: "rate_limit_exceeded", 529: "overloaded_error"}


class Way(Protocol):
    """What an effect may ask of the way that the answer takes."""

    def hold(self, effect: Effect, for_s: float | None) -> None:
        """Let nothing more pass for so long, or until the toxic is removed; what was returned waits, too."""

    def cut(self) -> None:
        """Close the connection once what has passed has left."""


class Effect(Fields):
    """One toxic on one exchange. As it stands here: nothing, everything passes."""

    http: ClassVar[bool] = True

    def __init__(self, toxic: Toxic, chance: random.Random) -> None:
        self.toxic = toxic
        self.chance = chance
        self.touched = False
        self.over = False  # removed, or it has done what it does

    def touch(self) -> None:
        """Note that this request has felt the toxic."""
        if not self.touched:
            self.touched = True
            self.toxic.affected_count += 1

    def reply(self) -> tuple[int, dict[str, str], bytes] | None:
        """Status, fields and body to answer with instead of asking the upstream, if that is what it does."""
        return None

    def see(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        """What passes in place of `piece`, which belongs to the final answer."""
        return (piece,)


class HttpError(Effect):
    """`http_error`: answers with `status`, and after how many ms to try again unless that is 0; `as_date` 1: as a date."""

    fields: ClassVar[Mapping[str, int]] = {"status": 503, "retry_after": 0, "as_date": 0}

    def reply(self) -> tuple[int, dict[str, str], bytes] | None:
        status, wait_ms = self.toxic.attributes["status"], self.toxic.attributes["retry_after"]
        fields = {"Content-Type": "application/json"}
        if wait_ms > 0 and self.toxic.attributes["as_date"]:
            fields["Retry-After"] = formatdate(math.ceil(time.time() + wait_ms / 1e3), usegmt=True)
        elif wait_ms > 0:
            fields["Retry-After"] = str(-(-wait_ms // 1000))
            if wait_ms % 1000:
                fields["Retry-After-Ms"] = str(wait_ms)
        return status, fields, _error_body(status)


class EmptyReply(Effect):
    """`empty_reply`: 200 and not a byte of an answer."""

    def reply(self) -> tuple[int, dict[str, str], bytes] | None:
        return 200, {}, b""


class SlowFirstByte(Effect):
    """`slow_first_byte`: the answer begins `delay` ms late, and is itself from then on."""

    fields: ClassVar[Mapping[str, int]] = {"delay": 0}

    def see(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        if not self.over:
            self.over = True
            if self.toxic.attributes["delay"] > 0:
                self.touch()
                way.hold(self, self.toxic.attributes["delay"] / 1e3)
        return (piece,)


class _AfterChunks(Effect):
    """Lets the head and `after_chunks` chunks pass, then does something. Without chunks, each read counts as one."""

    fields: ClassVar[Mapping[str, int]] = {"after_chunks": 0}

    def __init__(self, toxic: Toxic, chance: random.Random) -> None:
        super().__init__(toxic, chance)
        self.passed_count = 0
        self.chunked = False
        self.swallowing = False

    def see(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        if self.swallowing:
            return (piece,) if piece.part is Part.END else ()
        if piece.head is not None:
            self.chunked = piece.head.chunked
            return (piece,)
        if self.over:
            return (piece,)
        begins = piece.part in (Part.SIZE, Part.LAST) if self.chunked else piece.part is Part.DATA
        if begins and self.passed_count >= self.toxic.attributes["after_chunks"]:
            self.over = True
            return self.strike(piece, way)
        self.passed_count += piece.part is (Part.CHUNK_END if self.chunked else Part.DATA)
        return (piece,)

    def strike(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        """What passes in place of the first piece past the last chunk that may pass."""
        raise NotImplementedError

    def end_with(self, *pieces: Piece) -> tuple[Piece, ...]:
        """End the answer with these; what the upstream still sends of it is dropped."""
        self.touch()
        self.swallowing = True
        return pieces


class StallStream(_AfterChunks):
    """`stall_stream`: then nothing, and no end. Once the toxic is removed the rest passes, unchanged."""

    def strike(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        self.touch()
        way.hold(self, None)
        return (piece,)


class CutStream(_AfterChunks):
    """`cut_stream`: then the connection is closed, in the middle of the answer."""

    def strike(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        way.cut()
        return self.end_with()


class TruncateStream(_AfterChunks):
    """`truncate_stream`: then the answer ends as if that were all; one of a stated length can only be cut."""

    def strike(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        if piece.part is Part.LAST:
            return (piece,)  # that was all
        if not self.chunked:
            way.cut()
            return self.end_with()
        return self.end_with(*_LAST_CHUNK)


class InBandError(_AfterChunks):
    """`in_band_error`: then an event that says so, and a proper end: status 200 was sent long ago. Only where chunked."""

    def strike(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        if not self.chunked:
            return (piece,)
        event = b"event: error\ndata: " + _error_body(503) + b"\n\n"
        size = Piece(Part.SIZE, b"%x\r\n" % len(event))
        return self.end_with(size, Piece(Part.DATA, event), Piece(Part.CHUNK_END, b"\r\n"), *_LAST_CHUNK)


class Garble(Effect):
    """`garble`: in each piece of the payload as many bytes as `bytes` says are others; lengths and framing stay right."""

    fields: ClassVar[Mapping[str, int]] = {"bytes": 1}

    def see(self, piece: Piece, way: Way) -> tuple[Piece, ...]:
        if piece.part is not Part.DATA or self.over:
            return (piece,)
        changed = bytearray(piece.data)
        for _ in range(max(0, min(self.toxic.attributes["bytes"], len(changed)))):
            place = self.chance.randrange(len(changed))
            changed[place] = self.chance.choice([byte for byte in _PRINTABLE if byte != piece.data[place]])
            self.touch()
        return (Piece(Part.DATA, bytes(changed)),)


def _error_body(status: int) -> bytes:
    """An error as OpenAI-compatible providers send it."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Overloaded" if status == 529 else "Error"
    kind = _ERRORS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": f"{phrase} (injected by a fault)", "type": kind, "code": kind}
    return json.dumps({"error": error}, separators=(",", ":")).encode()


EFFECTS: dict[str, type[Effect]] = {
    "cut_stream": CutStream,
    "empty_reply": EmptyReply,
    "garble": Garble,
    "http_error": HttpError,
    "in_band_error": InBandError,
    "slow_first_byte": SlowFirstByte,
    "stall_stream": StallStream,
    "truncate_stream": TruncateStream,
}
