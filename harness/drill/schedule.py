"""When a drill is due: cron in a time zone, blackout windows left out, judged against what was carried out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim

from harness.drill.rundir import PastDrill
from harness.model.drill import Drill, Schedule

__all__ = ["Due", "due_of", "due_since", "upcoming"]

_TALK = ("tabletop", "walkthrough")
_COUNTS = ("PASS", "FAIL")
_LOOK_BACK = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """How a drill stands. `state`: `on time`, `overdue` (since `since`), `never` carried out, or `unscheduled`.

    Instants are aware; `last` is when it was last carried out to a verdict of the stack, PASS or FAIL.
    """

    name: str
    state: Literal["on time", "overdue", "never", "unscheduled"]
    next: datetime | None = None
    since: datetime | None = None
    last: datetime | None = None
    last_verdict: str = ""


def upcoming(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The instants after `after` (aware) at which it is due, in the schedule's own zone, earliest first."""
    zone = ZoneInfo(schedule.timezone)
    return (due for due in CronSim(schedule.cron, after.astimezone(zone)) if not _blacked_out(schedule, due))


def due_since(schedule: Schedule, now: datetime) -> datetime | None:
    """The latest instant not after `now` at which it was due; None when there is none among the last few hundred."""
    zone = ZoneInfo(schedule.timezone)
    # The reverse walk begins before the minute it is given: what is due this very minute is looked at first.
    minute = now.astimezone(zone).replace(second=0, microsecond=0)
    ahead = next(
        iter(CronSim(schedule.cron, minute.astimezone(UTC).fromtimestamp(minute.timestamp() - 60, zone))), None
    )
    if ahead is not None and ahead <= now and not _blacked_out(schedule, ahead):
        return ahead
    back = islice(CronSim(schedule.cron, minute, reverse=True), _LOOK_BACK)
    return next((due for due in back if due <= now and not _blacked_out(schedule, due)), None)


def _blacked_out(schedule: Schedule, due: datetime) -> bool:
    return any(
        datetime.fromisoformat(window.from_utc) <= due < datetime.fromisoformat(window.until_utc)
        for window in schedule.blackouts
    )


def due_of(drill: Drill, past: Sequence[PastDrill], now: datetime) -> Due:
    """How the drill stands at `now`. A tabletop counts only for a drill that is one; what was refused or broke off never does."""
    counted = [
        one
        for one in past
        if one.name == drill.name
        and one.verdict in _COUNTS
        and (one.mode != "tabletop" or drill.exercise in _TALK)
        and datetime.fromisoformat(one.started_utc) <= now
    ]
    last = max(counted, key=lambda one: one.started_utc, default=None)
    when = None if last is None else datetime.fromisoformat(last.started_utc)
    verdict = "" if last is None else last.verdict
    if drill.schedule is None:
        return Due(name=drill.name, state="unscheduled", last=when, last_verdict=verdict)
    since = due_since(drill.schedule, now)
    state: Literal["on time", "overdue", "never"] = "on time"
    if when is None:
        state = "never"
    elif since is not None and when < since:
        state = "overdue"
    return Due(
        name=drill.name,
        state=state,
        next=next(upcoming(drill.schedule, now), None),
        since=since if state != "on time" else None,
        last=when,
        last_verdict=verdict,
    )
