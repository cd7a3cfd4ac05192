"""The shared stage of every time chart: one zero, one span, faults as bands, moments as marks. Pure, from the result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.model.measured import Disruption, Interval
from harness.model.result import FaultResult, Result, zero_of
from harness.report.numbers import at_text
from harness.units import NS_PER_S, format_duration

__all__ = ["Band", "Mark", "Scene", "fault_end_ns", "first_effect_ns", "is_moment", "proven_ns", "scene_of"]

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
    ("signal", "info", 6),
    ("step", "info", 6),
)
_SOURCE = re.compile(r" \(\w+://[^)]*\)$")  # where a signal was heard: the table has it
_TROUBLE = ("not seen", "gone early", "failed", "not proven")
MOST_MARKS = 24


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
    """When the fault's effect was surely over; `otherwise_ns` while that is not known.

    One that is put back and has no end, as a restart, is a moment: its effect.
    """
    if fault.end is None:
        return fault.effect.lo_ns if is_moment(fault) and fault.effect is not None else otherwise_ns
    return fault.end.hi_ns if fault.end.hi_ns is not None else fault.end.lo_ns


def is_moment(fault: FaultResult) -> bool:
    """Whether it took effect at once and stood for no time: proven put back, without an end of its own."""
    return fault.end is None and fault.reverted and fault.verified


def _zero(result: Result) -> tuple[int, str]:
    zero = zero_of(result.measures.recovery, result.faults)
    if zero is not None:
        at_ns, name = zero
        return at_ns, f"T+0 is when {f'fault {name}' if name else 'the fault'} took effect"
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


def _rank(kind: str, text: str) -> tuple[str, int]:
    for said in (f"{text} {kind}".lower(),) if kind == "signal" else (kind.lower(),):
        for part, colour, rank in _RANK:
            if part in said:
                return colour, rank
    return "muted", 9


def first_effect_ns(result: Result) -> int | None:
    """The earliest that any fault took effect, from which the result's instants count; None without one."""
    return min((fault.effect.lo_ns for fault in result.faults if fault.effect is not None), default=None)


def _stated(result: Result) -> list[Mark]:
    """The result's own moments, as far as a line through a picture is worth it: notes stay in the table."""
    effects = any(fault.effect is not None for fault in result.faults)
    out: list[Mark] = []
    seen: set[str] = set()
    for moment in result.marks:
        colour, rank = _rank(moment.kind, moment.text)
        trouble = any(words in moment.text for words in _TROUBLE)
        told = rank in (2, 3) and effects and not trouble and moment.kind in ("inject", "revert")
        if rank < 9 and not told and moment.text not in seen:
            seen.add(moment.text)
            shown = _SOURCE.sub("", moment.text)[:48]
            out.append(Mark(at_ns=moment.at_ns, words=shown, colour=colour, rank=rank))
    return out


def _derived(result: Result, zero_ns: int) -> list[Mark]:
    """Moments that follow from faults, recovery and instants."""
    out: list[Mark] = []
    for fault in result.faults:
        if fault.effect is not None:
            words = f"{fault.id[:32]} ({fault.kind[:16]})"
            out.append(Mark(at_ns=fault.effect.lo_ns, words=words, colour="fail", rank=2))
        if fault.end is not None:
            out.append(Mark(at_ns=fault.end.lo_ns, words=f"{fault.id[:32]} ends", colour="info", rank=3))
    recovery, instants = result.measures.recovery, result.measures.instants
    if recovery.state == "recovered" and recovery.interval is not None:
        out.append(Mark(at_ns=zero_ns + proven_ns(recovery.interval), words="proven back", colour="pass", rank=1))
    first = first_effect_ns(result)
    for after_ns, words, colour, rank in (
        (instants.detection_ns, "detected", "warn", 4),
        (instants.failover_ns, "failed over", "info", 5),
    ):
        if after_ns is not None and first is not None:
            out.append(Mark(at_ns=first + after_ns, words=words, colour=colour, rank=rank))
    return out


def proven_ns(interval: Interval) -> int:
    """When service was surely back: an interval's upper bound. The number in its middle may be before the failover."""
    return interval.lo_ns if interval.hi_ns is None else interval.hi_ns


def _merged(marks: Sequence[Mark], near_ns: int) -> list[Mark]:
    """Lesser moments that no eye could part become one, their words joined. `marks` in time order."""
    out: list[Mark] = []
    for mark in marks:
        last = out[-1] if out else None
        if last is not None and last.rank >= 4 and mark.rank >= 4 and mark.at_ns - last.at_ns <= near_ns:
            first, second = (last, mark) if last.rank <= mark.rank else (mark, last)
            out[-1] = replace(first, at_ns=last.at_ns, words=f"{first.words}, {second.words}"[:60])
        else:
            out.append(mark)
    return out


def _marks(result: Result, zero_ns: int, near_ns: int) -> tuple[Mark, ...]:
    marks = _stated(result)
    present = {mark.rank for mark in marks}
    marks += [mark for mark in _derived(result, zero_ns) if mark.rank not in present]
    kept = sorted(marks, key=lambda mark: (mark.rank, mark.at_ns, mark.words))[:MOST_MARKS]
    return tuple(_merged(sorted(kept, key=lambda mark: (mark.at_ns, mark.rank, mark.words)), near_ns))


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
        _fault_band(fault, fault.effect.lo_ns, end_ns)
        for fault in result.faults
        if fault.effect is not None and not is_moment(fault)
    )
    return Scene(
        zero_ns=zero_ns,
        zero_words=zero_words,
        start_ns=start_ns,
        end_ns=end_ns,
        faults=faults,
        disruptions=tuple(_disruption_band(span, end_ns) for span in result.measures.disruptions[:60]),
        marks=_marks(result, zero_ns, (end_ns - start_ns) // 100),
    )
