"""The pictures that are not plain time charts: timeline lanes, recovery waterfall, bullet bar, trend strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.model.measured import Interval
from harness.model.result import Result
from harness.model.verdict import Verdict
from harness.report.extras import ComparableRun
from harness.report.frame import Frame, Variant, Words
from harness.report.numbers import at_text, like_text, point_ns, point_text
from harness.report.scene import Scene, fault_end_ns, first_effect_ns, proven_ns
from harness.report.svg import Box, document, fmt, line, path, rect, text, text_width
from harness.units import format_duration

__all__ = ["Bar", "Stretch", "bullet", "lanes", "stretches", "trend_strip", "waterfall"]

LANE = 22.0
MOST_LANES = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A value against its limit. `lo` to `hi` is what is known; hi None: open upward. `limit` None: nothing to hold it to."""

    lo: float
    hi: float | None
    limit: float | None
    limit_words: str
    tone: str


def bullet(bar: Bar, words: Words) -> Markup:
    """The bar of a tile: filled to the lower bound, hatched by a whisker to the upper, the limit as a line with its words."""
    width, top = 220.0, 7.0
    known = bar.hi if bar.hi is not None else bar.lo * 1.15
    end = max((bar.limit or 0) * 1.35, known * 1.1, 1e-12)

    def x(value: float) -> float:
        return min(max(value / end, 0.0), 1.0) * width

    body = [rect(Box(x=0, y=top, width=width, height=8), "line", radius=2)]
    if x(known) > 0.5:
        body.append(rect(Box(x=0, y=top, width=x((bar.lo + known) / 2), height=8), bar.tone, radius=2))
    if bar.hi is None:
        tip = x(bar.lo * 1.15)
        body.append(
            path(
                f"M{fmt(tip)} {fmt(top - 2)}L{fmt(min(tip + 8, width))} {fmt(top + 4)}L{fmt(tip)} {fmt(top + 10)}",
                stroke=bar.tone,
                width=2,
            )
        )
    elif x(bar.hi) - x(bar.lo) > 2.5:
        low, high = x(bar.lo), x(bar.hi)
        body += [line((low, top + 4), (high, top + 4), "text", width=1.2)]
        body += [line((at, top), (at, top + 8), "text", width=1.2) for at in (low, high)]
    if bar.limit is not None:
        at = x(bar.limit)
        body.append(line((at, top - 5), (at, top + 13), "text", width=2))
        half = text_width(bar.limit_words) / 2
        body.append(text((min(max(at, half), width - half), top + 25), bar.limit_words, anchor="middle"))
    return document(words.name, (width, top + 29), words.title, words.finding, body)


def lanes(result: Result, scene: Scene, words: Words, variant: Variant) -> Markup:
    """Who did what when: phases, each fault, each step, disruptions, on one time axis."""
    rows = _lane_rows(result, scene)
    frame = Frame(scene, variant, LANE * len(rows) + 4, labels=True)
    body: list[str] = []
    for place, (name, spans) in enumerate(rows):
        y = frame.plot.y + place * LANE + 3
        body.append(line((frame.plot.x, y + LANE - 3), (frame.plot.right, y + LANE - 3), "line"))
        for start, end, colour, label in spans:
            left, right = frame.x(start), frame.x(end)
            if end < scene.start_ns or start > scene.end_ns:
                continue
            body.append(rect(Box(x=left, y=y, width=right - left, height=LANE - 7), colour, radius=2))
            if label and text_width(label) < right - left - 4:
                body.append(text(((left + right) / 2, y + 11), label, "text", anchor="middle"))
        body.append(text((2, y + 11), name[:7]) if len(name) <= 7 else _long_name(frame, y, name, spans))
    body += frame.marker_lines() + frame.time_axis()
    return frame.finish(words, body)


Span = tuple[int, int, str, str]


def _long_name(frame: Frame, y: float, name: str, spans: Sequence[Span]) -> str:
    """A long lane name stands beside its bar, on the side where there is room."""
    shown = name if len(name) <= 28 else name[:27] + "…"
    wide = text_width(shown)
    left = min((frame.x(span[0]) for span in spans), default=frame.plot.x)
    right = max((frame.x(span[1]) for span in spans), default=frame.plot.x)
    if left - wide - 6 >= 0:
        return text((left - 6, y + 11), shown, "text", anchor="end")
    if right + wide + 6 <= frame.variant.width:
        return text((right + 6, y + 11), shown, "text")
    return text((left + 4, y + 11), shown, "text")


