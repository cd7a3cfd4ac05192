"""What the words of each model's ops mean to checks, and how a read's JSON result is taken apart."""

from __future__ import annotations

import json
from collections.abc import Mapping

__all__ = ["LISTS", "READS", "WRITES", "noun", "scalar_parts", "text_of", "values_of"]

WRITES: Mapping[str, frozenset[str]] = {
    "set": frozenset({"add"}),
    "log": frozenset({"append"}),
    "register": frozenset({"write", "cas"}),
    "counter": frozenset({"add"}),
    "jobs": frozenset({"submit"}),
    "queue": frozenset({"send"}),
    "list-append": frozenset({"txn"}),
}
"""Model -> the words of ops that put something in. Other words are not checked."""

READS: Mapping[str, frozenset[str]] = {
    "set": frozenset({"read"}),
    "log": frozenset({"read"}),
    "register": frozenset({"read"}),
    "counter": frozenset({"read"}),
    "jobs": frozenset({"read"}),
    "queue": frozenset({"receive"}),
}
"""Model -> the words of ops that tell what is there. A queue's `receive` tells what it took."""

LISTS = frozenset({"set", "log", "jobs", "queue"})
"""Models whose reads return a list of values; a register's returns one value or null, a counter's a number."""

_NOUNS = {
    "set": ("element", "elements"),
    "log": ("entry", "entries"),
    "register": ("write", "writes"),
    "counter": ("addition", "additions"),
    "jobs": ("job", "jobs"),
    "queue": ("message", "messages"),
    "list-append": ("transaction", "transactions"),
}


def noun(model: str | None, profile: str, count: int) -> str:
    """The word for what the writes of a model make, for `count` of them: chat's log entries are turns."""
    one, many = (
        ("turn", "turns") if model == "log" and profile == "chat" else _NOUNS.get(model or "", ("write", "writes"))
    )
    return one if count == 1 else many


def text_of(item: object) -> str:
    """A value as text: texts stay as they are, everything else is compact JSON with sorted keys."""
    return item if isinstance(item, str) else json.dumps(item, separators=(",", ":"), sort_keys=True)


def values_of(result: str, model: str) -> list[str] | None:
    """The values that a read returned, in order; None when the result is not what the model's reads return.

    A list for models in `LISTS` (a queue's `receive` may return one value; null is the empty queue), one value or null
    for a register ([] for null), the event ids of a counter's {"value": n, "events": [...]} ([] for a bare number).
    """
    if model == "register" and result[:1] == '"' and result.find('"', 1) == len(result) - 1 and "\\" not in result:
        return [result[1:-1]]  # nearly all of a register's answers: no parser needed
    try:
        parsed = json.loads(result)
    except ValueError:
        return None
    if model == "counter":
        parts = scalar_parts(parsed)
        return None if parts is None else [text_of(item) for item in parts[1] or ()]
    if model == "register":
        if isinstance(parsed, list):
            if len(parsed) > 1:
                return None
            parsed = parsed[0] if parsed else None
        return [] if parsed is None else [text_of(parsed)]
    if isinstance(parsed, list):
        return [item if isinstance(item, str) else text_of(item) for item in parsed]
    if model == "queue":
        return [] if parsed is None else [text_of(parsed)]
    return None


def scalar_parts(parsed: object) -> tuple[int, list[object] | None] | None:
    """(value, events) of a counter's read: a number, or {"value": number, "events": [...]}; None for anything else.

    Events None: this read has no ledger.
    """
    number, events = (parsed.get("value"), parsed.get("events")) if isinstance(parsed, dict) else (parsed, None)
    if isinstance(number, str):
        try:
            number = int(number)
        except ValueError:
            return None
    if isinstance(number, bool) or not isinstance(number, int):
        return None
    return number, events if isinstance(events, list) else None
