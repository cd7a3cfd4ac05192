"""The oracle: what the simulated model says, as a pure function, so that any answer can be checked byte for byte.

Token i depends on nothing but the pinned revisions, the rendered prompt, the seed and i. A stream resumed at token k
is therefore right exactly when it equals the oracle from k.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = [
    "PINS",
    "SMALL",
    "WORDS",
    "Basis",
    "Pins",
    "answer",
    "length",
    "prompt_sha",
    "said",
    "split",
    "text_sha",
    "token",
]

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "ch")
_RIMES = ("a", "al", "an", "ar", "e", "el", "en", "er", "i", "il", "in", "o", "on", "or", "u", "un")
WORDS: tuple[str, ...] = tuple(onset + rime for onset in _ONSETS for rime in _RIMES)
_PER_BLOCK = 16
_OPEN, _CLOSE = '{"say":"', '"}'
_TOKEN = re.compile(r" [^ ]*|[^ ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The revisions that an answer is pinned to."""

    model: str
    tokenizer: str
    template: str


PINS = Pins(model="oracle-1.r1", tokenizer="tok.r1", template="tmpl.r1")
SMALL = Pins(model="oracle-1-small.r1", tokenizer="tok.r1", template="tmpl.r1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """All that an answer depends on."""

    pins: Pins
    prompt: str  # sha-256 of the rendered prompt, hex
    seed: int = 0
    guided: bool = False  # the answer is a JSON object, which holds what would have been said


def prompt_sha(messages: Sequence[Mapping[str, object]], template: str) -> str:
    """SHA-256 (hex) of the messages as the template renders them."""
    lines = [template]
    for message in messages:
        content = message.get("content")
        lines.append(f"{message.get('role')}: {content if isinstance(content, str) else json.dumps(content)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _block(basis: Basis, number: int) -> bytes:
    pins = basis.pins
    key = "\x1f".join((pins.model, pins.tokenizer, pins.template, basis.prompt, str(basis.seed), str(number)))
    return hashlib.sha256(key.encode()).digest()


def token(basis: Basis, index: int) -> str:
    """Token `index` (from 0) of the answer; every token but the first begins with a space."""
    block = _block(basis, index // _PER_BLOCK)
    at = 2 * (index % _PER_BLOCK)
    word = WORDS[int.from_bytes(block[at : at + 2]) % len(WORDS)]
    return word if index == 0 else " " + word


def length(basis: Basis, shortest: int, longest: int) -> int:
    """How many tokens the model wants to say, in [shortest, longest]."""
    return shortest + int.from_bytes(_block(basis, -1)[:4]) % (longest - shortest + 1)


def answer(basis: Basis, count: int) -> str:
    """The whole answer of `count` tokens as text; the empty string for 0."""
    return said(basis, 0, count, count)


def said(basis: Basis, start: int, end: int, count: int) -> str:
    """Tokens [start, end) of an answer of `count`: a guided one opens with the first and closes with the last."""
    text = "".join(token(basis, index) for index in range(start, end))
    if not basis.guided or start == end:
        return text
    return (_OPEN if start == 0 else "") + text + (_CLOSE if end == count else "")


def split(text: str) -> tuple[str, ...]:
    """The tokens of an answer's text, or of any part of it that begins at a token; joined they give the text."""
    return tuple(_TOKEN.findall(text))


def text_sha(text: str) -> str:
    """SHA-256 (hex) of the text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
