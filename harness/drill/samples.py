"""A judged run as one sample: the few numbers that runs are compared by. Here: reading them. Not here: what they say together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import StoreError
from harness.model.measured import Recovery
from harness.model.result import Result
from harness.model.verdict import Status, Verdict
from harness.plan.identity import comparable_key
from harness.run.outcome import read_plan
from harness.store.rundir import RunDir
from harness.units import NS_PER_S

__all__ = ["COUNTED", "Figure", "Sample", "read_result", "read_sample", "sample_of"]

COUNTED = (Verdict.PASS, Verdict.FAIL)
"""The verdicts whose numbers were proven; the others say nothing about the stack."""
NEAR_RATIO = 0.2
"""An objective with less room than this share of its limit is near it."""

Unit = Literal["s", "ratio", "count"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Value):
    """One number of a run, more being worse; `resolution` is how far off it may be, in the same unit."""

    value: float = Field(ge=0)
    unit: Unit
    resolution: float = 0.0


class Sample(_Value):
    """One run. `key` says what it may be compared with; `figures` lack what could not be measured."""

    run_id: str
    name: str
    started_utc: str
    verdict: Verdict
    key: str
    stack: str
    environment: str
    seed: int
    version: str
    commit: str | None = None
    dirty: bool | None = None
    figures: dict[str, Figure] = Field(default_factory=dict)
    missed: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


def read_result(run_dir: RunDir) -> Result:
    """The stored result of a run. Raises StoreError when there is none that can be read."""
    try:
        return Result.model_validate_json(run_dir.result.read_bytes())
    except (OSError, ValueError) as exc:
        raise StoreError(f"{run_dir.result}: not a judged run: {str(exc).splitlines()[0]}") from exc


def read_sample(run_dir: RunDir) -> Sample:
    """The run's sample. Raises StoreError when it was not judged, or its plan cannot be read."""
    result = read_result(run_dir)
    known = result.run.provenance
    return sample_of(result, comparable_key(read_plan(run_dir)) if known is None else known.comparable)


def sample_of(result: Result, key: str) -> Sample:
    """A result's sample under a comparability key."""
    run, known = result.run, result.run.provenance
    return Sample(
        run_id=run.run_id,
        name=run.name,
        started_utc=run.started_utc,
        verdict=result.verdict,
        key=key,
        stack=run.stack,
        environment=run.environment,
        seed=run.seed,
        version=run.version,
        commit=None if known is None else known.commit,
        dirty=None if known is None else known.dirty,
        figures=dict(_figures(result)),
        missed=tuple(one.text for one in result.objectives if one.status is Status.MISSED),
        near=tuple(
            one.text
            for one in result.objectives
            if one.status is Status.MET and one.margin_ratio is not None and 0 <= one.margin_ratio < NEAR_RATIO
        ),
    )


def _figures(result: Result) -> Iterator[tuple[str, Figure]]:
    measures = result.measures
    for name, recovery in (("recovery_time", measures.recovery), ("recovery_time.return", measures.recovery_return)):
        figure = _recovery(recovery)
        if figure is not None:
            yield name, figure
    step_s = (result.validity.resolution_ns or 0) / NS_PER_S
    for name, moment in (("detection", measures.instants.detection_ns), ("failover", measures.instants.failover_ns)):
        if moment is not None and moment >= 0:
            yield name, Figure(value=moment / NS_PER_S, unit="s", resolution=step_s)
    for row in measures.latency:
        slot = row.p99_ns if row.measure == "latency" else row.p95_ns
        if row.population == "calm" and row.f is None and row.group is None and slot is not None:
            name = "latency.p99" if row.measure == "latency" else "ttft.p95"
            yield name, Figure(value=slot / NS_PER_S, unit="s", resolution=step_s)
    for cost in measures.budgets:
        yield f"budget.{cost.slo}", Figure(value=max(cost.cost_share_ratio, 0.0), unit="ratio")
    if measures.loss.known and measures.loss.lost is not None:
        yield "data_loss", Figure(value=measures.loss.lost, unit="count")


def _recovery(recovery: Recovery) -> Figure | None:
    """The middle of the interval, half its width as the resolution. None when there is no upper bound, or nothing is known."""
    if recovery.state == "none":
        return Figure(value=0.0, unit="s")
    span = recovery.interval
    if recovery.state != "recovered" or span is None or span.hi_ns is None:
        return None
    return Figure(
        value=(span.lo_ns + span.hi_ns) / 2 / NS_PER_S, unit="s", resolution=(span.hi_ns - span.lo_ns) / 2 / NS_PER_S
    )
