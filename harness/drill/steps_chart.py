"""The steps of a drill as bars on one clock: when each began, how long it took, how long it was expected to take. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from harness.model.drill_result import DrillResult, DrillStepResult
from harness.report.frame import NARROW, WIDE, Variant, Words
from harness.report.page import Figure, Picture
from harness.report.svg import Box, document, el, line, rect, text, text_width, time_ticks
from harness.report.text import clean, plural
from harness.units import format_duration

__all__ = ["steps_figure"]

_ROW = 22.0
_SHOWN = 40


def _swatch(name: str, body: str) -> Markup:
    title = el("title", [], name)
    return Markup(el("svg", [("width", 14), ("height", 12), ("aria-hidden", "true")], title, body))


_BLOCK = Box(x=0, y=0, width=14, height=12)
_LEGEND = (
    ("experiments and commands", _swatch("experiments and commands", rect(_BLOCK, "s1", radius=2))),
    ("people", _swatch("people", rect(_BLOCK, "s2", radius=2))),
    ("expected end", _swatch("expected end", line((7, 0), (7, 12), "text", width=2))),
)


def steps_figure(result: DrillResult) -> Figure | None:
    """The picture; its numbers are the table of steps that it stands beside. None when nothing was carried out."""
    steps = [step for step in result.steps if step.started_ns is not None and step.ended_ns is not None][:_SHOWN]
    if not steps or not result.run.duration_ns:
        return None
    late = [clean(step.id, 60) for step in steps if _is_late(step)]
    finding = f"{plural(len(steps), 'step')} in {format_duration(result.run.duration_ns)}; "
    finding += f"slower than expected: {', '.join(late[:5])}." if late else "none took longer than expected."
    words = Words(name="steps-chart", title="Steps on one clock", finding=finding)
    picture = Picture(
        wide=_draw(steps, result.run.duration_ns, words, WIDE),
        narrow=_draw(steps, result.run.duration_ns, words, NARROW),
    )
    return Figure(anchor="fig-steps", title="Steps on one clock", finding=finding, picture=picture, legend=_LEGEND)


def _is_late(step: DrillStepResult) -> bool:
    if step.expect_ns is None or step.started_ns is None or step.ended_ns is None:
        return False
    return step.ended_ns - step.started_ns > step.expect_ns


def _draw(steps: Sequence[DrillStepResult], whole_ns: int, words: Words, variant: Variant) -> Markup:
    """People's steps and the tool's in two colours; a mark stands where the step was expected to end."""
    ends = [step.started_ns + step.expect_ns for step in steps if step.started_ns is not None and step.expect_ns]
    last_ns = max([whole_ns, *ends])
    left = 150.0 if variant.width > 500 else 96.0
    room = variant.width - left - 14

    def x(ns: int) -> float:
        return left + ns / last_ns * room

    foot = 4 + _ROW * len(steps)
    body = []
    for place, step in enumerate(steps):
        if step.started_ns is None or step.ended_ns is None:
            continue
        y = 4 + place * _ROW
        body.append(text((0, y + 14), _cut(clean(step.id, 60), left - 8), "text"))
        colour = "s1" if step.kind == "experiment" or step.by == "tool" else "s2"
        width = max(x(step.ended_ns) - x(step.started_ns), 3.0)
        body.append(rect(Box(x=x(step.started_ns), y=y + 4, width=width, height=12), colour, radius=2))
        if step.expect_ns is not None:
            at = x(step.started_ns + step.expect_ns)
            body.append(line((at, y + 1), (at, y + 19), "fail" if _is_late(step) else "text", width=2))
    body.append(line((left, foot), (variant.width - 14, foot), "rule"))
    body += [
        text((min(max(x(tick), left + 14), variant.width - 30), foot + 16), format_duration(tick), anchor="middle")
        for tick in time_ticks(0, last_ns, max(variant.ticks // 2, 2))
    ]
    return document(f"{words.name}-{variant.name}", (variant.width, foot + 22), words.title, words.finding, body)


def _cut(words: str, room: float) -> str:
    while len(words) > 2 and text_width(words) > room:
        words = words[:-2] + "…"
    return words
