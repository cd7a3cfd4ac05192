"""Page one, built from a cleaned result: verdict, tiles, ribbon, what it means, objectives, findings, trend, footer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from harness.model.gate import FRESH_NS
from harness.model.result import Finding, ObjectiveResult, Reason, Result
from harness.model.verdict import Status, Verdict
from harness.report import tiles, words
from harness.report.charts import good_shares, ribbon
from harness.report.extras import ComparableRun, ReportExtras
from harness.report.figures import trend_strip
from harness.report.frame import NARROW, WIDE, Words
from harness.report.meaning import means, not_shown, touched
from harness.report.numbers import limit_ns, percent, point_text, when
from harness.report.page import Because, Cell, Column, Figure, FindingLine, Front, ObjectiveLine, Picture, Table
from harness.report.scene import Scene
from harness.report.series import chunks
from harness.report.text import plural
from harness.units import format_duration

__all__ = ["MOST_FINDINGS", "MOST_OBJECTIVES", "build_front", "finding_lines", "objective_lines", "unjudged"]

MOST_OBJECTIVES = 10
MOST_FINDINGS = 3
MOST_REASONS = 3
MOST_LOST = 3
_DUE = "; a request counts at the moment it was due, so those under way then are harmed before it."
_ORDER = {Status.MISSED: 0, Status.UNKNOWN: 1, Status.MET: 2}
_SEVERITY = {"high": 0, "medium": 1, "low": 2, "strength": 3}


def short(text: str, most: int = 260) -> str:
    """`text` at a length that page one can bear; the whole is under Evidence."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def margin_words(objective: ObjectiveResult) -> str:
    """ "12 % left", "missed by 30 %", "–"."""
    ratio = objective.margin_ratio
    if ratio is None or objective.status is Status.UNKNOWN:
        return "–"
    if ratio < 0:
        return f"missed by {percent(-ratio)}" if ratio > -10 else f"{-ratio + 1:.0f} times the limit"
    return f"{percent(ratio)} left"


def objective_lines(result: Result) -> tuple[ObjectiveLine, ...]:
    """Every objective and check as a line, missed first, then unknown, then met; in the document's order within."""
    taken: set[str] = set()
    lines = [(_ORDER[objective.status], _objective_line(objective, taken)) for objective in result.objectives]
    return tuple(line for _, line in sorted(lines, key=lambda pair: pair[0]))


def _objective_line(objective: ObjectiveResult, taken: set[str]) -> ObjectiveLine:
    place = objective.file or ""
    return ObjectiveLine(
        anchor=words.slug(objective.text, "obj", taken),
        label=words.measure_label(objective.measure, objective.kind),
        text=objective.text,
        limit=objective.limit,
        observed=objective.observed,
        margin=margin_words(objective),
        badge=words.STATUS_BADGES[objective.status],
        why=objective.why,
        kind=objective.kind,
        place=f"{place}:{objective.line}" if place and objective.line is not None else place,
        evidence=tuple(row.text for row in objective.evidence[:12]),
    )


def front_objectives(lines: Sequence[ObjectiveLine]) -> tuple[ObjectiveLine, ...]:
    """The lines for page one: data checks that hold share one, limits are written as people write them."""
    held = [line for line in lines if line.kind == "check" and line.badge.tone == "pass"]
    rest = [line for line in lines if line not in held] if len(held) > 1 else list(lines)
    shown = [
        replace(
            line,
            label=short(line.label, 80),
            limit=short(line.limit, 60).replace("<=", "≤").replace(">=", "≥"),
            observed=short(line.observed, 90 if line.kind == "check" else 140),
            why=short(line.why, 140),
        )
        for line in rest
    ]
    if len(held) > 1:
        names = ", ".join(line.text for line in held)
        shown.append(
            replace(held[0], label=f"Data: {names}", limit="hold", observed=f"{len(held)} of {len(held)} valid")
        )
    return tuple(shown)


def _sentence_case(text: str) -> str:
    """`text` with a capital, unless it begins with a name (`data_loss`, `exactly-once`)."""
    return text[:1].upper() + text[1:] if re.match("[a-z]+ ", text) else text


def finding_lines(findings: Sequence[Finding]) -> tuple[FindingLine, ...]:
    """Findings numbered F1, F2, ... from the most severe."""
    ranked = sorted(findings, key=lambda finding: _SEVERITY[finding.severity])
    return tuple(
        FindingLine(
            anchor=f"finding-F{place}",
            number=f"F{place}",
            badge=words.SEVERITY_BADGES[finding.severity],
            text=_sentence_case(finding.text),
        )
        for place, finding in enumerate(ranked, 1)
    )


