"""The residue audit: what a run could leave behind, looked at before it starts anything and after it ended everything.

Each source looks at one sort of thing and says what is there, key by key. The comparison is pure. A difference that can
only be the run's makes it DIRTY; any other is shown, and may be somebody's work beside ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.history.events import NoteEvent
from harness.model.ports import Clock
from harness.run.recorder import Recorder

__all__ = ["Audit", "Difference", "Fingerprint", "Source", "audit_data", "compare", "look"]

LOOK_LIMIT_S = 8.0


class Source(Protocol):
    """Looks at one sort of thing."""

    @property
    def name(self) -> str:
        """What it looks at, in words."""
        ...

    async def look(self) -> Mapping[str, str]:
        """Everything of its sort that is there now: key -> state. Raises HarnessError or OSError when it cannot be told."""
        ...

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        """Whether a difference can only be this run's doing. Pure."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What every source saw at one time; `blind` holds the reason of each that could not look."""

    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    blind: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One key that is not what it was. None: it was not there, or is not any more."""

    source: str
    key: str
    before: str | None
    after: str | None
    ours: bool

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.key}: {self.after}, was not there before"
        return f"{self.key}: was {self.before}, is {'gone' if self.after is None else self.after}"


async def look(sources: Iterable[Source]) -> Fingerprint:
    """What there is now, all sources at once, each under its own limit."""
    facts: dict[str, Mapping[str, str]] = {}
    blind: dict[str, str] = {}

    async def one(source: Source) -> None:
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                facts[source.name] = await source.look()
        except (HarnessError, OSError, TimeoutError) as exc:
            blind[source.name] = str(exc) or "took too long"

    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(one(source))
    return Fingerprint(facts=dict(sorted(facts.items())), blind=dict(sorted(blind.items())))


def compare(sources: Iterable[Source], before: Fingerprint, after: Fingerprint) -> tuple[Difference, ...]:
    """Every difference between two fingerprints, ours first. What either could not see is not compared."""
    found = []
    for source in sources:
        if source.name not in before.facts or source.name not in after.facts:
            continue
        then, now = before.facts[source.name], after.facts[source.name]
        for key in sorted({*then, *now}):
            old, new = then.get(key), now.get(key)
            if old != new:
                ours = source.is_ours(key, old, new)
                found.append(Difference(source=source.name, key=key, before=old, after=new, ours=ours))
    return tuple(sorted(found, key=lambda one: not one.ours))


def audit_data(before: Fingerprint, after: Fingerprint, differences: Sequence[Difference]) -> dict[str, Any]:
    """The audit as a note's data: per source how many things were there, and every difference."""
    names = dict.fromkeys([*before.facts, *before.blind, *after.facts, *after.blind])
    rows = [
        {
            "source": name,
            "before": len(before.facts[name]) if name in before.facts else None,
            "after": len(after.facts[name]) if name in after.facts else None,
            "blind": after.blind.get(name) or before.blind.get(name) or "",
        }
        for name in names
    ]
    changes = [{"source": one.source, "what": str(one), "ours": one.ours} for one in differences]
    return {"sources": rows, "changes": changes}


class Audit:
    """One run's audit: `begin` before anything is started, `end` once everything was ended."""

    def __init__(self, sources: Sequence[Source], recorder: Recorder, clock: Clock) -> None:
        self._sources = sources
        self._recorder = recorder
        self._clock = clock
        self._before = Fingerprint()

    async def begin(self) -> None:
        """Remember what is there."""
        self._before = await look(self._sources)

    async def end(self) -> tuple[str, ...]:
        """Look again and record both; in words, every difference that is ours."""
        after = await look(self._sources)
        differences = compare(self._sources, self._before, after)
        ours = tuple(str(one) for one in differences if one.ours)
        text = f"looked at {sum(map(len, after.facts.values()))} things; {len(ours)} of {len(differences)} differences are ours"
        data = audit_data(self._before, after, differences)
        self._recorder.emit(NoteEvent(at_ns=self._clock.now_ns(), code="audit", text=text, data=data))
        return ours
