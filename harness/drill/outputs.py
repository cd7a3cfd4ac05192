"""Every file that a drill's result is rendered to: summary.md, junit.xml, postmortem.md and .json. The page is in `page`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from harness.drill.page import render_drill_html, took
from harness.errors import HarnessBug
from harness.model.control import Controls
from harness.model.drill_result import DrillResult, DrillStepResult
from harness.model.verdict import Status, Verdict
from harness.report.junit import Suite
from harness.report.markdown import MOST_ANNOTATIONS, annotation
from harness.report.text import clean, clean_block, html_free_markdown
from harness.units import NS_PER_S, format_duration

__all__ = ["dump_drill_result", "outputs_of", "render_drill_annotations"]


def dump_drill_result(result: DrillResult) -> str:
    """The result as JSON: keys sorted, one top-level member per line, a line break at the end."""
    members = result.model_dump(mode="json", by_alias=True)
    try:
        lines = [
            f"{json.dumps(name)}: {json.dumps(members[name], sort_keys=True, allow_nan=False, separators=(',', ':'))}"
            for name in sorted(members)
        ]
    except ValueError as exc:
        raise HarnessBug(f"result.json cannot hold a number that is not finite: {exc}") from exc
    return "{\n" + ",\n".join(lines) + "\n}\n"


def outputs_of(result: DrillResult, controls: Controls | None = None) -> Mapping[str, str]:
    """File name to text, the same for the same result. `controls`: the project's own."""
    return {
        "result.json": dump_drill_result(result),
        "report.html": render_drill_html(result, controls),
        "summary.md": _summary(result),
        "junit.xml": _junit(result),
        "postmortem.md": _postmortem(result),
        "postmortem.json": _postmortem_json(result),
    }


def render_drill_annotations(result: DrillResult, lines: Mapping[str, int]) -> str:
    """GitHub workflow commands on the drill's document: its verdict, each step that is no PASS at its line; ten at most.

    Empty for a PASS.
    """
    if result.verdict is Verdict.PASS:
        return ""
    file = clean(result.run.source)
    told = [annotation("error", f"Blackstart: {result.verdict}", clean(result.sentence)[:600], file=file)]
    for step in result.steps:
        if step.verdict is not Verdict.PASS:
            level = "error" if step.verdict is Verdict.FAIL else "warning"
            said = f"{clean(step.text)}: {step.outcome}{f' ({clean(step.note)})' if step.note else ''}"
            title, line = f"step {clean(step.id)}: {step.verdict}", lines.get(step.id)
            told.append(annotation(level, title, said[:600], file=file, line=line))
    return "".join(f"{one}\n" for one in told[:MOST_ANNOTATIONS])


def _md(text: str) -> str:
    return html_free_markdown(clean(text))


# ---- summary.md ------------------------------------------------------------------------------------------------------


def _summary(result: DrillResult) -> str:
    run = result.run
    lines = [
        f"### {result.verdict}: {_md(run.title)}",
        "",
        _md(result.sentence),
        "",
        f"{run.mode}, {run.exercise}, {_md(run.owner)}, {run.started_utc}, {format_duration(run.duration_ns)}",
        "",
        "| step | who | came to | took | expected |",
        "|---|---|---|---|---|",
        *(_row(step) for step in result.steps[:25]),
    ]
    if len(result.steps) > 25:
        lines.append(f"| … and {len(result.steps) - 25} more | | | | |")
    if result.objectives:
        lines += ["", "| objective | | observed |", "|---|---|---|"]
        lines += [f"| {_md(one.text)} | {one.status} | {_md(one.observed)} |" for one in result.objectives[:10]]
    if result.findings:
        lines += ["", "Findings:", ""]
        lines += [
            f"- {one.number} {one.severity}, {one.state}{', overdue' if one.overdue else ''}: {_md(one.text)}"
            f" ({_md(one.owner)}, due {one.due})"
            for one in result.findings[:10]
        ]
    return "\n".join(lines) + "\n"


def _row(step: DrillStepResult) -> str:
    expected = "" if step.expect_ns is None else format_duration(step.expect_ns)
    came = f"{step.verdict} ({step.outcome})" + (", flaky" if step.flaky else "")
    return f"| {_md(step.id)} | {_md(step.who or '')} | {came} | {took(step)} | {expected} |"