def _reasons(result: Result) -> tuple[tuple[Because, ...], tuple[str, ...]]:
    """The verdict's own reasons, and what to do about them, each once. A DIRTY run's missed objectives are told too."""
    telling = (result.verdict, Verdict.FAIL) if result.verdict is Verdict.DIRTY else (result.verdict,)
    shown = [reason for verdict in telling for reason in result.reasons if reason.verdict is verdict]
    if not shown and result.verdict not in (Verdict.PASS, Verdict.FAIL):
        shown = [Reason(verdict=result.verdict, code="", text=result.sentence or words.MEANING[result.verdict])]
    told = [Because(code=short(reason.code, 40), text=short(reason.text, 520)) for reason in shown[:MOST_REASONS]]
    more = len(shown) - MOST_REASONS
    if more > 0:
        told.append(Because(code="", text=f"{more} more of the kind: see Objectives in full and result.json."))
    told += _lost(result)
    advice = dict.fromkeys(words.todo(reason) for reason in shown[:MOST_REASONS])
    return tuple(told), tuple(one for one in advice if one)


def _lost(result: Result) -> list[Because]:
    """The first lost writes by name, so that somebody can look one up at once. Empty when none is lost."""
    names = [write.value or f"op {write.op}" for write in result.measures.loss.writes]
    if not names:
        return []
    more = f" and {len(names) - MOST_LOST:,} more" if len(names) > MOST_LOST else ""
    shown = ", ".join(short(name, 40) for name in names[:MOST_LOST])
    return [Because(code="", text=f"Lost: {shown}{more}. All are under “Data”, with when each was acknowledged.")]


def _ribbon(result: Result, scene: Scene) -> Figure | None:
    series = result.series
    name = Words(name="ribbon", title="What users saw", finding=_ribbon_finding(result, scene))
    wide, narrow = ribbon(scene, series, name, WIDE), ribbon(scene, series, name, NARROW)
    if wide is None or narrow is None:
        return None
    rows = []
    for group in chunks(len(series.t_ns), 40):
        offered = sum(series.offered[place] for place in group)
        good = sum(series.good[place] for place in group)
        share = percent(good / offered) if offered else "–"
        rows.append(
            (
                Cell(text=scene.at(series.t_ns[group[0]])),
                Cell(text=f"{offered:,}"),
                Cell(text=f"{good:,}"),
                Cell(text=share),
            )
        )
    table = Table(
        caption="Offered and good operations over time",
        columns=(
            Column(head="From"),
            Column(head="Offered", numeric=True),
            Column(head="Good", numeric=True),
            Column(head="Good share", numeric=True),
        ),
        rows=tuple(rows),
    )
    return Figure(
        anchor="what-users-saw",
        title="What users saw",
        finding=name.finding,
        picture=Picture(wide=wide, narrow=narrow),
        table=table,
    )


def _ribbon_finding(result: Result, scene: Scene) -> str:
    shares = [share for share in good_shares(result.series) if share is not None]
    low = f"the lowest moment was {percent(min(shares))} good" if shares else "no traffic was recorded"
    recovery = result.measures.recovery
    if recovery.state == "recovered" and recovery.interval is not None:
        return f"Service was disrupted and back after {point_text(recovery.interval)}; {low}. {scene.zero_words}{_DUE}"
    if recovery.state == "censored":
        return f"Service was disrupted and did not recover while watched; {low}. {scene.zero_words}{_DUE}"
    if recovery.state == "none":
        return f"No disruption by the recovery rule; {low}. {scene.zero_words}."
    return f"{low[:1].upper()}{low[1:]}. {scene.zero_words}."


def recovery_limit_ns(result: Result) -> int | None:
    """The limit of the plain recovery objective, when there is one."""
    return next(
        (limit_ns(objective.text) for objective in result.objectives if objective.measure == "recovery_time"),
        None,
    )


def _trend(result: Result, extras: ReportExtras) -> tuple[Figure | None, str]:
    earlier = extras.comparable[-11:]
    if not earlier:
        return None, "No earlier comparable run is stored yet. One run is one sample: repeat it on a schedule."
    recovery = result.measures.recovery
    this = ComparableRun(
        run_id=result.run.run_id,
        started_utc=result.run.started_utc,
        verdict=result.verdict,
        recovery=recovery.interval if recovery.state in ("recovered", "none", "censored") else None,
    )
    runs = [run for run in earlier if run.run_id != this.run_id] + [this]
    passed = sum(run.verdict is Verdict.PASS for run in runs)
    note = f"{passed} of the last {len(runs)} comparable runs passed, this one included."
    if passed == len(runs):
        note += (
            f" A true failure rate of up to {percent(1 - 0.05 ** (1 / passed))} is still possible (95 % confidence)."
        )
    limit = recovery_limit_ns(result)
    name = Words(name="trend", title="Recovery time of comparable runs", finding=note)
    wide, narrow = trend_strip(runs, limit, name, WIDE), trend_strip(runs, limit, name, NARROW)
    if wide is None or narrow is None:
        return None, note
    rows = tuple(
        (
            Cell(text=run.run_id, code=True),
            Cell(text=when(run.started_utc)),
            Cell(text="–" if run.recovery is None else point_text(run.recovery)),
            Cell(text="", badge=words.VERDICT_BADGES[run.verdict]),
        )
        for run in runs
    )
    columns = (
        Column(head="Run"),
        Column(head="Started"),
        Column(head="Recovery", numeric=True),
        Column(head="Verdict"),
    )
    table = Table(caption="Comparable runs, oldest first", columns=columns, rows=rows)
    picture = Picture(wide=wide, narrow=narrow)
    return Figure(anchor="trend", title="Comparable runs", finding=note, picture=picture, table=table), note


