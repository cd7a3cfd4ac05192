"""Small drawing kit: SVG elements as text, colours that work with and without CSS, scales, ticks, label placement.

Every mark carries its light colour as a presentation attribute (kept where a host strips styles) and a class that the
page's CSS turns into a variable (so that the dark scheme and print follow). No id but those of title and description.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

from harness.report.palette import LIGHT
from harness.units import NS_PER_S

__all__ = [
    "Box",
    "Label",
    "document",
    "el",
    "fmt",
    "line",
    "log_ticks",
    "nice_ticks",
    "path",
    "place_labels",
    "rect",
    "text",
    "text_width",
    "time_ticks",
]

FONT = 11.0


def fmt(value: float) -> str:
    """A coordinate with at most one decimal."""
    shown = f"{value:.1f}"
    return shown[:-2] if shown.endswith(".0") else shown


def el(name: str, attributes: Iterable[tuple[str, str | float | None]], *children: str) -> str:
    """An element; attributes in the order given, those that are None left out. `children` are markup already."""
    shown = "".join(
        f' {key}="{escape(value if isinstance(value, str) else fmt(value))}"'
        for key, value in attributes
        if value is not None
    )
    return f"<{name}{shown}>{''.join(children)}</{name}>" if children else f"<{name}{shown}/>"


def _fill(colour: str | None) -> list[tuple[str, str | float | None]]:
    return [("fill", "none")] if colour is None else [("fill", LIGHT[colour]), ("class", f"f-{colour}")]


def rect(box: Box, colour: str, *, radius: float = 0, opacity: float | None = None) -> str:
    """A filled rectangle."""
    return el(
        "rect",
        [
            ("x", box.x),
            ("y", box.y),
            ("width", max(box.width, 0.6)),
            ("height", box.height),
            ("rx", radius or None),
            ("fill-opacity", None if opacity is None else f"{opacity:g}"),
            *_fill(colour),
        ],
    )


def line(start: tuple[float, float], end: tuple[float, float], colour: str, *, width: float = 1, dash: str = "") -> str:
    """A straight line."""
    return el(
        "line",
        [
            ("x1", start[0]),
            ("y1", start[1]),
            ("x2", end[0]),
            ("y2", end[1]),
            ("stroke", LIGHT[colour]),
            ("class", f"k-{colour}"),
            ("stroke-width", width),
            ("stroke-dasharray", dash or None),
        ],
    )


def path(d: str, *, stroke: str | None = None, fill: str | None = None, width: float = 1.5, dash: str = "") -> str:
    """A path, stroked or filled."""
    classes = " ".join(name for name in (fill and f"f-{fill}", stroke and f"k-{stroke}") if name)
    return el(
        "path",
        [
            ("d", d),
            ("fill", LIGHT[fill] if fill else "none"),
            ("stroke", LIGHT[stroke] if stroke else None),
            ("class", classes or None),
            ("stroke-width", width if stroke else None),
            ("stroke-linejoin", "round" if stroke else None),
            ("stroke-dasharray", dash or None),
        ],
    )


def text(
    at: tuple[float, float], words: str, colour: str = "muted", *, anchor: str = "start", bold: bool = False
) -> str:
    """Words at a baseline point."""
    return el(
        "text",
        [
            ("x", at[0]),
            ("y", at[1]),
            ("text-anchor", None if anchor == "start" else anchor),
            ("font-weight", "600" if bold else None),
            *_fill(colour),
        ],
        str(escape(words)),
    )


def text_width(words: str, *, bold: bool = False) -> float:
    """About how wide `words` are at the kit's font size, for a wide face: an upper estimate."""
    wide = sum(
        1.55 if ord(c) > 0x2E7F else 0.9 if c in "mwMW@%" else 0.36 if c in "iljft.,:;'|! " else 0.63 for c in words
    )
    return wide * FONT * (1.08 if bold else 1.0)


