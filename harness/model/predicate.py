"""One predicate grammar for every rule and objective: `MEASURE OP VALUE [for DURATION]`. Values only; `spec` parses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.units import format_duration, format_ratio

__all__ = ["MeasureRef", "Operator", "Predicate", "Unit", "words_of"]

Operator = Literal["<=", ">=", "<", ">", "=", "!="]
Unit = Literal["ns", "ratio", "count", "number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRef:
    """A measure by name, cut to a slice.

    `name` is the dotted name with its arguments in place: `recovery_time`, `recovery_time.return`, `budget.availability`,
    `latency.p99.all`, `probe.repl-lag.max`, `exactly-once.duplicates`. `where` holds the slice: group, region, f, phase.
    """

    name: str
    where: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.where:
            return self.name
        return f"{self.name}{{{','.join(f'{key}={value}' for key, value in sorted(self.where.items()))}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """A limit on a measure. `value` is in `unit` (ns as an exact integer); `for_ns` is None when not given."""

    measure: MeasureRef
    op: Operator
    value: float
    unit: Unit
    for_ns: int | None = None
    text: str

    def holds(self, observed: float) -> bool:
        """Whether one observed value, in the predicate's own unit, is within the limit."""
        match self.op:
            case "<=":
                return observed <= self.value
            case ">=":
                return observed >= self.value
            case "<":
                return observed < self.value
            case ">":
                return observed > self.value
            case "=":
                return observed == self.value
            case "!=":
                return observed != self.value

    def __str__(self) -> str:
        return self.text


def words_of(value: float, unit: Unit) -> str:
    """A value in a person's words: "2.3 s", "99.9 %", "12"."""
    if math.isinf(value):
        return "unbounded"
    match unit:
        case "ns":
            return format_duration(round(value))
        case "ratio":
            return format_ratio(value)
        case _:
            return f"{value:g}"
