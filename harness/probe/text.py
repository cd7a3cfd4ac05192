"""What answers hold: a value in a JSON document, a number in a line; text from a stack made harmless."""

from __future__ import annotations

import json
import math
import re

from harness.model.ports import ProbeSample

__all__ = ["ANSWER_LIMIT", "JSON_PATH", "clean", "from_json", "from_line", "pick"]

ANSWER_LIMIT = 65_536
"""Bytes of an answer that are read; a longer one cannot be parsed."""

JSON_PATH = r"^(\.[A-Za-z_][\w-]*|\[\d+\])+$"
_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]")
_TEXT_LIMIT = 1_000


def clean(text: str) -> str:
    """The text with control characters replaced and cut at 1000 characters: it goes into events and reports."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_TEXT_LIMIT]).strip()


def pick(document: object, path: str) -> object:
    """The value at a path such as `.replicas[0].lag`. Raises KeyError naming the step that is not there."""
    for match in _STEP.finditer(path):
        key, index = match[1], match[2]
        if key is not None and isinstance(document, dict) and key in document:
            document = document[key]
        elif index is not None and isinstance(document, list) and int(index) < len(document):
            document = document[int(index)]
        else:
            raise KeyError(match[0])
    return document


def from_json(body: bytes, path: str) -> ProbeSample:
    """The sample in a JSON answer: a number, a boolean as 1 or 0, or a text (kept for roles, no value)."""
    try:
        value = pick(json.loads(body), path)
    except ValueError:
        shown = clean(body[:80].decode(errors="replace"))
        return ProbeSample(ok=False, error=f"expected JSON, got {shown!r}")
    except KeyError as exc:
        return ProbeSample(ok=False, error=f"json {path}: the answer has no {exc.args[0]!r}")
    if isinstance(value, bool | int | float) and math.isfinite(value):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return ProbeSample(ok=True, value=float(value), text=text)
    if isinstance(value, str):
        return ProbeSample(ok=True, text=clean(value))
    return ProbeSample(
        ok=False, error=f"json {path}: expected a number, a boolean or a text, got {json.dumps(value)[:80]}"
    )


def from_line(output: bytes) -> ProbeSample:
    """The sample in the first line of a command's output: the line as text, and as a value when it is a finite number."""
    line = clean(output.decode(errors="replace").lstrip().partition("\n")[0])
    try:
        value = float(line)
    except ValueError:
        return ProbeSample(ok=True, text=line)
    return ProbeSample(ok=True, value=value if math.isfinite(value) else None, text=line)
