"""Whether the stack is in its steady state before anything is broken; if not, what was seen, and whether the machine is why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from harness.errors import UnsafeError
from harness.model.experiment import SteadyState
from harness.model.predicate import Predicate, words_of

__all__ = ["BUSY", "not_steady", "refused_unsteady", "starved_ratio"]

_PRESSURE = Path("/proc/pressure/cpu")
_TOO_BUSY_RATIO = 0.5
BUSY = "this machine is busy"
_SOME = re.compile(r"^some avg10=(\d+\.\d+)", re.MULTILINE)


class _Seen(Protocol):
    def observed(self, predicate: Predicate, now_ns: int, over_ns: int) -> float | None: ...


def not_steady(steady: SteadyState, live: _Seen, now_ns: int) -> str:
    """Each rule that does not hold over the span, with what was observed; empty when all hold."""
    missed = []
    for rule in steady.require:
        value = live.observed(rule, now_ns, steady.for_ns)
        if value is None or not rule.holds(value):
            seen = "nothing was observed" if value is None else f"observed {words_of(value, rule.unit)}"
            missed.append(f"{rule} ({seen})")
    return "; ".join(missed)


def refused_unsteady(missed: str, starved: float | None) -> UnsafeError:
    """The refusal of a run whose stack is not steady. `starved`: see `starved_ratio`."""
    remedy = "look at the stack before breaking it"
    if starved is not None and starved >= _TOO_BUSY_RATIO:
        remedy = f"{BUSY}: something waited for a processor {starved:.0%} of the last 10 s"
    return UnsafeError(f"steady state not met: {missed}", remedy=remedy)


def starved_ratio(pressure: Path = _PRESSURE) -> float | None:
    """For which share of the last 10 s some task of this machine waited for a processor; None where the kernel does not say.

    Source: the kernel's pressure stall information, `some avg10`.
    """
    try:
        found = _SOME.search(pressure.read_text())
    except OSError:  # a kernel without it, or one that was told not to keep it
        return None
    return float(found[1]) / 100 if found else None
