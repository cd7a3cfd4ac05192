"""The minimal history that proves an anomaly, as bars: one operation a row, by session or client, the faults shaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.model.result import CheckResult, EvidenceRow
from harness.report.frame import NARROW, WIDE, Variant, Words
from harness.report.page import Figure, Picture, Table
from harness.report.scene import Scene
from harness.report.svg import Box, document, line, path, rect, text, text_width

__all__ = ["minimal_figure"]

ROW = 22.0
LEFT = 92.0


@dataclass(frozen=True, slots=True)
class _Axis:
    """Instants in their order, at equal steps: what matters is which came before which, and a final read is far away."""

    instants: tuple[int, ...]
    left: float
    width: float

    def x(self, ns: int) -> float:
        """Where an instant stands; one that is not on the axis stands behind the last before it."""
        place = sum(instant <= ns for instant in self.instants) - 1
        return self.left + (place + 0.5) * self.width / max(len(self.instants), 1)


def minimal_figure(check: CheckResult, scene: Scene, rows: Table) -> Figure | None:
    """The picture of a check's evidence, with its rows as the table behind it; None where these have no instants."""
    # An operation may prove two things: it has a row in the table for each, and one bar.
    once = {row.op: row for row in check.evidence if row.began_ns is not None and row.lane is not None}
    drawn = list(once.values())
    if not drawn:
        return None
    drawn.sort(key=lambda row: (row.lane or "", row.began_ns or 0))
    title = f"{check.name}: the operations that prove it"
    finding = f"{check.sentence}. Instants stand in their order, not to scale; shaded: a fault stands."
    words = Words(name=f"minimal-{check.name}", title=title, finding=finding)
    picture = Picture(wide=_draw(drawn, scene, words, WIDE), narrow=_draw(drawn, scene, words, NARROW))
    return Figure(anchor=f"fig-minimal-{check.name}", title=title, finding=finding, picture=picture, table=rows)


def _draw(rows: Sequence[EvidenceRow], scene: Scene, words: Words, variant: Variant) -> Markup:
    axis = _axis(rows, scene, variant)
    top, height = 6.0, ROW * len(rows)
    body = []
    for band in scene.faults:
        left, right = axis.x(band.start_ns), axis.x(band.end_ns)
        if right > left:
            body.append(rect(Box(x=left, y=top, width=right - left, height=height), "rule", opacity=0.13))
    lane = None
    for place, row in enumerate(rows):
        y = top + place * ROW
        if row.lane != lane:
            lane = row.lane
            body.append(line((0, y), (variant.width, y), "line"))
            body.append(text((2, y + 15), _short(str(lane), LEFT - 6), "text"))
        body += _bar(row, axis, y, variant)
    foot = top + height
    body.append(line((0, foot), (variant.width, foot), "line"))
    first, last = axis.instants[0], axis.instants[-1]
    body.append(text((axis.x(first), foot + 15), scene.at(first, 2), anchor="middle"))
    body.append(text((min(axis.x(last), variant.width - 30), foot + 15), scene.at(last, 2), anchor="middle"))
    return document(words.name, (variant.width, foot + 22), words.title, words.finding, body)


def _axis(rows: Sequence[EvidenceRow], scene: Scene, variant: Variant) -> _Axis:
    instants = {ns for row in rows for ns in (row.began_ns, row.ended_ns) if ns is not None}
    low, high = min(instants), max(instants)
    edges = (ns for band in scene.faults for ns in (band.start_ns, band.end_ns))
    # Of one operation alone nothing can be seen but where it stands beside the faults.
    instants |= {ns for ns in edges if low < ns < high or len(rows) == 1}
    return _Axis(tuple(sorted(instants)), LEFT, variant.width - LEFT - 8)


def _bar(row: EvidenceRow, axis: _Axis, y: float, variant: Variant) -> list[str]:
    """One operation: from its beginning to its end; one that may happen at any time later points on."""
    assert row.began_ns is not None
    left = axis.x(row.began_ns)
    label = f"op {row.op} {row.label or ''}".strip()
    if row.ended_ns is None:  # its label stands above it: it leaves no room beside
        right = variant.width - 12
        arrow = path(f"M{right:.1f} {y + 14:.1f}l8 4l-8 4z", fill="muted")
        shown = text((left, y + 13), _short(label, variant.width - left), "text")
        return [rect(Box(x=left, y=y + 16, width=max(right - left, 3), height=4), "muted", radius=1), arrow, shown]
    right = axis.x(row.ended_ns)
    bar = rect(Box(x=left, y=y + 5, width=max(right - left, 3), height=12), "s1", radius=2)
    after, before = variant.width - right - 6, left - LEFT - 4
    if after >= min(before, text_width(label)):
        return [bar, text((right + 4, y + 15), _short(label, after), "text")]
    return [bar, text((left - 4, y + 15), _short(label, before), "text", anchor="end")]


def _short(label: str, room: float) -> str:
    while len(label) > 2 and text_width(label) > room:
        label = label[:-2] + "…"
    return label
