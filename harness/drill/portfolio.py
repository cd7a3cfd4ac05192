"""The portfolio page: every experiment's last result, its freshness, recovery over time, budget spent. Pure; words and pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from harness.drill.coverage import age_words, coverage_table, covered_before, instant, last_covered
from harness.drill.schedule import Due
from harness.model.measured import Interval
from harness.model.verdict import Verdict
from harness.report.extras import ComparableRun
from harness.report.figures import trend_strip
from harness.report.frame import NARROW, WIDE, Words
from harness.report.html import render_sheet
from harness.report.numbers import limit_ns, limit_words, percent, point_text, when
from harness.report.page import Badge, Block, Cell, Column, Figure, Note, Picture, Section, Sheet, Table, Tile
from harness.report.text import clean, plural
from harness.report.words import VERDICT_BADGES, slug
from harness.store.index import RunRow, Spent
from harness.units import NS_PER_S, format_duration, format_ratio

__all__ = ["Portfolio", "Standing", "render_portfolio", "standing"]

_TREND = 12
_BUDGET_LEAD = (
    "Every stored run that began in the SLO's window, whatever its verdict. Budgets of different SLOs are never added."
)
_FRESH = Badge(word="fresh", sign="✓", tone="pass")
_STALE = Badge(word="stale", sign="?", tone="warn")
_NEVER = Badge(word="never passed", sign="?", tone="warn")
_DUE = {
    "on time": Badge(word="on time", sign="✓", tone="pass"),
    "overdue": Badge(word="overdue", sign="✕", tone="fail"),
    "never": Badge(word="never carried out", sign="?", tone="warn"),
    "unscheduled": Badge(word="no schedule", sign="–", tone="info"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """What the page is made of. `names` are the project's experiments, run or not; `rows` oldest first, of both kinds."""

    rows: tuple[RunRow, ...]
    names: tuple[str, ...]
    dues: tuple[Due, ...]
    now: datetime
    fresh_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an experiment stands: its last run, its last pass, and whether that pass is fresh. None: there was none."""

    name: str
    last: RunRow | None
    passed: RunRow | None
    expires: datetime | None
    fresh: bool


def standing(name: str, rows: Sequence[RunRow], now: datetime, fresh_ns: int) -> Standing:
    """From the runs of one experiment, oldest first. A pass is fresh only while no later run failed or was left DIRTY."""
    last = rows[-1] if rows else None
    place = next((at for at in reversed(range(len(rows))) if rows[at].verdict == Verdict.PASS), None)
    if place is None:
        return Standing(name=name, last=last, passed=None, expires=None, fresh=False)
    passed = rows[place]
    began = instant(passed.started_utc)
    expires = None if began is None else began + timedelta(microseconds=fresh_ns / 1_000)
    broken = any(row.verdict in (Verdict.FAIL, Verdict.DIRTY) for row in rows[place + 1 :])
    fresh = not broken and expires is not None and now < expires
    return Standing(name=name, last=last, passed=passed, expires=expires, fresh=fresh)


def render_portfolio(made: Portfolio) -> str:
    """One page: offline, readable without CSS and JavaScript, the same text for the same input."""
    by_name: dict[str, list[RunRow]] = defaultdict(list)
    for row in made.rows:
        if row.kind == "experiment":
            by_name[row.name].append(row)
    every = [standing(name, by_name.get(name, ()), made.now, made.fresh_ns) for name in sorted({*made.names, *by_name})]
    fresh = sum(one.fresh for one in every)
    window = format_duration(made.fresh_ns)
    sentence = (
        f"{fresh} of {plural(len(every), 'experiment')} have a fresh pass ({window})."
        if every
        else "No experiment is there, and no run is stored."
    )
    sections = (
        Section(anchor="experiments", title="Experiments", lead="", blocks=_experiments(every, made)),
        Section(anchor="drills", title="Drills", lead="", blocks=_drills(made)),
        Section(
            anchor="budget",
            title="Error budget spent on drills",
            lead=_BUDGET_LEAD,
            blocks=_budget(made),
        ),
        Section(anchor="coverage", title="Coverage", lead="", blocks=_coverage(made)),
        Section(
            anchor="trends",
            title="Recovery time against its objective",
            lead="Runs that are comparable with the newest one, oldest first.",
            blocks=_trends(by_name),
        ),
    )
    return render_sheet(
        Sheet(
            name=f"Portfolio of drills, {when(made.now.isoformat())}",
            verdict=None,
            kicker="Portfolio of drills",
            sentence=sentence,
            facts=(f"as of {when(made.now.isoformat())}", plural(len(made.rows), "stored run")),
            tiles=_tiles(every, made),
            sections=sections,
        )
    )


def _columns(*heads: str) -> tuple[Column, ...]:
    return tuple(Column(head=head) for head in heads)


def _href(run_id: str) -> str:
    return f"{quote(run_id)}/report.html"


def _tiles(every: Sequence[Standing], made: Portfolio) -> tuple[Tile, ...]:
    failing = [one.name for one in every if one.last is not None and one.last.verdict in (Verdict.FAIL, Verdict.DIRTY)]
    never = sum(one.last is None for one in every)
    late = [one.name for one in made.dues if one.state == "overdue"]
    spent = _spent(made)
    worst = max(spent.items(), key=lambda pair: pair[1][0], default=None)
    budget = Tile(key="budget", label="Budget spent, the most", value="unknown", lines=("No stored run states an SLO",))
    if worst is not None:
        (stack, one), (share, runs) = worst
        budget = Tile(
            key="budget",
            label="Budget spent, the most",
            value=format_ratio(share),
            figure=f"of {format_duration(one.window_ns)}",
            lines=(f"{clean(one.slo)} of {clean(stack)}, {plural(runs, 'run')}{', notional' if one.notional else ''}",),
        )
    return (
        Tile(
            key="fresh",
            label="Fresh passes",
            value=f"{sum(one.fresh for one in every)} of {len(every)}",
            lines=(f"{never} never run",) if never else (),
        ),
        Tile(
            key="failing",
            label="Failing now",
            value=str(len(failing)),
            lines=(clean(", ".join(failing[:3])),) if failing else (),
        ),
        Tile(
            key="overdue",
            label="Drills overdue",
            value=f"{len(late)} of {len(made.dues)}",
            lines=(clean(", ".join(late[:3])),) if late else (),
        ),
        budget,
    )


def _experiments(every: Sequence[Standing], made: Portfolio) -> tuple[Block, ...]:
    rows = tuple(_standing_row(one, made) for one in sorted(every, key=_urgency))
    columns = _columns(
        "Experiment", "Last result", "When", "Recovery", "Limit", "Of its limit", "Lost", "Freshness", "In words"
    )
    return (Table(caption="Each leads to its last report", columns=columns, rows=rows),) if rows else ()


def _urgency(one: Standing) -> int:
    """What fails stands first, then what is stale, then what is fresh, then what was never run."""
    if one.last is None:
        return 3
    return 0 if one.last.verdict in (Verdict.FAIL, Verdict.DIRTY) else 2 if one.fresh else 1


def _standing_row(one: Standing, made: Portfolio) -> tuple[Cell, ...]:
    last = one.last
    if last is None:
        return (
            Cell(text=clean(one.name)),
            Cell(text="never run"),
            *(Cell(text="–") for _ in range(5)),
            _fresh(one),
            Cell(text=""),
        )
    interval = _recovery(last)
    return (
        Cell(text=clean(one.name), href=_href(last.run_id)),
        Cell(text="", badge=VERDICT_BADGES[Verdict(last.verdict)]),
        Cell(text=age_words(last.started_utc, made.now) or "–"),
        Cell(text="unknown" if interval is None else point_text(interval)),
        Cell(text=limit_words(clean(last.limit_text)) or "none"),
        Cell(text="–" if last.limit_ratio is None else percent(last.limit_ratio)),
        Cell(text="not read back" if last.lost is None else f"{last.lost:,}"),
        _fresh(one),
        Cell(text=clean(last.sentence)),
    )


def _fresh(one: Standing) -> Cell:
    if one.passed is None or one.expires is None:
        return Cell(text="", badge=_NEVER)
    day = one.expires.date().isoformat()
    if one.fresh:
        return Cell(text=f"until {day}", badge=_FRESH)
    failed = one.last is not None and one.last.verdict in (Verdict.FAIL, Verdict.DIRTY)
    return Cell(text="failed since it passed" if failed else f"since {day}", badge=_STALE)


def _recovery(row: RunRow) -> Interval | None:
    """The interval of a run's recovery time; None when it is not known."""
    if row.recovery_lo_ns is not None:
        return Interval(lo_ns=row.recovery_lo_ns, hi_ns=row.recovery_hi_ns)
    return Interval(lo_ns=0, hi_ns=0) if row.recovery_state == "none" else None


