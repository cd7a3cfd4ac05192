"""Two sets of runs compared, by the rules that few samples allow. Pure.

A limit always counts: a new run that is not a PASS decides alone. A change of a number is called one only with 5 old and 3 new
runs, an exact one-sided Mann-Whitney test at 5 %, an effect of at least a fifth, and a shift of twice the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from harness.drill.samples import COUNTED, Sample, Unit
from harness.measure.ranks import deviation, median_coverage, ratio, shift, worse_p
from harness.model.verdict import EXIT_CODES, Verdict, worst
from harness.units import NS_PER_S, format_duration, format_ratio

__all__ = ["FEWEST_NEW", "FEWEST_OLD", "Comparison", "LeftOut", "Measured", "compare", "shown", "spread"]

FEWEST_OLD = 5
FEWEST_NEW = 3
LARGEST_P = 0.05
SMALLEST_RATIO = 1.2
RESOLUTIONS = 2
OUTLIER_DEVIATIONS = 3

Finding = Literal["worse", "better", "no change", "suspected", "not enough runs", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measure over both sets, in run order. `p` is one-sided, in the direction of the shift; None where nothing was tested."""

    measure: str
    unit: Unit
    old: tuple[float, ...]
    new: tuple[float, ...]
    finding: Finding
    p: float | None = None
    ratio: float | None = None
    shift: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A run that could not be compared, and why."""

    run_id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What can be said. `verdict` is the worst of the new runs': limits count whatever the numbers say."""

    key: str | None
    old: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    verdict: Verdict
    missed: tuple[str, ...]
    near: tuple[str, ...]
    measures: tuple[Measured, ...]
    cautions: tuple[str, ...]

    @property
    def worse(self) -> tuple[str, ...]:
        """The measures that got worse."""
        return tuple(one.measure for one in self.measures if one.finding == "worse")

    def exit_code(self, *, block: bool) -> int:
        """The new runs' own exit code; else 1 for a regression when it blocks, 0 otherwise."""
        own = EXIT_CODES[self.verdict]
        return own or (EXIT_CODES[Verdict.FAIL] if block and self.worse else 0)


def compare(old: Sequence[Sample], new: Sequence[Sample]) -> Comparison:
    """New runs against old ones, of the newest new run's comparability key. A run in both sets counts as new."""
    reference = max((one for one in new if one.verdict in COUNTED), key=lambda one: one.run_id, default=None)
    own = {one.run_id for one in new}
    before, dropped_old = _usable([one for one in old if one.run_id not in own], reference)
    after, dropped_new = _usable(new, reference)
    names = sorted({name for one in (*before, *after) for name in one.figures}, key=_rank)
    return Comparison(
        key=None if reference is None else reference.key,
        old=tuple(one.run_id for one in before),
        new=tuple(one.run_id for one in after),
        left_out=(*dropped_old, *dropped_new),
        verdict=worst(one.verdict for one in new),
        missed=tuple(dict.fromkeys(text for one in new for text in one.missed)),
        near=tuple(dict.fromkeys(text for one in after for text in one.near)),
        measures=tuple(_measured(name, before, after) for name in names),
        cautions=tuple(_cautions(before, after)),
    )


def _usable(samples: Sequence[Sample], reference: Sample | None) -> tuple[list[Sample], list[LeftOut]]:
    kept, dropped = [], []
    for one in sorted(samples, key=lambda sample: sample.run_id):
        why = _unlike(one, reference)
        if why is None:
            kept.append(one)
        else:
            dropped.append(LeftOut(run_id=one.run_id, why=why))
    return kept, dropped


def _unlike(one: Sample, reference: Sample | None) -> str | None:
    if one.verdict not in COUNTED:
        return f"{one.verdict}: its numbers are not proven"
    if reference is None:
        return "no new run has proven numbers"
    for what in ("name", "environment", "stack"):
        mine, theirs = getattr(one, what), getattr(reference, what)
        if mine != theirs:
            return f"another {'experiment' if what == 'name' else what}: {mine!r}, not {theirs!r}"
    if one.key != reference.key:
        return f"another plan: {one.key[:12]}, not {reference.key[:12]} (stack, load or timeline differ)"
    return None