# ---- junit.xml -------------------------------------------------------------------------------------------------------


def _junit(result: DrillResult) -> str:
    """One suite; a case for the verdict, each step and each objective. What is not proven is an error, never skipped."""
    run = result.run
    seconds = f"{run.duration_ns / NS_PER_S:.3f}"
    suite = Suite(clean(run.name), timestamp=run.started_utc, seconds=seconds, hostname="")
    pairs = [("verdict", str(result.verdict)), ("mode", run.mode), ("run_id", run.run_id), ("plan_hash", run.plan_hash)]
    suite.properties(pairs)
    sentence = clean(result.sentence)
    suite.case("verdict", _outcome(result.verdict, sentence), seconds=seconds, out=sentence)
    for step in result.steps:
        lasted = 0 if step.started_ns is None or step.ended_ns is None else step.ended_ns - step.started_ns
        said = clean(f"{step.id}: {step.text}: {step.outcome}{f' ({step.note})' if step.note else ''}")
        runs = "\n".join(clean(f"{one.run_id or 'no run'}: {one.verdict}: {one.sentence}") for one in step.runs)
        out = "\n".join(part for part in (said, runs, clean_block(step.output)) if part)
        suite.case(f"step {step.id}", _outcome(step.verdict, said), seconds=f"{lasted / NS_PER_S:.3f}", out=out)
    for one in result.objectives:
        verdict = {Status.MET: Verdict.PASS, Status.MISSED: Verdict.FAIL}.get(one.status, Verdict.INCONCLUSIVE)
        said = clean(f"{one.text}: {one.status}, {one.observed}")
        suite.case(clean(one.text), _outcome(verdict, said), out=said)
    return suite.text()


def _outcome(verdict: Verdict, said: str) -> tuple[str, str, str] | None:
    if verdict is Verdict.PASS:
        return None
    return ("failure" if verdict is Verdict.FAIL else "error"), str(verdict), said


# ---- postmortem ------------------------------------------------------------------------------------------------------


def _timeline(result: DrillResult) -> list[tuple[int, str]]:
    moments = []
    for step in result.steps:
        if step.started_ns is not None:
            moments.append((step.started_ns, f"{step.id} begins: {step.text}"))
        if step.ended_ns is not None:
            note = f" ({step.note})" if step.note else ""
            moments.append((step.ended_ns, f"{step.id}: {step.outcome}{note}"))
    moments += [(update.at_ns, f"update: {update.status}, by {update.by}") for update in result.updates]
    return sorted(moments)


def _postmortem(result: DrillResult) -> str:
    run = result.run
    lines = [
        f"# Postmortem: {_md(run.title)}",
        "",
        f"{result.verdict}. {_md(result.sentence)}",
        "",
        f"Drill {run.run_id}, {run.mode} ({run.exercise}), {run.started_utc}, owner {_md(run.owner)}.",
        "",
        "## What happened",
        "",
        *(f"- T+{format_duration(at_ns)}: {_md(words)}" for at_ns, words in _timeline(result)),
        "",
        "## Findings",
        "",
        "| | severity | finding | owner | due | state | first seen |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.number} | {one.severity} | {_md(one.text)} | {_md(one.owner)} | {one.due}"
            f"{' (overdue)' if one.overdue else ''} | {one.state} | {one.first_run} |"
            for one in result.findings
        ),
        "",
        "## What this drill does not show",
        "",
        *(f"- {_md(line)}" for line in result.not_shown),
    ]
    return "\n".join(lines) + "\n"


def _postmortem_json(result: DrillResult) -> str:
    value = {
        "schema": "blackstart/postmortem/1",
        "drill": result.run.name,
        "run_id": result.run.run_id,
        "verdict": result.verdict,
        "sentence": result.sentence,
        "timeline": [{"at_ns": at_ns, "text": words} for at_ns, words in _timeline(result)],
        "findings": [one.model_dump(mode="json") for one in result.findings],
    }
    return json.dumps(value, indent=1) + "\n"
