"""The page of `drill serve`: what is under way, what is due, what was carried out, and its few forms. Pure: facts to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from harness.drill.coverage import age_words
from harness.drill.desk import Asked
from harness.drill.schedule import Due
from harness.model.drill_result import Approval
from harness.model.verdict import Verdict
from harness.report.html import render_template
from harness.report.numbers import when
from harness.report.page import Badge, Cell, Column, Table
from harness.report.text import clean, clean_block
from harness.report.words import VERDICT_BADGES
from harness.store.index import RunRow
from harness.units import format_duration

__all__ = ["Board", "DrillLine", "Live", "render_asked", "render_board", "render_live"]

_STATES = {
    "on time": Badge(word="on time", sign="✓", tone="pass"),
    "overdue": Badge(word="overdue", sign="✕", tone="fail"),
    "never": Badge(word="never carried out", sign="?", tone="warn"),
    "unscheduled": Badge(word="no schedule", sign="–", tone="info"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What goes on. `run_id` None: a drill between its experiments, or one that the runner has just started.

    `halting`: it was asked to stop. `lines` are the last that it said.
    """

    name: str
    run_id: str | None
    state: str
    lines: tuple[str, ...] = ()
    halting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillLine:
    """A drill of the project: how it stands, and who approved its plan as it is now. `problem`: why it cannot be planned."""

    name: str
    title: str
    due: Due | None = None
    plan_hash: str = ""
    plan: str = ""
    required: int = 0
    approvals: tuple[Approval, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All that the page shows. `key` is what a form must give back; `starts_due`: drills are started when they are due.

    `asked`: the human step that waits for its answer.
    """

    now: datetime
    key: str
    live: tuple[Live, ...] = ()
    drills: tuple[DrillLine, ...] = ()
    rows: tuple[RunRow, ...] = ()
    starts_due: bool = False
    asked: Asked | None = None
    said: str = ""


def render_board(board: Board) -> str:
    """The whole page: works without script; with it, what is under way is read again every two seconds."""
    return render_template("board.html.j2", forms=True, **_values(board))


def render_live(board: Board) -> str:
    """What is under way alone, as it stands inside the page."""
    return render_template("live.html.j2", forms=True, **_values(board))


def render_asked(board: Board) -> str:
    """The question alone, as it stands inside the page: the same text for as long as it is asked."""
    return render_template("asked.html.j2", forms=True, **_values(board))


def _values(board: Board) -> dict[str, object]:
    return {
        "now": when(board.now.isoformat()),
        "key": board.key,
        "said": clean(board.said, 400),
        "starts_due": board.starts_due,
        "asked": None if board.asked is None else _asked(board.asked),
        "live": [
            {
                "name": clean(one.name, 120),
                "run_id": one.run_id,
                "state": clean(one.state, 200),
                "lines": clean_block("\n".join(one.lines), 4_000, 12),
                "halting": one.halting,
            }
            for one in board.live
        ],
        "drills": [_drill(one) for one in board.drills],
        "history": _history(board.rows, board.now),
    }


def _asked(asked: Asked) -> dict[str, object]:
    expect_ns = asked.question.expect_ns
    return {
        "number": asked.number,
        "drill": clean(asked.drill, 120),
        "step": clean(asked.question.step, 120),
        "who": clean(asked.question.who, 120),
        "lines": clean_block("\n".join(asked.question.lines), 8_000, 60, head=True),
        "since": when(asked.asked_utc),
        "since_utc": asked.asked_utc,
        "expect": "" if expect_ns is None else format_duration(expect_ns),
    }


def _drill(one: DrillLine) -> dict[str, object]:
    due = one.due
    return {
        "name": clean(one.name, 120),
        "anchor": quote(one.name, safe=""),
        "title": clean(one.title, 200),
        "problem": clean_block(one.problem, 2_000, 12),
        "state": None if due is None else _STATES[due.state],
        "next": "" if due is None or due.next is None else due.next.isoformat(sep=" ", timespec="minutes"),
        "plan_hash": one.plan_hash,
        "plan": clean_block(one.plan, 20_000, 200, head=True),
        "required": one.required,
        "people": len({given.by for given in one.approvals}),
        "approvals": [
            f"{clean(given.by, 80)}, {when(given.at_utc)}{f': {clean(given.note, 200)}' if given.note else ''}"
            for given in one.approvals
        ],
    }


def _history(rows: Sequence[RunRow], now: datetime) -> Table:
    """The newest runs and drills, newest first."""
    heads = ("Run", "Kind", "Verdict", "When", "In words")
    return Table(
        caption="Newest first; each leads to its report",
        columns=tuple(Column(head=head) for head in heads),
        rows=tuple(
            (
                Cell(text=clean(row.run_id, 120), href=f"/reports/{quote(row.run_id, safe='')}"),
                Cell(text=row.kind if not row.mode else f"{row.kind}, {clean(row.mode, 20)}"),
                Cell(text="", badge=VERDICT_BADGES[Verdict(row.verdict)]),
                Cell(text=age_words(row.started_utc, now)),
                Cell(text=clean(row.sentence, 300)),
            )
            for row in reversed(rows[-20:])
        ),
    )