def _fresh_note(result: Result, note: str) -> str:
    until = expires(result)
    if result.verdict is Verdict.REFUSED:
        return "A refused run is no sample, and proves nothing that a gate would count."
    if until is None:
        return note
    return f"{note} This pass expires on {until}: it is fresh for {format_duration(FRESH_NS)}, unless a gate says otherwise."


def _footer(result: Result, extras: ReportExtras) -> tuple[str, ...]:
    run, safety = result.run, result.safety
    applied = [fault for fault in result.faults if fault.effect is not None]
    verified, every = sum(fault.verified for fault in applied), len(applied)
    if safety.journaled:
        verified, every = safety.verified, safety.journaled
    proof = f"{verified} of {every} faults proven reverted" if every else "no fault was applied, nothing to revert"
    clean = not (safety.unresolved or safety.residue) and verified >= every
    left = "nothing left behind" if clean and result.verdict is not Verdict.ERROR else "not proven that nothing is left"
    parts = [
        f"run {run.run_id}",
        f"plan {run.plan_hash[:12]}",
        f"seed {run.seed}",
        f"blackstart {run.version}",
        proof,
        left,
    ]
    if extras.manifest_hash:
        parts.insert(2, f"manifest {extras.manifest_hash[:12]}")
    if run.owner:
        parts.append(f"owner {run.owner}")
    return tuple(parts)


def expires(result: Result) -> str | None:
    """The day until which a PASS is fresh evidence, as gates count unless they say otherwise; None for what is no PASS."""
    if result.verdict is not Verdict.PASS:
        return None
    try:
        began = datetime.fromisoformat(result.run.started_utc)
    except ValueError:
        return None  # of an older or foreign record
    return when((began + timedelta(microseconds=FRESH_NS / 1_000)).isoformat()).split(",")[0]


def _facts(result: Result) -> tuple[str, ...]:
    run = result.run
    until = expires(result)
    facts = (
        short(run.name, 60),
        f"stack {short(run.stack, 60)} ({short(run.environment, 40)})",
        when(run.started_utc),
        f"lasted {format_duration(run.duration_ns)}",
        f"load {short(run.load, 80)}" if run.load else f"profile {short(run.profile, 60)}",
    )
    return facts if until is None else (*facts, f"expires on {until}")


def _commands(result: Result) -> tuple[str, ...]:
    """The first commands, each whole: half a command is worse than none."""
    commands = result.safety.commands
    shown = tuple(command for command in commands[:4] if len(command) <= 400)
    return shown if len(shown) == len(commands) else (*shown, "# the rest: see Safety under Evidence")


def _kicker(result: Result) -> str:
    """The title, unless the sentence begins with it."""
    title = result.run.title or result.run.name
    return "" if result.sentence.startswith(title) else short(title, 120)


def unjudged(result: Result, count: int) -> str:
    """Of a run that judges nothing: one line in the place of headline figures and objectives, which would all be unknown."""
    stated = plural(count, "objective")
    if result.verdict is Verdict.REFUSED and not any(fault.effect for fault in result.faults):
        return f"None of {stated} was put to the test: nothing was broken"
    return f"None of {stated} is judged: the verdict is void" if result.verdict is Verdict.ERROR else ""


def build_front(result: Result, extras: ReportExtras, scene: Scene) -> Front:
    """Page one of a cleaned result."""
    lines = front_objectives(objective_lines(result))
    reasons, advice = _reasons(result)
    told = {_sentence_case(reason.text) for reason in result.reasons} if reasons else set()
    told |= set(result.run.banners)
    void = unjudged(result, len(lines))
    findings = [line for line in finding_lines(result.findings) if line.text not in told]
    trend, note = _trend(result, extras)
    more = len(lines) - MOST_OBJECTIVES
    hidden = len(result.findings) - min(len(findings), MOST_FINDINGS)
    return Front(
        verdict=words.VERDICT_BADGES[result.verdict],
        title=_kicker(result),
        sentence=short(result.sentence or words.MEANING[result.verdict]),
        facts=_facts(result),
        banners=tuple(short(banner, 160) for banner in result.run.banners[:3]),
        meaning=words.MEANING[result.verdict],
        reasons=reasons,
        touched=touched(result),
        advice=advice,
        commands=_commands(result),
        tiles=() if void else tiles.build_tiles(result, recovery_limit_ns(result)),
        ribbon=_ribbon(result, scene),
        means=tuple(short(sentence) for sentence in means(result)),
        not_shown=() if void else tuple(short(sentence) for sentence in not_shown(result)),
        objectives=() if void else lines[:MOST_OBJECTIVES],
        objectives_more=void or (f"{more} more under Objectives in full" if more > 0 else ""),
        findings=tuple(replace(line, text=short(line.text)) for line in findings[:MOST_FINDINGS]),
        findings_more=f"all {len(result.findings)} in full" if hidden > 0 else "",
        trend=trend,
        trend_note=_fresh_note(result, note),
        footer=_footer(result, extras),
    )
