"""Histories that others recorded, as calls: Jepsen's EDN and log lines, and JSON lines of the same events.

An event is one line or map: `type` invoke, ok, fail or info; `process`; `f`; `value`; where they are known `time` (ns) and
`index`. An invoke without an end, and one that ended info, may have taken effect at any time after it, or never.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SpecError
from harness.history.calls import FOREVER, UNKNOWN, Call
from harness.history.edn import EdnError, read_all

__all__ = ["Reading", "read_calls"]

_LOG_LINE = re.compile(
    r"(?:^|\s)(?P<process>:?[\w-]+)\s+:(?P<type>invoke|ok|fail|info)\s+:(?P<f>[\w-]+)\s*(?P<value>.*)$"
)
_TYPES = ("invoke", "ok", "fail", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read what the file does not say. `keyed`: values are [key value]. `observe_cas`: a failed compare-and-set is
    an observation that the value was another (else, as in Jepsen, it says nothing)."""

    keyed: bool = False
    observe_cas: bool = False


def read_calls(path: Path, reading: Reading) -> tuple[Call, ...]:
    """The calls of a history file, by beginning; () for an empty one. Events of the nemesis are left out.

    Raises SpecError, naming file and line, for what is no event, and for an end without its beginning.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"{path}: cannot be read: {exc}") from exc
    events = [event for event in _events(path, text) if isinstance(event["process"], int)]
    return tuple(_pair(path, events, reading))


def _events(path: Path, text: str) -> Iterator[dict[str, Any]]:
    """Every event, with its `line` (or its place in a vector) for messages."""
    begin = text.lstrip()[:1]
    if begin in ("[", "("):
        yield from _of_vector(path, text)
    elif path.suffix in (".jsonl", ".ndjson", ".json") or re.match(r'\s*\{\s*"', text):
        for line, row in enumerate(text.splitlines(), start=1):
            if row.strip():
                try:
                    yield _event(path, json.loads(row), line)
                except ValueError as exc:
                    raise SpecError(f"{path}:{line}: expected one JSON event a line: {exc}") from exc
    elif begin in ("{", "#"):
        for number, item in enumerate(_edn(path, text), start=1):
            yield _event(path, item, number)
    else:
        for line, row in enumerate(text.splitlines(), start=1):
            match = _LOG_LINE.search(row)
            if match:
                values = list(_edn(path, match["value"], line))
                facts = match.groupdict() | {"value": values[0] if values else None}
                facts["process"] = int(match["process"]) if match["process"].isdigit() else match["process"]
                yield _event(path, facts, line)


def _of_vector(path: Path, text: str) -> Iterator[dict[str, Any]]:
    values = list(_edn(path, text))
    if len(values) == 1 and values[0] and isinstance(values[0][0], dict):
        values = list(values[0])
    for number, item in enumerate(values if values != [()] else (), start=1):
        yield _event(path, item, number)


def _edn(path: Path, text: str, line: int | None = None) -> Iterator[Any]:
    try:
        yield from read_all(text)
    except EdnError as exc:
        at = line if line is not None else text.count("\n", 0, exc.offset) + 1
        raise SpecError(f"{path}:{at}: {exc}") from exc


def _event(path: Path, item: object, place: int) -> dict[str, Any]:
    if not isinstance(item, Mapping) or item.get("type") not in _TYPES or "f" not in item or "process" not in item:
        raise SpecError(
            f"{path}:{place}: expected an event with type ({', '.join(_TYPES)}), process and f, got {str(item)[:80]!r}"
        )
    return {"value": None, "time": None, "index": None} | dict(item) | {"line": place}


def _pair(path: Path, events: Iterable[dict[str, Any]], reading: Reading) -> Iterator[Call]:
    """Beginnings with their ends, by process. Instants are line order unless every event has a time."""
    events = list(events)
    timed = all(isinstance(event["time"], int) for event in events)
    open_: dict[int, tuple[dict[str, Any], int]] = {}
    calls: list[Call] = []
    for place, event in enumerate(events):
        at, process = (event["time"] if timed else place), event["process"]
        if event["type"] == "invoke":
            if process in open_:
                raise SpecError(f"{path}:{event['line']}: process {process} begins a call before its last one ended")
            open_[process] = (event, at)
            continue
        if process not in open_:
            raise SpecError(f"{path}:{event['line']}: process {process} ends a call that it never began")
        begun, began = open_.pop(process)
        calls.append(_call(begun, began, event, at, reading))
    calls += [_call(begun, began, None, FOREVER, reading) for begun, began in open_.values()]
    return iter(sorted(calls, key=lambda call: (call.call_ns, call.ret_ns)))


def _call(begun: Mapping[str, Any], began: int, end: Mapping[str, Any] | None, at: int, reading: Reading) -> Call:
    ok = end is not None and end["type"] == "ok"
    failed = end is not None and end["type"] == "fail"
    asked, answered = begun["value"], end["value"] if end is not None else None
    key = None
    if reading.keyed and isinstance(asked, list | tuple) and len(asked) == 2:
        key, asked = asked
        if isinstance(answered, list | tuple) and len(answered) == 2:
            answered = answered[1]
    out: Any = _frozen(answered) if ok else UNKNOWN
    if begun["f"] in ("cas", "acquire", "release") and ok:
        out = True
    if failed and begun["f"] == "cas" and reading.observe_cas:
        out, failed, ok = False, False, True
    index = begun["index"]
    return Call(
        id=index if isinstance(index, int) else begun["line"] - 1,
        f=str(begun["f"]),
        value=_frozen(asked),
        out=out,
        call_ns=began,
        ret_ns=at if ok else FOREVER,
        key=_frozen(key),
        process=begun["process"],
        failed=failed,
    )


def _frozen(value: Any) -> Any:
    """The same, hashable."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted(((_frozen(key), _frozen(item)) for key, item in value.items()), key=repr))
    return value
