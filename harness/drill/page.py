"""`report.html` of a drill: verdict, headline figures, experiments, findings, coverage, steps with their times. Words only."""

from __future__ import annotations

from urllib.parse import quote

from harness.drill.coverage import coverage_table, instant
from harness.drill.steps_chart import steps_figure
from harness.model.control import Controls
from harness.model.drill_result import DrillResult, DrillRun, DrillStepResult
from harness.model.verdict import Status
from harness.report.controls import controls_part
from harness.report.html import render_sheet
from harness.report.numbers import limit_words, percent, when
from harness.report.page import Badge, Block, Cell, Column, Note, Pre, Section, Sheet, Table, Tile
from harness.report.text import clean, clean_block, plural
from harness.report.words import SEVERITY_BADGES, STATUS_BADGES, VERDICT_BADGES, slug
from harness.units import NS_PER_S, format_duration

__all__ = ["drill_sections", "found", "render_drill_html", "took"]


def render_drill_html(result: DrillResult, controls: Controls | None = None) -> str:
    """One page: offline, readable without CSS and JavaScript, the same text for the same input."""
    run = result.run
    facts = (
        f"{run.mode} ({run.exercise})",
        f"owner {clean(run.owner)}",
        f"{when(run.started_utc)}, {format_duration(run.duration_ns)}",
        f"plan {run.plan_hash[:12]}",
        f"{run.run_id}, Blackstart {run.version}",
    )
    verdict = VERDICT_BADGES[result.verdict]
    return render_sheet(
        Sheet(
            name=f"{verdict.word}: {clean(run.name)} ({run.run_id})",
            verdict=verdict,
            kicker=clean(run.title),
            sentence=clean(result.sentence),
            facts=facts,
            tiles=_tiles(result),
            sections=drill_sections(result, controls),
        )
    )


def drill_sections(result: DrillResult, controls: Controls | None = None) -> tuple[Section, ...]:
    """The parts of the page, in order: what managers ask first, then what happened."""
    not_shown = tuple(Note(lines=(clean(line),)) for line in result.not_shown)
    sections = (
        Section(anchor="runs", title="Experiments", lead=_runs_lead(result), blocks=_runs(result)),
        Section(anchor="findings", title="Findings", lead="", blocks=_findings(result)),
        Section(anchor="coverage", title="Coverage", lead=_coverage_lead(result), blocks=_coverage(result)),
        Section(anchor="not-shown", title="What this drill does not show", lead="", blocks=not_shown),
        Section(anchor="steps", title="Steps", lead="", blocks=_steps(result)),
        Section(anchor="objectives", title="Objectives", lead="", blocks=_objectives(result)),
        Section(anchor="comms", title="Status updates", lead=_comms_lead(result), blocks=_updates(result)),
        Section(anchor="approvals", title="Approvals", lead="", blocks=_approvals(result)),
        controls_part(_evidence(result), controls),
    )
    return tuple(section for section in sections if section is not None)


# ---- page one --------------------------------------------------------------------------------------------------------


def _all_runs(result: DrillResult) -> list[tuple[DrillStepResult, DrillRun]]:
    return [(step, run) for step in result.steps for run in step.runs]


def _tiles(result: DrillResult) -> tuple[Tile, ...]:
    runs = [run for _, run in _all_runs(result)]
    people = [step for step in result.steps if step.kind != "experiment"]
    done = sum(step.outcome == "done" for step in people)
    left = [one for one in result.findings if one.state != "retested"]
    overdue, high = sum(one.overdue for one in left), sum(one.severity == "high" for one in left)
    return (
        Tile(
            key="steps",
            label="Steps of people",
            value=f"{done} of {len(people)}",
            figure="done",
            lines=tuple(f"{step.id}: {step.outcome}" for step in people if step.outcome != "done")[:3],
        ),
        _recovery_tile(runs),
        _data_tile(runs),
        Tile(
            key="findings",
            label="Findings to act on",
            value=str(len(left)),
            figure=f"{overdue} overdue" if overdue else "",
            lines=(f"{high} of high severity" if high else "None of high severity",) if left else (),
        ),
    )


def _recovery_tile(runs: list[DrillRun]) -> Tile:
    timed = [run for run in runs if run.recovery_ratio is not None]
    if not timed:
        why = "No run has a recovery time with a limit" if runs else "No experiment was run"
        return Tile(key="recovery", label="Recovery time", value="unknown", lines=(why,))
    worst = max(timed, key=lambda run: run.recovery_ratio or 0.0)
    tone = STATUS_BADGES[Status.MET if (worst.recovery_ratio or 0) <= 1 else Status.MISSED]
    return Tile(
        key="recovery",
        label="Worst recovery",
        value=clean(worst.recovery, 40),
        badge=tone,
        lines=(f"{percent(worst.recovery_ratio or 0)} of its limit ({limit_words(clean(worst.limit, 40))})",),
    )


def _data_tile(runs: list[DrillRun]) -> Tile:
    known = [run.lost for run in runs if run.lost is not None]
    harmed = sum(run.harmed or 0 for run in runs)
    lines: tuple[str, ...] = (f"{harmed:,} requests harmed in all",) if runs else ("No experiment was run",)
    if not known:
        lines += ("No run read its writes back",) if runs else ()
        return Tile(key="data", label="Writes lost", value="not checked", lines=lines)
    if len(known) < len(runs):
        lines += (f"Not known for {plural(len(runs) - len(known), 'run')}",)
    badge = STATUS_BADGES[Status.MET] if not sum(known) and len(known) == len(runs) else None
    return Tile(key="data", label="Writes lost", value=f"{sum(known):,}", badge=badge, lines=lines)


