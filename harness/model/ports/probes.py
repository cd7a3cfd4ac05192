"""Probes and signals: how a stack is looked at, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Probe", "ProbeSample", "Signals", "StackSignal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSample:
    """One answer. `ok` False is a failed sample: no sample, for measures. `value` is None when the answer has no number."""

    ok: bool
    value: float | None = None
    text: str | None = None
    error: str | None = None


class Probe(Protocol):
    """Asks one question, bounded in time."""

    async def sample(self, timeout_ns: int) -> ProbeSample:
        """The answer now. Never raises for a stack that misbehaves: that is a sample with `ok=False`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSignal:
    """An authoritative event of the stack: a promotion, a route change. `at_ns` is when we learned of it."""

    at_ns: int
    source: str
    event: str
    fields: Mapping[str, str]


class Signals(Protocol):
    """Follows one declared source of stack events."""

    async def follow(self, sink: Callable[[StackSignal], None]) -> None:
        """Report events until cancelled."""
        ...


# ---- load ------------------------------------------------------------------------------------------------------------