def _rank(name: str) -> tuple[int, str]:
    order = ("recovery_time", "recovery_time.return", "detection", "failover", "data_loss")
    return (order.index(name) if name in order else len(order), name)


def _measured(name: str, before: Sequence[Sample], after: Sequence[Sample]) -> Measured:
    figures = [one.figures[name] for one in (*before, *after) if name in one.figures]
    old = tuple(one.figures[name].value for one in before if name in one.figures)
    new = tuple(one.figures[name].value for one in after if name in one.figures)
    unit = figures[0].unit
    resolution = max(figure.resolution for figure in figures)
    if not old or not new:
        lacking = "old" if not old else "new"
        return Measured(
            measure=name, unit=unit, old=old, new=new, finding="not measured", words=f"no {lacking} run has a value"
        )
    times, by = ratio(old, new), shift(old, new)
    assert times is not None
    assert by is not None
    if len(old) < FEWEST_OLD or len(new) < FEWEST_NEW:
        finding, words = _too_few(old, new, resolution)
        return Measured(measure=name, unit=unit, old=old, new=new, finding=finding, ratio=times, shift=by, words=words)
    p = worse_p(old, new) if by >= 0 else worse_p(new, old)
    large = times >= SMALLEST_RATIO if by >= 0 else times <= 1 / SMALLEST_RATIO
    changed = p <= LARGEST_P and large and by != 0 and abs(by) >= RESOLUTIONS * resolution
    result: Finding = "no change" if not changed else "worse" if by > 0 else "better"
    return Measured(
        measure=name,
        unit=unit,
        old=old,
        new=new,
        finding=result,
        p=p,
        ratio=times,
        shift=by,
        words=f"{_times(times)} as much, exact one-sided p {p:.2g}",
    )


def _times(value: float) -> str:
    return "many times" if value == float("inf") else f"{value:.2f} times"


def _too_few(old: tuple[float, ...], new: tuple[float, ...], resolution: float) -> tuple[Finding, str]:
    """Not enough runs to tell, or a value so far outside the old ones that it should be repeated."""
    need = f"have {len(old)} old and {len(new)} new, need {FEWEST_OLD} and {FEWEST_NEW}"
    if len(old) >= FEWEST_OLD:
        limit = median(old) + OUTLIER_DEVIATIONS * deviation(old)
        if min(new) > max(*old, limit) and min(new) - median(old) >= RESOLUTIONS * resolution:
            return "suspected", f"worse than every old run; repeat it until there are {FEWEST_NEW} ({need})"
    return "not enough runs", f"not enough runs to compare ({need})"


def _cautions(before: Sequence[Sample], after: Sequence[Sample]) -> list[str]:
    found = []
    versions = sorted({one.version for one in (*before, *after)})
    if len(versions) > 1:
        found.append(f"measured by different versions of Blackstart: {', '.join(versions)}")
    dirty = [one.run_id for one in (*before, *after) if one.dirty]
    if dirty:
        found.append(f"run from a work tree with changes: {', '.join(dirty[:5])}")
    return found


def shown(value: float, unit: Unit) -> str:
    """A value as a person reads it: "4.35 s", "0.16 %", "7"."""
    if unit == "s":
        return format_duration(round(value * NS_PER_S))
    return format_ratio(value) if unit == "ratio" else f"{value:g}"


def spread(values: Sequence[float], unit: Unit) -> str:
    """Median, smallest and largest, and how surely those hold the true median. Never a mean: too few values for one."""
    if not values:
        return "-"
    if len(values) == 1:
        return shown(values[0], unit)
    sure = f"{median_coverage(len(values)):.0%}"
    return f"{shown(median(values), unit)} ({shown(min(values), unit)} to {shown(max(values), unit)}, {sure} sure)"
