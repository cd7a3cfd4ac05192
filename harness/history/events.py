"""Everything in a run that is not an op: phases, faults, steps, probes, stack events, warnings. One JSON line each."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from harness.errors import StoreError
from harness.model.secrets import masked, masked_value

__all__ = [
    "EFFECT",
    "PHASES",
    "AbortEvent",
    "Event",
    "FaultEvent",
    "InstanceEvent",
    "LoadEvent",
    "NoteEvent",
    "PhaseEvent",
    "PhaseName",
    "ProbeEvent",
    "RunEvent",
    "SignalEvent",
    "StepEvent",
    "encode",
    "mask",
    "of_type",
    "read_events",
]

PhaseName = Literal[
    "plan",
    "preflight",
    "start",
    "warmup",
    "steady",
    "inject",
    "observe",
    "heal",
    "settle",
    "drain",
    "final",
    "seal",
    "measure",
    "check",
    "judge",
    "render",
]
PHASES: tuple[PhaseName, ...] = PhaseName.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """First line of every run: who, when by the wall clock (UTC, ISO 8601), and where CLOCK_MONOTONIC's zero of this run is."""

    t: Literal["run"] = "run"
    at_ns: int
    run_id: str
    name: str
    wall_utc: str
    origin_ns: int
    seed: int
    plan_hash: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEvent:
    """A phase begins. It lasts until the next one."""

    t: Literal["phase"] = "phase"
    at_ns: int
    phase: PhaseName


FaultStage = Literal[
    "prepared",
    "applying",
    "applied",
    "witnessed",
    "not-witnessed",
    "returned",
    "still-there",
    "gone-early",
    "reverting",
    "reverted",
    "verified",
    "unverified",
    "failed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEvent:
    """A stage in the life of one planned fault on one target.

    The effect begins within [at of `applying`, at of `witnessed`] and ends within [at of `reverting`, at of `verified`].
    `returned`: an instant fault, whose end is part of it and was seen; nothing is left to revert.
    `still-there`/`gone-early` is the second witness, just before revert. `what` is the evidence or the error in words.
    """

    t: Literal["fault"] = "fault"
    at_ns: int
    id: str
    kind: str
    target: str
    stage: FaultStage
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """A scenario step begins or ends; `exit_code` is None at the beginning and when it was cut."""

    t: Literal["step"] = "step"
    at_ns: int
    id: str
    stage: Literal["started", "ended", "failed"]
    exit_code: int | None = None
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeEvent:
    """One probe sample. `at_ns` is when it was asked, `took_ns` until the answer."""

    t: Literal["probe"] = "probe"
    at_ns: int
    name: str
    ok: bool
    took_ns: int
    value: float | None = None
    text: str | None = None
    error: str | None = None


EFFECT = "effect"
"""The `event` of a signal that says what really ran; its field `idem` names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalEvent:
    """An authoritative event of the stack, and where we learned it."""

    t: Literal["signal"] = "signal"
    at_ns: int
    source: str
    event: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEvent:
    """Something happened to an instance: `exited` is an end that we did not cause."""

    t: Literal["instance"] = "instance"
    at_ns: int
    instance: str
    what: Literal["found", "started", "ready", "exited", "stopped"]
    pid: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEvent:
    """The load's own account at its close; `report` is a `LoadReport` in JSON form."""

    t: Literal["load"] = "load"
    at_ns: int
    report: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortEvent:
    """The run was cut short: by a rule, by a person, or because it could not go on."""

    t: Literal["abort"] = "abort"
    at_ns: int
    by: Literal["rule", "signal", "halt", "reaper", "error"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteEvent:
    """A fact worth keeping: `code` is stable for machines (`steady`, `exposure`, `settled`, `mutant`, ...), `data` its numbers."""

    t: Literal["note"] = "note"
    at_ns: int
    code: str
    text: str
    level: Literal["info", "warning", "unprovable", "refused", "dirty"] = "info"
    data: dict[str, Any] = field(default_factory=dict)


Event = Annotated[
    RunEvent
    | PhaseEvent
    | FaultEvent
    | StepEvent
    | ProbeEvent
    | SignalEvent
    | InstanceEvent
    | LoadEvent
    | AbortEvent
    | NoteEvent,
    Field(discriminator="t"),
]


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Event)


def encode(event: Event) -> str:
    """The event as one JSON line, newline included."""
    return str(_adapter().dump_json(event).decode()) + "\n"


_FREE = ("what", "output", "text", "error", "detail", "reason")


def mask(event: Event, secrets: Collection[str]) -> Event:
    """The event with secrets taken out of its free texts; names, which others refer to, stay."""
    if not secrets:
        return event
    changes: dict[str, Any] = {}
    for name in _FREE:
        value = getattr(event, name, None)
        if isinstance(value, str) and not (name == "what" and isinstance(event, InstanceEvent)):
            changes[name] = masked(value, secrets)
    for name in ("fields", "data"):
        if hasattr(event, name):
            changes[name] = masked_value(getattr(event, name), secrets)
    if isinstance(event, LoadEvent):
        workers = event.report.get("workers", ())
        errors = [{**worker, "error": masked_value(worker.get("error"), secrets)} for worker in workers]
        changes["report"] = {**event.report, "workers": errors}
    return replace(event, **changes)


def read_events(path: Path) -> tuple[Event, ...]:
    """Every event of a file, in order; a torn last line is left out. Raises StoreError for any other bad line, naming it."""
    return tuple(_parse(path))


def _parse(path: Path) -> Iterator[Event]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as exc:
        raise StoreError(f"{path}: cannot be read: {exc}") from exc
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _adapter().validate_json(line)
        except ValidationError as exc:
            if number == len(lines):  # no newline after it: the writer died in the middle of this line
                return
            raise StoreError(
                f"{path}:{number}: not an event: {json.dumps(line.decode(errors='replace')[:120])}"
            ) from exc


def of_type(events: Iterable[Event], kind: type[Any]) -> tuple[Any, ...]:
    """The events of one class, in order."""
    return tuple(event for event in events if isinstance(event, kind))
