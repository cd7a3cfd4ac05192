"""Follows the events that a stack tells of by itself: matching lines of a log, or a URL that lists them."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

from harness.errors import HarnessBug
from harness.history.events import EFFECT
from harness.model.ports import Clock, Signals, StackSignal
from harness.model.stack import SignalSpec
from harness.model.wiring import Wiring
from harness.probe.http_get import HttpAnswer, HttpError, get
from harness.probe.text import clean

__all__ = ["HttpSignals", "LogSignals", "follow_source"]

_LOG_POLL_S = 0.05
_HTTP_POLL_S = 0.2
_HTTP_LIMIT_S = 2.0
_READ_BYTES = 1_048_576
_LINE_LIMIT = 65_536
_FIELDS_LIMIT = 32


def follow_source(spec: SignalSpec, log_dir: str, wiring: Wiring, clock: Clock) -> Signals:
    """What follows the source that a stack file declares. `effects` are lines of a log as well."""
    if spec.kind == "http":
        return HttpSignals(wiring.text(spec.source), spec.event, clock)
    return LogSignals(spec, log_dir, clock)


class LogSignals:
    """Lines that are written to an instance's log from now on and match. Named groups become the event's fields.

    The event's name is the spec's, else the group `event`, else the spec's kind; that of what really ran is always `EFFECT`.
    The log may appear later, be truncated or be replaced; a line is seen when its end is written.
    """

    def __init__(self, spec: SignalSpec, log_dir: str, clock: Clock) -> None:
        if spec.match is None:
            raise HarnessBug(f"signal from log {spec.source!r} has no `match`")
        self._path = spec.source if "/" in spec.source else os.path.join(log_dir, f"{spec.source}.log")
        self._source = f"log:{spec.source}"
        self._pattern = re.compile(spec.match)
        self._event = spec.event
        self._kind = spec.kind
        self._clock = clock
        self._place: tuple[int, int] | None = None
        self._rest = b""
        self._begun = False

    async def follow(self, sink: Callable[[StackSignal], None]) -> None:
        """Report until cancelled; called again, go on where that was."""
        if not self._begun:
            self._begun = True
            self._to_the_end()
        while True:
            for line in self._new_lines():
                match = self._pattern.search(line)
                if match is not None:
                    fields = {name: clean(value) for name, value in match.groupdict().items() if value is not None}
                    event = EFFECT if self._kind == "effects" else self._event or fields.get("event") or self._kind
                    sink(StackSignal(at_ns=self._clock.now_ns(), source=self._source, event=event, fields=fields))
            await asyncio.sleep(_LOG_POLL_S)

    def _to_the_end(self) -> None:
        try:
            stat = os.stat(self._path)
        except OSError:
            return
        self._place = (stat.st_ino, stat.st_size)

    def _new_lines(self) -> list[str]:
        try:
            with open(self._path, "rb") as file:
                stat = os.fstat(file.fileno())
                inode, offset = self._place or (stat.st_ino, 0)
                if stat.st_ino != inode or stat.st_size < offset:
                    offset, self._rest = 0, b""  # replaced or truncated: a new log
                file.seek(offset)
                piece = file.read(_READ_BYTES)
        except OSError:
            return []
        self._place = (stat.st_ino, offset + len(piece))
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._rest = self._rest[-_LINE_LIMIT:]
        return [line[:_LINE_LIMIT].decode(errors="replace") for line in lines]


class HttpSignals:
    """Events that a URL lists: a JSON array of objects, or `{"events": [...]}`, each with an increasing integer `seq`.

    Asked every 200 ms with `?since=` the last `seq` seen. What is listed at the first answer happened before and is not
    reported. With an `event` given, objects that carry another in their own `event` are left out.
    """

    def __init__(self, url: str, event: str | None, clock: Clock) -> None:
        self._url = url
        self._event = event
        self._clock = clock
        self._since: int | None = None

    async def follow(self, sink: Callable[[StackSignal], None]) -> None:
        """Report until cancelled. A source that does not answer, or not in this form, is asked again."""
        while True:
            events = await self._ask()
            at_ns = self._clock.now_ns()
            if events is not None:
                fresh = [one for one in events if self._since is not None and one[0] > self._since]
                self._since = max([seq for seq, _ in events] + [self._since or 0])
                for _, document in fresh:
                    self._report(document, at_ns, sink)
            await asyncio.sleep(_HTTP_POLL_S)

    async def _ask(self) -> list[tuple[int, Mapping[str, object]]] | None:
        url = self._url
        if self._since is not None:
            url += ("&" if urlsplit(url).query else "?") + urlencode({"since": self._since})
        try:
            answer = await get(url, _HTTP_LIMIT_S, _READ_BYTES)
        except HttpError:
            return None
        return await asyncio.to_thread(_events, answer)

    def _report(self, document: Mapping[str, object], at_ns: int, sink: Callable[[StackSignal], None]) -> None:
        own = document.get("event")
        if self._event is not None and own is not None and own != self._event:
            return
        plain = [(key, value) for key, value in document.items() if isinstance(value, str | int | float | bool)]
        fields = {clean(key): clean(str(value)) for key, value in plain[:_FIELDS_LIMIT]}
        event = self._event or (clean(own) if isinstance(own, str) else "event")
        sink(StackSignal(at_ns=at_ns, source=self._url, event=event, fields=fields))


def _events(answer: HttpAnswer) -> list[tuple[int, Mapping[str, object]]] | None:
    """The listed events with their `seq`, ascending; None for an answer in another form."""
    if answer.status != 200 or answer.cut:
        return None
    try:
        document = json.loads(answer.body)
    except ValueError:
        return None
    listed = document.get("events") if isinstance(document, dict) else document
    if not isinstance(listed, list):
        return None
    found = [(one["seq"], one) for one in listed if isinstance(one, dict) and isinstance(one.get("seq"), int)]
    return sorted(found, key=lambda pair: pair[0])
