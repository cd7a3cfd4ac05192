"""Which failures of which services were tested, when last, and how that came out: the coverage grid. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from harness.drill.plan import DrillPlan
from harness.model.drill_result import Covered, DrillStepResult
from harness.model.verdict import Verdict
from harness.report.numbers import percent
from harness.report.page import Cell, Column, Table
from harness.report.text import clean
from harness.report.words import VERDICT_BADGES
from harness.store.index import RunRow

__all__ = ["age_words", "coverage_table", "covered_before", "covered_now", "instant", "last_covered", "services_of"]


def covered_before(rows: Iterable[RunRow]) -> tuple[Covered, ...]:
    """What stored runs tested, in their order. A run that was refused or broke before its fault tested nothing."""
    return tuple(
        Covered(
            failure=one.kind,
            service=one.service,
            run_id=row.run_id,
            name=row.name,
            verdict=Verdict(row.verdict),
            started_utc=row.started_utc,
            ratio=row.limit_ratio,
        )
        for row in rows
        for one in row.failures
    )


def covered_now(steps: Sequence[DrillStepResult]) -> tuple[Covered, ...]:
    """What the drill's own runs tested, in their order."""
    return tuple(
        Covered(
            failure=one.kind,
            service=one.service,
            run_id=run.run_id,
            name=step.id,
            verdict=run.verdict,
            started_utc=run.started_utc,
            ratio=run.recovery_ratio,
        )
        for step in steps
        for run in step.runs
        if run.run_id is not None
        for one in run.failures
    )


def last_covered(tests: Iterable[Covered]) -> tuple[Covered, ...]:
    """The last test of each failure in each service, by failure, then service. Run ids begin with the hour: they order."""
    last: dict[tuple[str, str], Covered] = {}
    for one in tests:
        key = (one.failure, one.service)
        if key not in last or last[key].run_id <= one.run_id:
            last[key] = one
    return tuple(last[key] for key in sorted(last))


def services_of(plan: DrillPlan) -> tuple[str, ...]:
    """The services of the stacks that a drill's experiments break; an instance without one stands for itself."""
    stacks = (variant.experiment.stack for step in plan.drill.experiments for variant in step.variants)
    return tuple(sorted({one.service or one.name for stack in stacks for one in stack.instances.values()}))


def coverage_table(
    tests: Sequence[Covered], services: Sequence[str], now: datetime | None, href: Callable[[str], str]
) -> Table | None:
    """A row for each failure, a column for each service; None when nothing was ever tested.

    A cell has the last result, its age at `now`, and recovery as a share of its objective's limit, which `href` of the run
    leads to. Over 100 % is a missed objective.
    """
    if not tests:
        return None
    columns = sorted({*services, *(one.service for one in tests)})
    found = {(one.failure, one.service): one for one in tests}
    rows = tuple(
        (Cell(text=clean(failure, 60)), *(_cell(found.get((failure, service)), now, href) for service in columns))
        for failure in sorted({one.failure for one in tests})
    )
    return Table(
        caption="Failure by service: last result, its age, recovery time as a share of its objective",
        columns=(Column(head="Failure"), *(Column(head=clean(service, 60)) for service in columns)),
        rows=rows,
    )


def _cell(one: Covered | None, now: datetime | None, href: Callable[[str], str]) -> Cell:
    if one is None:
        return Cell(text="not tested")
    words = [age_words(one.started_utc, now), "" if one.ratio is None else f"{percent(one.ratio)} of the limit"]
    return Cell(
        text=", ".join(word for word in words if word) or clean(one.run_id),
        badge=VERDICT_BADGES[one.verdict],
        href=href(one.run_id),
    )


def instant(text: str) -> datetime | None:
    """An aware instant from a record's text; None when it has none."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def age_words(started_utc: str, now: datetime | None) -> str:
    """ "today", "1 day ago", "12 days ago"; empty when either instant is not known."""
    began = instant(started_utc)
    if began is None or now is None:
        return ""
    days = max((now - began).days, 0)
    return "today" if days == 0 else f"{days} day{'' if days == 1 else 's'} ago"
