"""The verdict block that the command line prints at the end of a run: short, plain, as wide as it is told."""

from __future__ import annotations

import textwrap

from harness.model.result import Result
from harness.model.verdict import Verdict
from harness.report import words
from harness.report.charts import good_shares
from harness.report.front import objective_lines, recovery_limit_ns, unjudged
from harness.report.markdown import sparkline
from harness.report.meaning import touched
from harness.report.page import ObjectiveLine, Tone
from harness.report.text import clean_result
from harness.report.tiles import build_tiles

__all__ = ["render_terminal"]

_CODES: dict[Tone, str] = {"pass": "32", "fail": "31", "warn": "33", "info": "34", "none": "0"}
MOST = 14


def _paint(text: str, tone: Tone, color: bool, *, bold: bool = False) -> str:
    return f"\x1b[{'1;' if bold else ''}{_CODES[tone]}m{text}\x1b[0m" if color else text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 1)] + "…"


def _objective(line: ObjectiveLine, width: int, color: bool) -> list[str]:
    name = max(20, min(36, width // 3))
    limit = f"limit {line.limit}"
    first = f"  {line.badge.sign} {_cut(line.text, name):<{name}}  "
    rest = _cut(f"{line.observed}  ({limit})" if line.kind == "objective" else line.observed, width - len(first))
    out = [_paint(first, line.badge.tone, color) + rest]
    if line.why and line.badge.tone != "pass":
        out.append(f"    {_cut(line.why, width - 4)}")
    return out


def render_terminal(result: Result, width: int, color: bool) -> str:
    """At most about 40 lines of at most `width` (at least 40) columns, ending in a line break; escapes only when `color`.

    Verdict, sentence, reasons with what to do, headline figures, objectives, and for DIRTY the commands.
    """
    result = clean_result(result)
    width = max(width, 40)
    badge = words.VERDICT_BADGES[result.verdict]
    head = f"{badge.sign} {badge.word}"
    lines = [_paint(head, badge.tone, color, bold=True) + f"  {_cut(result.run.name, width - len(head) - 2)}"]
    lines += [
        _paint(_cut(f"! not the healthy stack: {banner}", width), "fail", color) for banner in result.run.banners[:2]
    ]
    lines += textwrap.wrap(result.sentence, width)[:4]
    if result.verdict is not Verdict.PASS:
        own = [reason for reason in result.reasons if reason.verdict is result.verdict]
        for reason in own[:3]:
            lines += textwrap.wrap(f"- {reason.text}", width, subsequent_indent="  ")[:3]
            advice = words.todo(reason).replace("`", "'")
            if result.verdict is not Verdict.FAIL and advice:
                lines += textwrap.wrap(f"  -> {advice}", width, subsequent_indent="     ")[:3]
        if own:
            lines += textwrap.wrap(touched(result), width)[:3]
    void = unjudged(result, len(result.objectives))
    lines += ["", *textwrap.wrap(void, width)]
    for tile in () if void else build_tiles(result, recovery_limit_ns(result)):
        lines.append(_cut(f"  {tile.label:<18} {tile.value} {tile.figure}".rstrip(), width))
    spark = sparkline(good_shares(result.series), min(width - 22, 60))
    if spark:
        lines.append(f"  {'Good over time':<18} {spark}")
    shown = () if void else objective_lines(result)
    if shown:
        lines.append("")
    for line in shown[:MOST]:
        lines += _objective(line, width, color)
    if len(shown) > MOST:
        lines.append(f"  {len(shown) - MOST} more in the report")
    if result.safety.commands:
        lines += ["", "To put it back by hand:", *(f"  {command}" for command in result.safety.commands[:12])]
    return "\n".join(line.rstrip() for line in lines) + "\n"