def _runs_lead(result: DrillResult) -> str:
    if result.run.mode == "tabletop":
        return "None was run: a tabletop is talked through."
    return "" if _all_runs(result) else "No experiment was run."


def _runs(result: DrillResult) -> tuple[Block, ...]:
    rows = tuple(
        (
            Cell(
                text=f"{clean(step.id)}{'' if run.value is None else f' with {clean(run.value)}'}",
                href=None if run.run_id is None else _href(run.run_id),
            ),
            _cell("", VERDICT_BADGES[run.verdict]),
            _cell(run.recovery if run.run_id else "–"),
            _cell(limit_words(run.limit) or "–"),
            _cell("–" if run.harmed is None else f"{run.harmed:,}"),
            _cell(run.budget or "–"),
            _cell("not read back" if run.lost is None else f"{run.lost:,}"),
            _cell(run.sentence),
        )
        for step, run in _all_runs(result)
    )
    if not rows:
        return ()
    columns = _columns(
        "Experiment",
        "Verdict",
        "Recovery",
        "Limit",
        "Requests harmed",
        "Budget",
        "Writes lost",
        "In words",
    )
    return (Table(caption="Each leads to its own report", columns=columns, rows=rows),)


def _coverage_lead(result: DrillResult) -> str:
    return (
        "The last run of each kind of failure in each service, this drill's and all that are stored beside it."
        if result.coverage
        else "No run that is stored here caused a failure."
    )


def _coverage(result: DrillResult) -> tuple[Block, ...]:
    now = instant(result.run.started_utc)
    table = coverage_table(result.coverage, result.services, now, _href)
    return () if table is None else (table,)


def _evidence(result: DrillResult) -> set[str]:
    """The sorts of evidence that the drill holds: its runs', and its own."""
    kinds = {kind for _, run in _all_runs(result) for kind in run.evidence}
    if any(step.kind in ("ask", "runbook") and step.outcome in ("done", "failed") for step in result.steps):
        kinds.add("people")
    if result.run.mode != "tabletop" and result.first_update_ns is not None:
        kinds.add("communication")
    return kinds | {"findings", "report"} if kinds else kinds


# ---- evidence --------------------------------------------------------------------------------------------------------


def _href(run_id: str) -> str:
    return f"../{quote(run_id)}/report.html"


def _cell(text: str, badge: Badge | None = None) -> Cell:
    return Cell(text=clean(text), badge=badge)


def _columns(*heads: str) -> tuple[Column, ...]:
    return tuple(Column(head=head) for head in heads)


def _steps(result: DrillResult) -> tuple[Block, ...]:
    taken: set[str] = set()
    rows = tuple(_step_row(step, taken) for step in result.steps)
    table = Table(
        caption="Every step in order",
        columns=_columns("Step", "What", "Who", "Came to", "Begun at", "Took", "Expected", "Note"),
        rows=rows,
    )
    printed = tuple(
        Pre(title=f"What {clean(step.id)} printed", text=clean_block(step.output))
        for step in result.steps
        if step.output
    )
    figure = steps_figure(result)
    return (table, *([] if figure is None else [figure]), *printed)


def _step_row(step: DrillStepResult, taken: set[str]) -> tuple[Cell, ...]:
    began = "" if step.started_ns is None else f"T+{format_duration(step.started_ns)}"
    lasted = None if step.started_ns is None or step.ended_ns is None else step.ended_ns - step.started_ns
    late = lasted is not None and step.expect_ns is not None and lasted > step.expect_ns
    notes = [step.note, "flaky" if step.flaky else "", "slower than expected" if late else "", found(step)]
    by = f" (said by {step.by})" if step.by and step.kind != "experiment" else ""
    return (
        Cell(text=clean(step.id), anchor=slug(step.id, "step", taken)),
        _cell(step.text),
        _cell(step.who or ""),
        _cell(f"{step.outcome}{by}", VERDICT_BADGES[step.verdict]),
        _cell(began),
        _cell(took(step)),
        _cell("" if step.expect_ns is None else format_duration(step.expect_ns)),
        _cell("; ".join(note for note in notes if note)),
    )


def found(step: DrillStepResult) -> str:
    """What a sweep looked for, in words; empty for other steps, and when no value passed."""
    return "" if step.found is None else f"highest passing: {step.found}"


def took(step: DrillStepResult) -> str:
    """How long a step took, in words; empty when it was not carried out. Only runs are told in parts of a second."""
    if step.started_ns is None or step.ended_ns is None:
        return ""
    lasted = step.ended_ns - step.started_ns
    return "under 1 s" if not step.runs and lasted < NS_PER_S else format_duration(lasted)


def _objectives(result: DrillResult) -> tuple[Block, ...]:
    if not result.objectives:
        return ()
    rows = tuple(
        (_cell(one.text), _cell("", STATUS_BADGES[one.status]), _cell(one.observed)) for one in result.objectives
    )
    return (Table(caption="Over the whole drill", columns=_columns("Objective", "Status", "Observed"), rows=rows),)


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
    columns = _columns("Finding", "Severity", "What", "Owner", "Due", "State", "First seen in")
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
    columns = _columns("Number", "At", "Status", "By", "Wordings", "Posted to")
    return (Table(caption="Updates", columns=columns, rows=rows),)


def _approvals(result: DrillResult) -> tuple[Block, ...]:
    if not result.approvals:
        return ()
    rows = tuple((_cell(one.by), _cell(one.at_utc), _cell(one.note)) for one in result.approvals)
    return (Table(caption="As given, not verified", columns=_columns("Who", "When", "Note"), rows=rows),)
