"""What must be proven before a release goes out: the value of a `kind: gate` document. What `spec` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.model.experiment import Experiment

__all__ = ["FRESH_NS", "Gate", "GateEntry"]

FRESH_NS = 30 * 86_400 * 1_000_000_000
"""How old a pass may be, unless a gate says otherwise: 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEntry:
    """One experiment that must have passed: within `freshness_ns`, and so its newest `passes` proven runs. `line` cites it."""

    experiment: Experiment
    freshness_ns: int
    passes: int = 1
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The experiments, and what a flaky result or a regression means."""

    name: str
    title: str
    owner: str | None = None
    source: str
    flaky: Literal["block", "allow"] = "block"
    regression: Literal["off", "warn", "block"] = "off"
    entries: tuple[GateEntry, ...]
