"""Controls of a standard or of a house, and the sorts of evidence that support them: what a mapping holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Control", "Controls", "Evidence"]

Evidence = Literal[
    "disruption",
    "recovery",
    "switchover",
    "data",
    "put-back",
    "people",
    "communication",
    "findings",
    "report",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control, what it asks for in the words of whoever wrote it down, and the sorts of evidence that support it."""

    framework: str
    edition: str
    control: str
    asks: str
    by: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The mapping of a project: its controls, beside those that are shipped, or (`shipped` False) in their place."""

    controls: tuple[Control, ...] = ()
    shipped: bool = True
