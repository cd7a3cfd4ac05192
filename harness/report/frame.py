"""The frame around a time chart: axes, fault bands, marker lines, the two widths in which every chart is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.report.scene import Scene
from harness.report.svg import Box, Label, document, line, place_labels, rect, text, text_width, time_ticks
from harness.units import NS_PER_S

__all__ = ["NARROW", "WIDE", "Frame", "Variant", "Words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One width to draw for: the page on a desk or on paper, and on a phone."""

    name: str
    width: float
    ticks: int
    label_rows: int


LEFT = 52.0
WIDE = Variant(name="wide", width=820, ticks=10, label_rows=3)
NARROW = Variant(name="narrow", width=340, ticks=5, label_rows=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a picture says of itself: its id on the page, its title, its finding."""

    name: str
    title: str
    finding: str


class Frame:
    """A plot area with a time axis. `labels` leaves room above for marker labels and writes them."""

    def __init__(self, scene: Scene, variant: Variant, plot_height: float, *, labels: bool = False) -> None:
        self.scene = scene
        self.variant = variant
        marks = [mark for mark in scene.marks if scene.start_ns <= mark.at_ns <= scene.end_ns]
        self._marks = sorted(marks, key=lambda mark: (mark.rank, mark.at_ns))
        self.plot = Box(x=LEFT, y=0, width=variant.width - LEFT - 10, height=plot_height)
        self._placed: tuple[Label, ...] = ()
        self.unlabelled = 0
        if labels:
            asked = [
                Label(x=self.x(mark.at_ns) - LEFT, words=mark.words, colour=mark.colour, bold=mark.rank <= 2)
                for mark in self._marks
            ]
            self._placed, self.unlabelled = place_labels(asked, self.plot.width, variant.label_rows)
        rows = max((label.row + 1 for label in self._placed), default=0)
        self.plot = Box(x=LEFT, y=8 + rows * 16, width=variant.width - LEFT - 10, height=plot_height)

    def x(self, ns: float) -> float:
        """The place of an instant, held inside the plot."""
        span = max(self.scene.end_ns - self.scene.start_ns, 1)
        share = min(max((ns - self.scene.start_ns) / span, 0.0), 1.0)
        return self.plot.x + share * self.plot.width

    def y(self, share: float) -> float:
        """The place of a share of the plot's height, 0 at its foot."""
        return self.plot.bottom - min(max(share, 0.0), 1.0) * self.plot.height

    def bands(self) -> list[str]:
        """Fault spans as shading that lets what lies below show through."""
        return [
            rect(
                Box(
                    x=self.x(band.start_ns),
                    y=self.plot.y,
                    width=self.x(band.end_ns) - self.x(band.start_ns),
                    height=self.plot.height,
                ),
                "rule",
                opacity=0.13,
            )
            for band in self.scene.faults
        ]

    def feet(self, body: list[str]) -> float:
        """Bars under the time axis, one row for faults and one for disruptions, with words; the room they take."""
        rows = (
            (self.scene.faults, "rule", "muted", "faults stand"),
            (self.scene.disruptions, "fail", "fail", "disruptions"),
        )
        top = self.plot.bottom + 24
        for bands, colour, ink, many in rows:
            if not bands:
                continue
            for band in bands:
                left, right = self.x(band.start_ns), self.x(band.end_ns)
                body.append(rect(Box(x=left, y=top, width=right - left, height=6), colour, radius=1.5))
            words = bands[0].words if len(bands) == 1 else f"{len(bands)} {many}"
            left, right = self.x(bands[0].start_ns), self.x(bands[-1].end_ns)
            if right + text_width(words) + 6 <= self.variant.width:
                body.append(text((right + 6, top + 7), words, ink))
            elif left - 6 >= text_width(words):
                body.append(text((left - 6, top + 7), words, ink, anchor="end"))
            else:  # beside the bar is no room: below it
                body.append(text((max(left, 0), top + 18), words, ink))
                top += 13
            top += 15
        return top - self.plot.bottom - 24

    def marker_lines(self) -> list[str]:
        """A line for every mark, its label above where one fits."""
        tops = {(round(label.x, 3), label.words): label for label in self._placed}
        out: list[str] = []
        for mark in self._marks:
            x = self.x(mark.at_ns)
            label = tops.get((round(x - LEFT, 3), mark.words))
            top = self.plot.y if label is None else self.plot.y - 4 - label.row * 16 - 10
            out.append(
                line((x, top), (x, self.plot.bottom), mark.colour, width=1.2, dash="" if mark.rank <= 3 else "3 2")
            )
            if label is not None:
                gap = 4 if label.anchor == "start" else -4
                base = self.plot.y - 4 - label.row * 16
                out.append(text((x + gap, base), label.words, label.colour, anchor=label.anchor, bold=label.bold))
        return out

    def quiet_lines(self) -> list[str]:
        """The few moments that every chart repeats, without words: effect, recovery, revert."""
        return [
            line((self.x(mark.at_ns), self.plot.y), (self.x(mark.at_ns), self.plot.bottom), mark.colour, width=1)
            for mark in self._marks
            if mark.rank <= 3
        ][:24]

    def time_axis(self) -> list[str]:
        """The foot of the plot, with round moments."""
        scene, plot = self.scene, self.plot
        out = [line((plot.x, plot.bottom), (plot.right, plot.bottom), "rule")]
        offset = scene.zero_ns
        ticks = time_ticks(scene.start_ns - offset, scene.end_ns - offset, self.variant.ticks)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else NS_PER_S
        for tick in ticks:
            x = self.x(tick + offset)
            out.append(line((x, plot.bottom), (x, plot.bottom + 4), "rule"))
            words = _tick_words(tick, step)
            half = text_width(words) / 2
            anchor = "middle"
            if x + half > self.variant.width:
                anchor = "end"
            out.append(text((min(x, self.variant.width - 1), plot.bottom + 16), words, anchor=anchor))
        return out

    def value_axis(self, ticks: Sequence[tuple[float, str]]) -> list[str]:
        """Lines across the plot at shares of its height, with their words at the left."""
        out: list[str] = []
        for share, words in ticks:
            y = self.y(share)
            out.append(line((self.plot.x, y), (self.plot.right, y), "line"))
            out.append(text((self.plot.x - 6, y + 4), words, anchor="end"))
        return out

    def finish(self, words: Words, body: Sequence[str], *, below: float = 0) -> Markup:
        """The picture. `below` is room under the time axis."""
        size = (self.variant.width, self.plot.bottom + 22 + below)
        return document(f"{words.name}-{self.variant.name}", size, words.title, words.finding, body)


def _tick_words(ns: int, step_ns: int) -> str:
    sign = "−" if ns < 0 else "+"
    if ns == 0:
        return "T+0"
    seconds = abs(ns) / NS_PER_S
    if step_ns >= 60 * NS_PER_S:
        return f"{sign}{seconds / 60:g} m"
    return f"{sign}{seconds:.1f} s" if step_ns < NS_PER_S else f"{sign}{seconds:.0f} s"