def _lane_rows(result: Result, scene: Scene) -> list[tuple[str, list[Span]]]:
    end_ns = scene.end_ns
    phases: list[Span] = [
        (span.start_ns, end_ns if span.end_ns is None else span.end_ns, "line" if place % 2 else "surface", span.phase)
        for place, span in enumerate(result.phases)
        if span.end_ns is None or span.end_ns > span.start_ns
    ]
    rows: list[tuple[str, list[Span]]] = [("phases", phases)]
    for fault in result.faults:
        if fault.effect is not None and len(rows) <= MOST_LANES:
            rows.append((fault.id, [(fault.effect.lo_ns, fault_end_ns(fault, end_ns), "rule", "")]))
    for step in result.steps:
        if step.started_ns is not None and len(rows) <= MOST_LANES + 4:
            over = end_ns if step.ended_ns is None else step.ended_ns
            rows.append((step.id, [(step.started_ns, over, "info", "")]))
    if scene.disruptions:
        spans: list[Span] = [(band.start_ns, band.end_ns, "fail", "") for band in scene.disruptions]
        rows.append(("users disrupted", spans))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One part of the recovery, from the effect: ns. `length` is in words, as exact as the recovery is known."""

    words: str
    start_ns: int
    end_ns: int
    length: str


def stretches(result: Result) -> tuple[Stretch, ...]:
    """The recovery in parts: detect, fail over, converge, as far as their instants are known. Empty without a recovery."""
    recovery, instants = result.measures.recovery, result.measures.instants
    if recovery.interval is None or recovery.state not in ("recovered", "censored"):
        return ()
    end_ns = proven_ns(recovery.interval)
    first = first_effect_ns(result)
    # Instants count from the first fault, recovery from the first that hurt.
    shift = 0 if first is None or recovery.effect is None else first - recovery.effect.lo_ns
    marks = [
        (name, None if at_ns is None else at_ns + shift)
        for name, at_ns in (("detect", instants.detection_ns), ("fail over", instants.failover_ns))
    ]
    out: list[Stretch] = []
    start, pending = 0, []
    for name, at_ns in marks:
        pending.append(name)
        if at_ns is not None and start <= at_ns <= end_ns:
            out.append(_stretch(" and ".join(pending), start, at_ns, recovery.interval))
            start, pending = at_ns, []
    words = " and ".join([*pending, "converge"])
    out.append(_stretch(words, start, end_ns, recovery.interval))
    return tuple(out)


def _stretch(words: str, start_ns: int, end_ns: int, interval: Interval) -> Stretch:
    return Stretch(words=words, start_ns=start_ns, end_ns=end_ns, length=like_text(end_ns - start_ns, interval))


def waterfall(parts: Sequence[Stretch], words: Words, variant: Variant) -> Markup | None:
    """The parts of the recovery one below the other, each where it happened: which one to shorten."""
    if not parts or parts[-1].end_ns <= 0:
        return None
    label = 130.0 if variant.width > 500 else 96.0
    room = variant.width - label - 84
    total = parts[-1].end_ns
    body: list[str] = []
    for place, part in enumerate(parts):
        y = 6 + place * 26.0
        left = label + part.start_ns / total * room
        wide = (part.end_ns - part.start_ns) / total * room
        body.append(text((label - 8, y + 13), part.words[:22], "text", anchor="end"))
        body.append(rect(Box(x=left, y=y, width=wide, height=18), ("s5", "s1", "s3")[place % 3], radius=2))
        words_at = (left + max(wide, 1) + 6, y + 13)
        body.append(text(words_at, part.length, "text", bold=True))
        if place + 1 < len(parts):
            body.append(line((left + wide, y + 18), (left + wide, y + 26), "rule", dash="2 2"))
    foot = 6 + len(parts) * 26.0
    body.append(line((label, foot), (label + room, foot), "rule"))
    body.append(text((label, foot + 15), "effect"))
    body.append(text((label + room, foot + 15), f"{at_text(total)}, proven back", anchor="end"))
    return document(f"{words.name}-{variant.name}", (variant.width, foot + 20), words.title, words.finding, body)


def trend_strip(runs: Sequence[ComparableRun], limit: int | None, words: Words, variant: Variant) -> Markup | None:
    """Recovery time of comparable runs, oldest first, one sign each: disc PASS, cross FAIL, ring anything else."""
    timed = [run for run in runs if run.recovery is not None]
    if not timed:
        return None
    width, height, foot = variant.width / 2 if variant.width > 500 else variant.width, 84.0, 72.0
    tops = [run.recovery.hi_ns or run.recovery.lo_ns for run in timed if run.recovery is not None]
    top = max([*tops, limit or 0, 1]) * 1.15
    step = (width - 60) / max(len(timed), 1)

    def y(ns: int) -> float:
        return foot - ns / top * (foot - 12)

    body = [line((8, foot), (width - 8, foot), "line")]
    if limit is not None:
        body.append(line((8, y(limit)), (width - 8, y(limit)), "muted", dash="4 3"))
        body.append(text((width - 8, y(limit) - 4), f"limit {format_duration(limit)}", anchor="end"))
    for place, run in enumerate(timed):
        if run.recovery is not None:
            body += _sign(20 + step * place, y(point_ns(run.recovery)), run.verdict)
    last = timed[-1].recovery
    if last is not None:
        high = y(point_ns(last))
        at = (20 + step * (len(timed) - 1), high + 17 if high < foot - 20 else high - 9)
        body.append(text(at, point_text(last), "text", anchor="middle", bold=True))
    return document(f"{words.name}-{variant.name}", (width, height), words.title, words.finding, body)


def _sign(x: float, y: float, verdict: Verdict) -> list[str]:
    if verdict is Verdict.PASS:
        d = f"M{fmt(x - 4)} {fmt(y)}a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z"
        return [path(d, fill="pass")]
    if verdict is Verdict.FAIL:
        return [path(f"M{fmt(x - 4)} {fmt(y - 4)}l8 8M{fmt(x + 4)} {fmt(y - 4)}l-8 8", stroke="fail", width=2.2)]
    return [path(f"M{fmt(x - 4)} {fmt(y)}a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z", stroke="warn", width=1.8)]