def document(name: str, size: tuple[float, float], title: str, description: str, body: Sequence[str]) -> Markup:
    """A whole picture: an image to assistive technology, with its finding as the description."""
    width, height = size
    head = (
        el("title", [("id", f"{name}-title")], str(escape(title))),
        el("desc", [("id", f"{name}-desc")], str(escape(description))),
    )
    return Markup(
        el(
            "svg",
            [
                ("viewBox", f"0 0 {fmt(width)} {fmt(height)}"),
                ("width", "100%"),
                ("role", "img"),
                ("aria-labelledby", f"{name}-title {name}-desc"),
                ("font-family", "system-ui, sans-serif"),
                ("font-size", FONT),
            ],
            *head,
            *body,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle on the canvas."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


def nice_ticks(top: float, count: int = 4) -> tuple[float, ...]:
    """Round values from 0 to at least `top`, about `count` steps. (0, 1) when top is not positive."""
    if top <= 0:
        return (0.0, 1.0)
    raw = top / count
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw * 0.999999)
    return tuple(step * place for place in range(math.ceil(top / step * 0.999999) + 1))


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1-2-5 values inside [low, high], thinned to decades when there would be more than eight."""
    if low <= 0 or high <= low:
        return ()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    full = [m * 10.0**e for e in decades for m in (1, 2, 5) if low * 0.999 <= m * 10.0**e <= high * 1.001]
    tens = [value for value in full if math.isclose(value, 10 ** round(math.log10(value)))]
    return tuple(full if len(full) <= 6 else tens)


_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)


def time_ticks(start_ns: int, end_ns: int, count: int) -> tuple[int, ...]:
    """Round instants (ns) inside [start, end], at most about `count`; 0 is among them when it is inside."""
    span_s = max(end_ns - start_ns, 1) / NS_PER_S
    step_s = next((step for step in _STEPS_S if span_s / step <= count), _STEPS_S[-1])
    step = round(step_s * NS_PER_S)
    first = -(-start_ns // step)
    return tuple(place * step for place in range(first, end_ns // step + 1))[:200]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Words that want to stand at `x`. After placing: `row` 0 is nearest the picture; `anchor` says which way they run."""

    x: float
    words: str
    colour: str = "muted"
    bold: bool = False
    row: int = 0
    anchor: str = "start"


Spans = tuple[tuple[float, float], ...]
Placing = tuple[float, tuple[Label, ...]]
TRIES = 6_000


def place_labels(labels: Sequence[Label], width: float, rows: int) -> tuple[tuple[Label, ...], int]:
    """The labels that fit without touching one another or another's leader, placed, and how many did not fit.

    The most, and among those the bold, are placed, each to the right or left of its point in some row; one that does
    not fit is left out (its words are in the table). The search is bounded: the first eight compete, the rest follow.
    """
    tries = [TRIES]
    placed, taken = _best(labels[:8], width, (((),) * rows), tries)
    for label in labels[8:]:
        spot = next(_spots(label, width, taken), None)
        if spot is not None:
            placed, taken = (*placed, spot), _with(taken, spot)
    return placed, len(labels) - len(placed)


def _best(
    labels: Sequence[Label], width: float, taken: tuple[Spans, ...], tries: list[int]
) -> tuple[tuple[Label, ...], tuple[Spans, ...]]:
    best: list[tuple[float, tuple[Label, ...], tuple[Spans, ...]]] = [(-1.0, (), taken)]
    most = [sum(10.0 if label.bold else 4.0 for label in labels[place:]) for place in range(len(labels) + 1)]

    def search(place: int, score: float, placed: tuple[Label, ...], state: tuple[Spans, ...]) -> None:
        tries[0] -= 1
        if tries[0] < 0 or score + most[place] <= best[0][0]:
            return
        if place == len(labels):
            best[0] = (score, placed, state)
            return
        label = labels[place]
        for spot in _spots(label, width, state):
            worth = (10.0 if label.bold else 4.0) - 0.3 * spot.row
            search(place + 1, score + worth, (*placed, spot), _with(state, spot))
        search(place + 1, score, placed, state)

    search(0, 0.0, (), taken)
    return best[0][1], best[0][2]


def _extent(label: Label) -> tuple[float, float]:
    long = text_width(label.words, bold=label.bold) + 9
    return (label.x - 1, label.x + long) if label.anchor == "start" else (label.x - long, label.x + 1)


def _with(taken: tuple[Spans, ...], spot: Label) -> tuple[Spans, ...]:
    """`taken` with a label in its row and its leader through the rows below."""
    return tuple(
        (*spans, _extent(spot)) if row == spot.row else (*spans, (spot.x - 1, spot.x + 1)) if row < spot.row else spans
        for row, spans in enumerate(taken)
    )


def _spots(label: Label, width: float, taken: tuple[Spans, ...]) -> Iterator[Label]:
    for row, spans in enumerate(taken):
        if any(start < label.x + 0.5 and label.x - 0.5 < end for lower in taken[:row] for start, end in lower):
            return
        for anchor in ("start", "end"):
            spot = replace(label, row=row, anchor=anchor)
            left, right = _extent(spot)
            inside = left >= -40 and right <= width + 8
            if inside and all(right <= start or left >= end for start, end in spans):
                yield spot
