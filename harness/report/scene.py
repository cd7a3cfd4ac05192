"""The shared stage of every time chart: one zero, one span, faults as bands, moments as marks. Pure, from the result."""

from __future__ import annotations

from dataclasses import dataclass

from harness.model.result import Disruption, FaultResult, Result
from harness.report.numbers import at_text, point_ns, point_text
from harness.units import NS_PER_S, format_duration

__all__ = ["Band", "Mark", "Scene", "fault_end_ns", "scene_of"]

_RANK = (
    ("abort", "fail", 0),
    ("recover", "pass", 1),
    ("fault", "fail", 2),
    ("inject", "fail", 2),
    ("revert", "info", 3),
    ("heal", "info", 3),
    ("detect", "warn", 4),
    ("alert", "warn", 4),
    ("failover", "info", 5),
    ("promot", "info", 5),
    ("step", "info", 6),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A span of the run, half-open, cut to the scene."""

    start_ns: int
    end_ns: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment worth a line through the picture. Lower `rank` is labelled first."""

    at_ns: int
    words: str
    colour: str
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where zero is, from when to when, and what stands in between. All instants ns since the run's origin."""

    zero_ns: int
    zero_words: str
    start_ns: int
    end_ns: int
    faults: tuple[Band, ...]
    disruptions: tuple[Band, ...]
    marks: tuple[Mark, ...]

    def at(self, ns: int, decimals: int = 1) -> str:
        """The moment in the page's words, "T+4.4 s"."""
        return at_text(ns - self.zero_ns, decimals)


def fault_end_ns(fault: FaultResult, otherwise_ns: int) -> int:
    """When the fault's effect was surely over; `otherwise_ns` while that is not known."""
    if fault.end is None:
        return otherwise_ns
    return fault.end.hi_ns if fault.end.hi_ns is not None else fault.end.lo_ns


def _zero(result: Result) -> tuple[int, str]:
    recovery = result.measures.recovery
    if recovery.effect is not None:
        name = f"fault {recovery.from_fault}" if recovery.from_fault else "the fault"
        return recovery.effect.lo_ns, f"T+0 is when {name} took effect"
    effects = [(fault.effect.lo_ns, fault.id) for fault in result.faults if fault.effect is not None]
    if effects:
        at_ns, name = min(effects)
        return at_ns, f"T+0 is when fault {name} took effect"
    if result.t0_ns is not None:
        return result.t0_ns, "T+0 is the end of the steady state"
    return 0, "T+0 is the start of the run"


def _span(result: Result) -> tuple[int, int]:
    series, spans = result.series, result.phases
    if series.t_ns:
        start, end = series.t_ns[0], series.t_ns[-1] + series.bucket_ns
        steady = next((span.start_ns for span in spans if span.phase == "steady"), start)
        return (steady if start <= steady < end else start), end
    ends = [span.end_ns for span in spans if span.end_ns is not None]
    start = min((span.start_ns for span in spans), default=0)
    return start, max([*ends, start + NS_PER_S, result.run.duration_ns])


def _rank(kind: str) -> tuple[str, int]:
    folded = kind.lower()
    return next(((colour, rank) for part, colour, rank in _RANK if part in folded), ("muted", 7))


def _marks(result: Result, zero_ns: int) -> tuple[Mark, ...]:
    marks = [
        Mark(at_ns=mark.at_ns, words=mark.text[:48], colour=_rank(mark.kind)[0], rank=_rank(mark.kind)[1])
        for mark in result.marks
    ]
    present = {mark.rank for mark in marks}
    if 2 not in present:
        marks += [
            Mark(at_ns=fault.effect.lo_ns, words=f"{fault.id[:32]} begins", colour="fail", rank=2)
            for fault in result.faults
            if fault.effect is not None
        ]
    if 3 not in present:
        marks += [
            Mark(at_ns=fault.end.lo_ns, words=f"{fault.id[:32]} ends", colour="info", rank=3)
            for fault in result.faults
            if fault.end is not None
        ]
    recovery = result.measures.recovery
    if 1 not in present and recovery.state == "recovered" and recovery.interval is not None:
        words = f"recovered after {point_text(recovery.interval)}"
        marks.append(Mark(at_ns=zero_ns + point_ns(recovery.interval), words=words, colour="pass", rank=1))
    return tuple(sorted(marks, key=lambda mark: (mark.at_ns, mark.rank, mark.words)))


def _disruption_band(disruption: Disruption, end_ns: int) -> Band:
    over = disruption.end_ns if disruption.end_ns is not None else end_ns
    words = "service disrupted" if disruption.end_ns is not None else "service disrupted, end not seen"
    return Band(start_ns=disruption.start_ns, end_ns=over, words=words)


def _fault_band(fault: FaultResult, start_ns: int, end_ns: int) -> Band:
    over = fault_end_ns(fault, end_ns)
    words = f"{fault.id[:40]} stands {format_duration(round((over - start_ns) / 1e8) * 100_000_000)}"
    return Band(start_ns=start_ns, end_ns=over, words=words if fault.end is not None else f"{words} and on")


def scene_of(result: Result) -> Scene:
    """The stage for `result`. Without a series it spans the phases, without phases the run's duration."""
    zero_ns, zero_words = _zero(result)
    start_ns, end_ns = _span(result)
    faults = tuple(
        _fault_band(fault, fault.effect.lo_ns, end_ns) for fault in result.faults if fault.effect is not None
    )
    return Scene(
        zero_ns=zero_ns,
        zero_words=zero_words,
        start_ns=start_ns,
        end_ns=end_ns,
        faults=faults,
        disruptions=tuple(_disruption_band(span, end_ns) for span in result.measures.disruptions[:60]),
        marks=_marks(result, zero_ns),
    )
