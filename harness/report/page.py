"""The page as values: every word and number already chosen, so that HTML, Markdown and terminal cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from harness.report.figures import Bar

__all__ = [
    "Badge",
    "Because",
    "Block",
    "Cell",
    "Column",
    "Figure",
    "FindingLine",
    "Front",
    "Note",
    "ObjectiveLine",
    "Page",
    "Picture",
    "Pre",
    "Section",
    "Sheet",
    "Table",
    "Tile",
    "Tone",
]

Tone = Literal["pass", "fail", "warn", "info", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A judgement as a word, a sign and a tone: never the tone alone."""

    word: str
    sign: str
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Because:
    """One reason for a verdict."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One of the four headline figures. `figure` beside `value` qualifies it; `lines` stand below."""

    key: str
    label: str
    value: str
    figure: str = ""
    badge: Badge | None = None
    lines: tuple[str, ...] = ()
    bar: Bar | None = None
    picture: Markup | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveLine:
    """One objective or check, judged. `place` is "file:line" or empty."""

    anchor: str
    label: str
    text: str
    limit: str
    observed: str
    margin: str
    badge: Badge
    why: str
    kind: Literal["objective", "check"]
    place: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingLine:
    """A finding with its number, as it can be cited."""

    anchor: str
    number: str
    badge: Badge
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table. `href`: where its text leads, a page beside this one."""

    text: str
    badge: Badge | None = None
    code: bool = False
    anchor: str | None = None
    href: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its head, and whether it holds numbers."""

    head: str
    numeric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A real table; the first cell of a row is its head. `more` says what was left out."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The same picture for a wide and a narrow page."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture with its finding in words, a legend (words, colour, dashed) and the numbers behind it."""

    anchor: str
    title: str
    finding: str
    picture: Picture
    legend: tuple[tuple[str, Markup], ...] = ()
    table: Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A paragraph, or a list when there are several lines. `badge` makes it a judgement."""

    lines: tuple[str, ...]
    badge: Badge | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pre:
    """Text shown as it is, folded under `title` unless `open_`."""

    title: str
    text: str
    open_: bool = False


Block = Table | Figure | Note | Pre


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the evidence."""

    anchor: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Page one. `objectives` are at most a page's worth, worst first; `objectives_more` says where the rest is.

    `reasons`, `touched`, `advice`: what happened, what was done to the stack, what to do; of a PASS nothing of it is shown.
    """

    verdict: Badge
    title: str
    sentence: str
    facts: tuple[str, ...]
    banners: tuple[str, ...]
    meaning: str
    reasons: tuple[Because, ...]
    touched: str
    advice: tuple[str, ...]
    commands: tuple[str, ...]
    tiles: tuple[Tile, ...]
    ribbon: Figure | None
    means: tuple[str, ...]
    not_shown: tuple[str, ...]
    objectives: tuple[ObjectiveLine, ...]
    objectives_more: str
    findings: tuple[FindingLine, ...]
    findings_more: str
    trend: Figure | None
    trend_note: str
    footer: tuple[str, ...]

    @property
    def crowded(self) -> bool:
        """Whether the page needs smaller print to stay on one sheet."""
        return bool(self.reasons or self.banners) or self._lines > 8

    @property
    def packed(self) -> bool:
        """Whether it needs the smallest: many objectives below many reasons."""
        return bool(self.reasons) and self._lines + len(self.reasons) + len(self.banners) > 12

    @property
    def _lines(self) -> int:
        return len(self.objectives) + sum(bool(line.why) for line in self.objectives if line.badge.tone != "pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A page about several runs: a banner, headline figures, sections. `verdict` None: it judges nothing as a whole."""

    name: str
    verdict: Badge | None
    kicker: str
    sentence: str
    facts: tuple[str, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The whole report."""

    name: str
    run_id: str
    front: Front
    sections: tuple[Section, ...]
