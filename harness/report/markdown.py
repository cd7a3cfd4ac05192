"""For pipelines: the job summary in Markdown (at most 60 lines) and annotations at the line that states an objective."""

from __future__ import annotations

from harness.model.result import Result
from harness.model.verdict import Status, Verdict
from harness.report import words
from harness.report.charts import good_shares
from harness.report.front import MOST_OBJECTIVES, finding_lines, front_objectives, objective_lines
from harness.report.meaning import means, not_shown, recovery_words
from harness.report.series import chunks
from harness.report.text import clean_result, html_free_markdown, markdown_code, workflow_data
from harness.report.tiles import build_tiles
from harness.units import format_duration, format_ratio

__all__ = ["MOST_ANNOTATIONS", "annotation", "render_annotations", "render_markdown", "sparkline"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_ICONS = {
    Verdict.PASS: "✅",
    Verdict.FAIL: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.REFUSED: "⛔",
    Verdict.ABORTED: "⏹️",
    Verdict.ERROR: "💥",
    Verdict.DIRTY: "🚨",
}
MOST_ANNOTATIONS = 10


def sparkline(shares: tuple[float | None, ...], width: int = 48) -> str:
    """Shares 0 to 1 as block characters, the lowest of each group; a space where there was no traffic."""
    out = []
    for group in chunks(len(shares), width):
        present = [share for place in group if (share := shares[place]) is not None]
        out.append(_BLOCKS[min(7, int(min(present) * 7.999))] if present else " ")
    return "".join(out)


def _short(text: str, most: int = 240) -> str:
    return html_free_markdown(text if len(text) <= most else text[: most - 1] + "…")


def _head(result: Result) -> list[str]:
    run = result.run
    lines = [f"### {_ICONS[result.verdict]} {result.verdict.value}: {_short(run.name, 80)}", ""]
    for banner in run.banners[:2]:
        lines += [f"> **Not the healthy stack:** {_short(banner, 160)}", ""]
    lines += [f"**{_short(result.sentence or words.MEANING[result.verdict])}**", ""]
    if result.verdict is not Verdict.PASS:
        lines.append(words.MEANING[result.verdict])
        own = [reason for reason in result.reasons if reason.verdict is result.verdict]
        lines += [f"- {_short(reason.text)} ({markdown_code(reason.code[:40])})" for reason in own[:3]]
        lines.append("")
    if result.safety.commands:
        lines += ["To put it back by hand:", ""]
        lines += [f"- {markdown_code(command)}" for command in result.safety.commands[:3] if len(command) <= 1_000]
        lines.append("")
    return lines


def _tiles(result: Result) -> list[str]:
    tiles = build_tiles(result, None)
    return [
        "| " + " | ".join(tile.label for tile in tiles) + " |",
        "|" + " --- |" * len(tiles),
        "| " + " | ".join(f"**{_short(tile.value, 60)}** {_short(tile.figure, 80)}".strip() for tile in tiles) + " |",
        "",
    ]


def _objectives(result: Result) -> list[str]:
    lines = front_objectives(objective_lines(result))
    if not lines:
        return []
    out = ["| Objective | Limit | Observed | Margin | Verdict |", "| --- | --- | --- | --- | --- |"]
    for line in lines[:MOST_OBJECTIVES]:
        icon = {"pass": "✅", "fail": "❌"}.get(line.badge.tone, "❔")
        cells = (line.label, line.limit, line.observed, line.margin)
        shown = " | ".join(_short(text, 120) for text in cells)
        out.append(f"| {shown} | {icon} {line.badge.word} |")
    if len(lines) > MOST_OBJECTIVES:
        out.append("")
        out.append(f"{len(lines) - MOST_OBJECTIVES} more in report.html.")
    return [*out, ""]


def _details(result: Result) -> list[str]:
    measures, validity, safety, run = result.measures, result.validity, result.safety, result.run
    lines = [f"- {_short(text)}" for text in (*means(result)[:3], *not_shown(result)[:2])]
    lines += [
        f"- {_short(cost.slo, 40)} {format_ratio(cost.target_ratio)} over {format_duration(cost.window_ns)}: "
        f"{format_ratio(cost.cost_share_ratio)} used{' (notional)' if cost.notional else ''}"
        for cost in measures.budgets[:3]
    ]
    lines.append(f"- Recovery: {_short(recovery_words(measures.recovery))}")
    lines.append(f"- Load: {validity.started:,} started, {validity.ended:,} ended, {validity.dropped:,} dropped")
    lines.append(f"- Safety: {safety.journaled} journaled, {safety.reverted} reverted, {safety.verified} verified")
    lines.append(f"- Run {markdown_code(run.run_id[:80])}, plan {markdown_code(run.plan_hash[:12])}, seed {run.seed}")
    return ["<details><summary>Evidence</summary>", "", *lines, "", "</details>"]


def render_markdown(result: Result) -> str:
    """The job summary: outcome first, at most 60 lines, headings from level 3. Text from the stack stays text."""
    result = clean_result(result)
    lines = [*_head(result), *_tiles(result)]
    spark = sparkline(good_shares(result.series))
    if spark:
        lines += [f"Good answers over time: `{spark}`", ""]
    lines += _objectives(result)
    findings = finding_lines(result.findings)[:3]
    lines += [f"- {line.number} {line.badge.word}: {_short(line.text)}" for line in findings]
    lines += ["", *_details(result)] if findings else _details(result)
    return "\n".join(lines) + "\n"


def annotation(level: str, title: str, message: str, *, file: str | None = None, line: int | None = None) -> str:
    """One workflow command of GitHub, without a line break at its end. Any text is safe in it."""
    fields = [("file", file), ("line", None if line is None else str(line)), ("title", title)]
    shown = ",".join(f"{name}={workflow_data(value, in_property=True)}" for name, value in fields if value)
    return f"::{level} {shown}::{workflow_data(message)}"


def render_annotations(result: Result) -> str:
    """GitHub workflow commands, one per line: an error for each missed objective, a warning for each unknown, at its line.

    At most ten of a kind (GitHub shows no more); when the verdict is not carried by a missed objective, an error of its
    own comes first. Empty when all is well.
    """
    result = clean_result(result)
    errors, warnings = [], []
    for objective in result.objectives:
        message = f"observed {objective.observed}, limit {objective.limit}" + (
            f": {objective.why}" if objective.why else ""
        )
        if objective.status is Status.MISSED:
            title = f"{objective.text[:120]} missed"
            errors.append(annotation("error", title, message[:600], file=objective.file, line=objective.line))
        elif objective.status is Status.UNKNOWN:
            title = f"{objective.text[:120]} unknown"
            warnings.append(annotation("warning", title, message[:600], file=objective.file, line=objective.line))
    if result.verdict is not Verdict.PASS and not (result.verdict is Verdict.FAIL and errors):
        errors.insert(0, annotation("error", f"Blackstart: {result.verdict.value}", result.sentence[:600]))
    lines = [*errors[:MOST_ANNOTATIONS], *warnings[:MOST_ANNOTATIONS]]
    return "".join(f"{line}\n" for line in lines)