def _drills(made: Portfolio) -> tuple[Block, ...]:
    last = {row.name: row for row in made.rows if row.kind == "drill"}
    rows = [_drill_row(due.name, last.pop(due.name, None), due, made.now) for due in made.dues]
    rows += [_drill_row(name, row, None, made.now) for name, row in sorted(last.items())]
    columns = _columns("Drill", "Last result", "When", "Mode", "Schedule", "Next", "In words")
    return (Table(caption="Each leads to its last report", columns=columns, rows=tuple(rows)),) if rows else ()


def _drill_row(name: str, row: RunRow | None, due: Due | None, now: datetime) -> tuple[Cell, ...]:
    when_next = "–" if due is None or due.next is None else due.next.isoformat(sep=" ", timespec="minutes")
    return (
        Cell(text=clean(name), href=None if row is None else _href(row.run_id)),
        Cell(text="never" if row is None else "", badge=None if row is None else VERDICT_BADGES[Verdict(row.verdict)]),
        Cell(text="–" if row is None else age_words(row.started_utc, now) or "–"),
        Cell(text="–" if row is None else row.mode),
        Cell(text="not in this project" if due is None else "", badge=None if due is None else _DUE[due.state]),
        Cell(text=when_next),
        Cell(text="" if row is None else clean(row.sentence)),
    )


