"""`events.jsonl` of a drill: what was done, when and by whom, one line each. Everything else is computed from it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from harness.errors import StoreError
from harness.model.drill_result import DrillRun, Mode, Outcome, Posted
from harness.model.secrets import masked_value
from harness.run.clock import MonotonicClock

__all__ = ["DrillEvent", "Record", "read_record"]

Kind = Literal["drill", "begin", "end", "begin-run", "fault", "run", "update", "posted", "stop", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillEvent:
    """One line of the record.

    `drill` is the first (mode, wall clock, version), `finished` the last. `begin` and `end` frame a step; `end` has its
    outcome. `begin-run` and `run` frame one run of an experiment, `fault` is the first fault applied in it. `update` is a
    status update written, `posted` one attempt to post it. `stop`: the steps that follow are not begun.
    """

    t: Kind
    at_ns: int
    step: str | None = None
    outcome: Outcome | None = None
    by: str = ""
    note: str = ""
    text: str = ""
    finding: str = ""
    severity: Literal["high", "medium", "low"] | None = None
    run: DrillRun | None = None
    number: int | None = None
    files: tuple[str, ...] = ()
    posted: Posted | None = None
    mode: Mode | None = None
    wall_utc: str | None = None
    version: str | None = None
    aborted: bool = False


@cache
def _adapter() -> TypeAdapter[DrillEvent]:
    return TypeAdapter(DrillEvent)


class Record:
    """Append-only. Raises StoreError when an event cannot be written."""

    def __init__(self, path: Path, secrets: frozenset[str]) -> None:
        self._path, self._secrets = path, secrets
        self._clock = MonotonicClock()
        self._file = path.open("x", encoding="utf-8")
        self._lock = threading.Lock()  # posting runs beside the drill
        self.events: list[DrillEvent] = []

    def now_ns(self) -> int:
        """Since the drill's origin."""
        return self._clock.now_ns()

    def add(self, t: Kind, **facts: Any) -> DrillEvent:
        """Write an event down, now, with secrets taken out."""
        with self._lock:
            event = DrillEvent(t=t, at_ns=self.now_ns(), **facts)
            raw = masked_value(_adapter().dump_python(event, mode="json"), self._secrets)
            kept = {key: value for key, value in raw.items() if value not in (None, "", [], False)}
            try:
                self._file.write(json.dumps({**kept, "at_ns": event.at_ns}, ensure_ascii=False) + "\n")
                self._file.flush()
            except (OSError, ValueError) as exc:
                raise StoreError(f"{self._path}: cannot record: {exc}") from exc
            event = _adapter().validate_python(raw)
            self.events.append(event)
            return event

    def close(self) -> None:
        """Everything on disk; no event after this."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def read_record(path: Path) -> tuple[DrillEvent, ...]:
    """The events of a drill; a torn last line is left out. Raises StoreError when there are none."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as exc:
        raise StoreError(f"{path}: cannot read: {exc.strerror}") from exc
    events = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            events.append(_adapter().validate_json(line))
        except ValueError as exc:
            raise StoreError(f"{path}:{number}: not an event of a drill: {exc}") from exc
    if not events or events[0].t != "drill":
        raise StoreError(f"{path}: not the record of a drill")
    return tuple(events)
