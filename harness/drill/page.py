"""`report.html` of a drill: verdict, steps with their times, links to the experiments' reports, merged findings. Words only."""

from __future__ import annotations

from dataclasses import dataclass

from harness.model.drill_result import DrillResult, DrillStepResult
from harness.report.html import render_template
from harness.report.page import Badge, Block, Cell, Column, Note, Pre, Section, Table
from harness.report.text import clean, clean_block
from harness.report.words import SEVERITY_BADGES, STATUS_BADGES, VERDICT_BADGES, slug
from harness.units import format_duration

__all__ = ["Link", "drill_sections", "render_drill_html"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A run of an experiment, and where its report stands, seen from the drill's."""

    badge: Badge
    href: str
    run_id: str
    sentence: str


def render_drill_html(result: DrillResult) -> str:
    """One page: offline, readable without CSS and JavaScript, the same text for the same input."""
    run = result.run
    links = [
        Link(
            badge=VERDICT_BADGES[one.verdict],
            href=f"../{one.run_id}/report.html",
            run_id=one.run_id,
            sentence=clean(one.sentence),
        )
        for step in result.steps
        for one in step.runs
        if one.run_id is not None
    ]
    facts = (
        f"{run.mode} ({run.exercise})",
        f"owner {clean(run.owner)}",
        f"{run.started_utc}, {format_duration(run.duration_ns)}",
        f"plan {run.plan_hash[:12]}",
        f"{run.run_id}, Blackstart {run.version}",
    )
    return render_template(
        "drill.html.j2",
        verdict=VERDICT_BADGES[result.verdict],
        name=clean(run.name),
        run_id=run.run_id,
        title=clean(run.title),
        sentence=clean(result.sentence),
        facts=facts,
        sections=drill_sections(result),
        links=links,
    )


def drill_sections(result: DrillResult) -> tuple[Section, ...]:
    """The parts of the page, in order."""
    return (
        Section(anchor="steps", title="Steps", lead="", blocks=_steps(result)),
        Section(anchor="objectives", title="Objectives", lead="", blocks=_objectives(result)),
        Section(anchor="findings", title="Findings", lead="", blocks=_findings(result)),
        Section(anchor="comms", title="Status updates", lead=_comms_lead(result), blocks=_updates(result)),
        Section(anchor="approvals", title="Approvals", lead="", blocks=_approvals(result)),
        Section(
            anchor="not-shown",
            title="What this drill does not show",
            lead="",
            blocks=tuple(Note(lines=(clean(line),)) for line in result.not_shown),
        ),
    )


def _cell(text: str, badge: Badge | None = None) -> Cell:
    return Cell(text=clean(text), badge=badge)


def _columns(*heads: str) -> tuple[Column, ...]:
    return tuple(Column(head=head) for head in heads)


def _steps(result: DrillResult) -> tuple[Block, ...]:
    taken: set[str] = set()
    rows = tuple(_step_row(step, taken) for step in result.steps)
    table = Table(
        caption="Every step in order",
        columns=_columns("step", "what", "who", "came to", "begun at", "took", "expected", "note"),
        rows=rows,
    )
    printed = tuple(
        Pre(title=f"What {clean(step.id)} printed", text=clean_block(step.output))
        for step in result.steps
        if step.output
    )
    return (table, *printed)


def _step_row(step: DrillStepResult, taken: set[str]) -> tuple[Cell, ...]:
    began = "" if step.started_ns is None else f"T+{format_duration(step.started_ns)}"
    lasted = None if step.started_ns is None or step.ended_ns is None else step.ended_ns - step.started_ns
    late = lasted is not None and step.expect_ns is not None and lasted > step.expect_ns
    notes = [step.note, "flaky" if step.flaky else "", "slower than expected" if late else ""]
    if step.found is not None:
        notes.append(f"highest passing: {step.found}")
    by = f" (said by {step.by})" if step.by and step.kind != "experiment" else ""
    return (
        Cell(text=clean(step.id), anchor=slug(step.id, "step", taken)),
        _cell(step.text),
        _cell(step.who or ""),
        _cell(f"{step.outcome}{by}", VERDICT_BADGES[step.verdict]),
        _cell(began),
        _cell("" if lasted is None else format_duration(lasted)),
        _cell("" if step.expect_ns is None else format_duration(step.expect_ns)),
        _cell("; ".join(note for note in notes if note)),
    )


def _objectives(result: DrillResult) -> tuple[Block, ...]:
    if not result.objectives:
        return ()
    rows = tuple(
        (_cell(one.text), _cell("", STATUS_BADGES[one.status]), _cell(one.observed)) for one in result.objectives
    )
    return (Table(caption="Over the whole drill", columns=_columns("objective", "status", "observed"), rows=rows),)


def _findings(result: DrillResult) -> tuple[Block, ...]:
    if not result.findings:
        return ()
    taken: set[str] = set()
    rows = tuple(
        (
            Cell(text=one.number, anchor=slug(one.number, "finding", taken)),
            _cell("", SEVERITY_BADGES[one.severity]),
            _cell(one.text),
            _cell(one.owner),
            _cell(f"{one.due}{' (overdue)' if one.overdue else ''}"),
            _cell(one.state),
            _cell(one.first_run),
        )
        for one in result.findings
    )
    columns = _columns("finding", "severity", "what", "owner", "due", "state", "first seen in")
    return (Table(caption="Of this drill, and still open from earlier ones", columns=columns, rows=rows),)


def _comms_lead(result: DrillResult) -> str:
    if result.first_update_ns is None:
        return ""
    gap = "" if result.longest_gap_ns is None else f", at most {format_duration(result.longest_gap_ns)} between two"
    return f"The first update followed the first fault after {format_duration(result.first_update_ns)} at most{gap}."


def _updates(result: DrillResult) -> tuple[Block, ...]:
    if not result.updates:
        return ()
    rows = tuple(
        (
            _cell(str(one.number)),
            _cell(f"T+{format_duration(one.at_ns)}"),
            _cell(one.status),
            _cell(one.by),
            _cell(", ".join(one.files)),
            _cell(
                "; ".join(f"{post.host}: {'taken' if post.ok else post.error}" for post in one.posted) or "outbox only"
            ),
        )
        for one in result.updates
    )
    columns = _columns("number", "at", "status", "by", "wordings", "posted to")
    return (Table(caption="Updates", columns=columns, rows=rows),)


def _approvals(result: DrillResult) -> tuple[Block, ...]:
    if not result.approvals:
        return ()
    rows = tuple((_cell(one.by), _cell(one.at_utc), _cell(one.note)) for one in result.approvals)
    return (Table(caption="As given, not verified", columns=_columns("who", "when", "note"), rows=rows),)
