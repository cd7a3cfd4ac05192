"""The undo journal: what a run means to break, on disk before it is broken, and how to put it back without the run.

Append-only JSON lines, each fsynced before the call returns. A torn line is tolerated where a writer died or the disk was
full: its intent was never carried out. Whoever writes after it says so first (`Resumed`); any other damage is an error.
Conductor, reaper and `recover` all append; later lines win.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from harness.errors import StoreError
from harness.model.fields import JsonObject
from harness.model.plan import Target
from harness.model.wiring import Wiring
from harness.stacks.compose_project import Project

__all__ = [
    "LOAD",
    "PROXY",
    "REAPER",
    "Began",
    "Closed",
    "Intent",
    "Journal",
    "JournalView",
    "Linked",
    "Made",
    "Opened",
    "Placed",
    "Raised",
    "Reverted",
    "Spawned",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """First line: whose journal it is, and what the world looks like to whoever must finish it.

    `hosts` maps instance -> {"kind": ..., "recipe": ...}; `links` is the recipe of a fault proxy that was there before
    (see `Linked` for one that the run starts); `state_dir` is where the process host keeps what it started, and all that
    carries its mark is the run's (None: nothing is started by this run). Written before anything is made or started.
    """

    t: Literal["opened"] = "opened"
    run_id: str
    pid: int
    ticks: int | None
    origin_ns: int
    stack: str
    wiring: Wiring
    hosts: dict[str, JsonObject] = field(default_factory=dict)
    links: JsonObject | None = None
    state_dir: str | None = None


LOAD, PROXY, REAPER = 10, 90, 99
"""Orders in which spawned processes end: load first; the stack goes between load and proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """A process of ours that must not outlive the run. `order`: lower ends first."""

    t: Literal["spawned"] = "spawned"
    what: str
    pid: int
    ticks: int | None
    order: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """An instance that is attached to, did not run, and is about to be started: what ends the run stops it again."""

    t: Literal["began"] = "began"
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """The fault proxy that the run started answers; `recipe` is its control's."""

    t: Literal["linked"] = "linked"
    recipe: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A Compose project, of which nothing was there, about to be brought up; it goes down with the run."""

    t: Literal["raised"] = "raised"
    project: Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where everything is, once what the run brought up has an address: takes the place of what `Opened` said."""

    t: Literal["placed"] = "placed"
    wiring: Wiring
    hosts: dict[str, JsonObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A link about to be made on a fault proxy that outlives the run; it is removed with it."""

    t: Literal["made"] = "made"
    link: str
    listen: str
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A fault about to be applied to one target. `deadline_ns`: past it the reaper reverts even under a living conductor."""

    t: Literal["intent"] = "intent"
    id: str
    fault: str
    kind: str
    params: JsonObject
    target: Target
    state: JsonObject
    deadline_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """The end of an intent. Only `verified` ends it for good."""

    t: Literal["reverted"] = "reverted"
    id: str
    verified: bool
    by: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Last line: nothing of this run is left, as far as `by` can tell."""

    t: Literal["closed"] = "closed"
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The line before this one may be torn; what follows is whole again."""

    t: Literal["resumed"] = "resumed"


Record = Annotated[
    Opened | Spawned | Linked | Made | Raised | Placed | Began | Intent | Reverted | Closed | Resumed,
    Field(discriminator="t"),
]


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Record)


