"""Messages between an engine and its workers: four bytes of length, then JSON. Nothing that is read can run code."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from harness.model.ports import LiveBatch, LiveOp

__all__ = ["Message", "Unpacker", "batch_from_json", "pack"]

Message = dict[str, Any]
"""A JSON object; `t` says which. Only `engine` and `worker` read it."""

_LENGTH = struct.Struct("!I")


def pack(message: Message) -> bytes:
    """The message as bytes, length first."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete now, in order."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield json.loads(body)


def batch_from_json(message: Message) -> LiveBatch:
    """The batch in a worker's "live" message; its ops are lists in the order of `record.LIVE_FIELDS`."""
    return LiveBatch(
        worker=message["worker"],
        at_ns=message["at"],
        ended=tuple(
            LiveOp(
                intended_ns=row[0],
                done_ns=row[1],
                first_ns=row[2],
                outcome=row[3],
                f=row[4],
                group=row[5],
                region=row[6],
                served_by=row[7],
                phase=row[8],
                wrong=row[9],
            )
            for row in message["ended"]
        ),
        open=tuple((f, intended_ns) for f, intended_ns in message["open"]),
        dropped=tuple(message["dropped"]),
        started_count=message["started"],
        late_p99_ns=message["late"],
    )
