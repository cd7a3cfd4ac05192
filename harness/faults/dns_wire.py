"""DNS messages as far as a lookup of one name's address needs them (RFC 1035, 3596): questions and answers as bytes. Pure."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

__all__ = [
    "AAAA",
    "NXDOMAIN",
    "OK",
    "TXT",
    "A",
    "Answer",
    "Question",
    "ask",
    "parse_answer",
    "parse_question",
    "respond",
]

A, TXT, AAAA = 1, 16, 28
OK, NXDOMAIN = 0, 3
_IN = 1
_RESPONSE, _AUTHORITY, _WANTS_RECURSION = 0x8000, 0x0400, 0x0100
_HEADER = struct.Struct("!6H")
_FIXED = struct.Struct("!2HIH")
_LABEL_MOST, _NAME_MOST = 63, 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a message asks. `name` is in lower case, without the final dot; `raw` are its bytes in the message."""

    id: int
    name: str
    type: int
    recursion: bool
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: the response code and the data of the answers, addresses and texts as strings."""

    id: int
    code: int
    data: tuple[str, ...]


def ask(number: int, name: str, type_: int) -> bytes:
    """The message that asks for one name. Raises ValueError for a name that cannot be one."""
    labels = [label.encode("idna") for label in name.rstrip(".").split(".")]
    if len(name) > _NAME_MOST or any(not 0 < len(label) <= _LABEL_MOST for label in labels):
        raise ValueError(f"not a name: {name!r}")
    asked = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return _HEADER.pack(number, _WANTS_RECURSION, 1, 0, 0, 0) + asked + struct.pack("!2H", type_, _IN)


def parse_question(message: bytes) -> Question | None:
    """The one question of a message; None for anything else, which deserves no answer."""
    try:
        number, flags, count, *_ = _HEADER.unpack_from(message)
        if flags & _RESPONSE or count != 1:
            return None
        labels, at = _labels(message, _HEADER.size)
        type_, _ = struct.unpack_from("!2H", message, at)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    raw = message[_HEADER.size : at + 4]
    name = ".".join(labels).lower()
    return Question(id=number, name=name, type=type_, recursion=bool(flags & _WANTS_RECURSION), raw=raw)


def respond(question: Question, code: int, data: tuple[str, ...] = ()) -> bytes:
    """The message that answers: addresses of the type asked for (others are left out), or texts; never to be kept (TTL 0)."""
    records = [record for one in data if (record := _record(question.type, one)) is not None]
    flags = _RESPONSE | _AUTHORITY | (_WANTS_RECURSION if question.recursion else 0) | code
    head = _HEADER.pack(question.id, flags, 1, len(records), 0, 0)
    named = struct.pack("!H", 0xC000 | _HEADER.size)  # the name, where it stands in the question
    bodies = (named + _FIXED.pack(question.type, _IN, 0, len(record)) + record for record in records)
    return head + question.raw + b"".join(bodies)


def _record(type_: int, data: str) -> bytes | None:
    if type_ == TXT:
        text = data.encode()[:255]
        return bytes([len(text)]) + text
    address = ipaddress.ip_address(data)
    return address.packed if type_ == (A if address.version == 4 else AAAA) else None


def parse_answer(message: bytes) -> Answer:
    """What a message answers. Raises ValueError for one that is no answer."""
    try:
        number, flags, questions, count, *_ = _HEADER.unpack_from(message)
        at = _HEADER.size
        for _ in range(questions):
            at = _labels(message, at)[1] + 4
        data = []
        for _ in range(count):
            at = _labels(message, at)[1]
            type_, _, _, length = _FIXED.unpack_from(message, at)
            at += _FIXED.size
            data.append(_text(type_, message[at : at + length]))
            at += length
    except (struct.error, IndexError, UnicodeDecodeError) as exc:
        raise ValueError("not a DNS message") from exc
    if not flags & _RESPONSE:
        raise ValueError("a question, not an answer")
    return Answer(id=number, code=flags & 0xF, data=tuple(one for one in data if one is not None))


def _text(type_: int, data: bytes) -> str | None:
    if type_ in (A, AAAA):
        return str(ipaddress.ip_address(data))
    return data[1 : 1 + data[0]].decode() if type_ == TXT else None


def _labels(message: bytes, at: int) -> tuple[list[str], int]:
    """The labels of a name, and where it ends. A pointer ends it: names that are pointed to are not read."""
    labels: list[str] = []
    while True:
        length = message[at]
        if length >= 0xC0:
            return labels, at + 2
        at += 1
        if length == 0:
            return labels, at
        label = message[at : at + length]
        if len(label) < length:
            raise IndexError("cut off")
        labels.append(label.decode("ascii"))
        at += length