class Journal:
    """Appends to a journal file. Every `append` is on disk when it returns. Raises StoreError when that fails.

    `disturbed`: somebody else has written to it since this was opened, and may have put back what it says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._fd).st_size
            self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
            self._found = size
        except OSError as exc:
            raise StoreError(f"{path}: cannot open the undo journal: {exc.strerror}") from exc

    def append(
        self, record: Opened | Spawned | Linked | Made | Raised | Placed | Began | Intent | Reverted | Closed
    ) -> None:
        line: bytes = _adapter().dump_json(record) + b"\n"
        if self._torn:
            line = b"\n" + _adapter().dump_json(Resumed()) + b"\n" + line
        try:
            count = os.write(self._fd, line)
            self._written += count
            if count != len(line):
                self._torn = True
                raise OSError("short write")
            os.fsync(self._fd)
            self._torn = False
        except OSError as exc:
            raise StoreError(f"{self.path}: cannot write the undo journal: {exc}") from exc

    @property
    def disturbed(self) -> bool:
        return os.fstat(self._fd).st_size != self._found + self._written

    def close(self) -> None:
        os.close(self._fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalView:
    """A journal as read back. `opened` is None for one that holds nothing yet; `open` are ids of intents not yet resolved."""

    opened: Opened | None
    intents: tuple[Intent, ...]
    reverted: tuple[Reverted, ...]
    spawned: tuple[Spawned, ...]
    made: tuple[Made, ...]
    closed: bool
    open: frozenset[str]
    began: tuple[str, ...] = ()
    raised: tuple[Project, ...] = ()

    @classmethod
    def read(cls, path: Path) -> JournalView:
        """The journal so far. Raises StoreError when it cannot be read or a line other than the last is damaged."""
        records = tuple(_parse(path))
        opened = next((record for record in records if isinstance(record, Opened)), None)
        for record in records:
            if opened is not None and isinstance(record, Linked):
                opened = replace(opened, links=record.recipe)
            elif opened is not None and isinstance(record, Placed):
                opened = replace(opened, wiring=record.wiring, hosts=record.hosts)
        return cls(
            opened=opened,
            intents=tuple({record.id: record for record in records if isinstance(record, Intent)}.values()),
            open=_open(records),
            reverted=tuple(record for record in records if isinstance(record, Reverted)),
            spawned=tuple(record for record in records if isinstance(record, Spawned)),
            made=tuple(record for record in records if isinstance(record, Made)),
            raised=tuple(record.project for record in records if isinstance(record, Raised)),
            closed=_is_closed(records),
            began=tuple(record.instance for record in records if isinstance(record, Began)),
        )

    @property
    def ended_by(self) -> dict[str, str]:
        """Who put each intent back that is resolved, by the intent's id."""
        return {record.id: record.by for record in self.reverted if record.verified and record.id not in self.open}

    @property
    def unresolved(self) -> tuple[Intent, ...]:
        """Intents whose revert was never verified, newest first (the order in which to undo them)."""
        return tuple(intent for intent in reversed(self.intents) if intent.id in self.open)


def _open(records: tuple[Any, ...]) -> frozenset[str]:
    """The ids of intents that no verified revert came after."""
    found: set[str] = set()
    for record in records:
        if isinstance(record, Intent):
            found.add(record.id)
        elif isinstance(record, Reverted) and record.verified:
            found.discard(record.id)
    return frozenset(found)


def _is_closed(records: tuple[Any, ...]) -> bool:
    """Whether nothing was begun after it was closed: a conductor that was given up may wake up and go on."""
    closed = False
    for record in records:
        if isinstance(record, Closed):
            closed = True
        elif isinstance(record, (Intent, Spawned, Made, Raised, Began)):
            closed = False
    return closed


def _parse(path: Path) -> Iterator[Any]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as exc:
        raise StoreError(f"{path}: cannot read the undo journal: {exc.strerror}") from exc
    damaged: ValidationError | None = None
    damaged_at = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _adapter().validate_json(line)
        except ValidationError as exc:
            if damaged is None:
                damaged, damaged_at = exc, number
            continue
        if damaged is not None and not isinstance(record, Resumed):
            raise StoreError(f"{path}:{damaged_at}: damaged undo journal line") from damaged
        damaged = None
        yield record
    if damaged is not None and not lines[-1]:  # it ends with a line that was written whole
        raise StoreError(f"{path}:{damaged_at}: damaged undo journal line") from damaged