def _spent(made: Portfolio) -> dict[tuple[str, Spent], tuple[float, int]]:
    """By stack and SLO (its share left out): what the runs inside the SLO's window spent of its budget, and how many."""
    total: dict[tuple[str, Spent], tuple[float, int]] = {}
    for row in made.rows:
        began = instant(row.started_utc)
        for one in row.budgets:
            if began is None or not timedelta() <= made.now - began < timedelta(microseconds=one.window_ns / 1_000):
                continue
            slo = Spent(
                slo=one.slo,
                target_ratio=one.target_ratio,
                window_ns=one.window_ns,
                share_ratio=0.0,
                notional=one.notional,
            )
            share, runs = total.get((row.stack, slo), (0.0, 0))
            total[row.stack, slo] = (share + one.share_ratio, runs + 1)
    return total


def _budget(made: Portfolio) -> tuple[Block, ...]:
    spent = sorted(_spent(made).items(), key=lambda pair: (pair[0][0], pair[0][1].slo, pair[0][1].window_ns))
    rows = tuple(
        (
            Cell(text=clean(one.slo)),
            Cell(text=clean(stack)),
            Cell(text=f"{format_ratio(one.target_ratio)} over {format_duration(one.window_ns)}"),
            Cell(text=str(runs)),
            Cell(text=format_ratio(share)),
            Cell(text=format_duration(round(share * (1 - one.target_ratio) * one.window_ns / NS_PER_S) * NS_PER_S)),
            Cell(
                text="notional: no production traffic is declared"
                if one.notional
                else "projected to production traffic"
            ),
        )
        for (stack, one), (share, runs) in spent
    )
    columns = _columns("SLO", "Stack", "Target", "Runs", "Budget spent", "As full outage", "Basis")
    return (Table(caption="Share of each budget", columns=columns, rows=rows),) if rows else ()


def _coverage(made: Portfolio) -> tuple[Block, ...]:
    table = coverage_table(last_covered(covered_before(made.rows)), (), made.now, _href)
    return () if table is None else (table,)


def _trends(by_name: dict[str, list[RunRow]]) -> tuple[Block, ...]:
    taken: set[str] = set()
    blocks: list[Block] = []
    untimed = []
    for name in sorted(by_name):
        figure = _trend(name, by_name[name], slug(name, "trend", taken))
        if figure is None:
            untimed.append(clean(name))
        else:
            blocks.append(figure)
    if untimed:
        blocks.append(Note(lines=(f"Without a recovery time that is known: {', '.join(untimed)}.",)))
    return tuple(blocks)


def _trend(name: str, rows: Sequence[RunRow], anchor: str) -> Figure | None:
    newest = rows[-1]
    same = [row for row in rows if row.comparable == newest.comparable and row.stack == newest.stack][-_TREND:]
    runs = [
        ComparableRun(
            run_id=clean(row.run_id, 120),
            started_utc=clean(row.started_utc, 60),
            verdict=Verdict(row.verdict),
            recovery=_recovery(row),
        )
        for row in same
    ]
    limit = limit_ns(newest.limit_text)
    passed = sum(run.verdict is Verdict.PASS for run in runs)
    finding = f"{passed} of the last {plural(len(runs), 'comparable run')} passed."
    words = Words(name=anchor, title=f"Recovery time of {clean(name, 80)}", finding=finding)
    wide, narrow = trend_strip(runs, limit, words, WIDE), trend_strip(runs, limit, words, NARROW)
    if wide is None or narrow is None:
        return None
    table = Table(
        caption="Oldest first",
        columns=_columns("Run", "Started", "Recovery", "Verdict"),
        rows=tuple(
            (
                Cell(text=run.run_id, href=_href(run.run_id)),
                Cell(text=when(run.started_utc)),
                Cell(text="unknown" if run.recovery is None else point_text(run.recovery)),
                Cell(text="", badge=VERDICT_BADGES[run.verdict]),
            )
            for run in runs
        ),
    )
    return Figure(
        anchor=anchor, title=clean(name, 80), finding=finding, picture=Picture(wide=wide, narrow=narrow), table=table
    )
