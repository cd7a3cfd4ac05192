"""Load: what an engine is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.model.experiment import LocustCrew
from harness.model.fields import JsonObject

__all__ = [
    "Engine",
    "FaultMark",
    "LiveBatch",
    "LiveOp",
    "LoadJob",
    "LoadReport",
    "Markable",
    "Surging",
    "WorkerReport",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOp:
    """An op as the conductor sees it while the run goes on: enough for steady state, abort rules and progress."""

    intended_ns: int
    done_ns: int
    first_ns: int | None
    outcome: str
    f: str
    group: str | None
    region: str | None
    served_by: str | None
    phase: str
    wrong: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBatch:
    """What one worker reports every 100 ms: ops that ended, ops still open (f, intended_ns), and its own lateness.

    `dropped` are the intended instants of arrivals it could not start.
    """

    worker: int
    at_ns: int
    ended: tuple[LiveOp, ...]
    open: tuple[tuple[str, int], ...]
    dropped: tuple[int, ...]
    started_count: int
    late_p99_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob:
    """All that an engine needs. `entry` is the stack's entry URL, `regions` region -> its entry URL.

    Ops are due from `start_at_ns` on (since the origin) until `stop_arrivals`. `out_dir` gets `*.parquet`. There must be
    users for `surge_factor` times the planned rate.
    """

    profile: str
    options: JsonObject
    arrival: JsonObject
    timeout_ns: int
    seed: int
    entry: str
    regions: Mapping[str, str]
    groups: Mapping[str, float]
    users: int
    users_max: int | None
    deadline_ns: int | None
    prober_every_ns: int | None
    prober_timeout_ns: int | None
    workers: int
    origin_ns: int
    start_at_ns: int
    out_dir: str
    surge_factor: float = 1.0
    crew: LocustCrew | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultMark:
    """A worker heard of a change of a fault, at `at_ns` on the run's clock (within the worker's `clock_error_ns`)."""

    what: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """One worker's own account, for validity. `exit_code` is None while it lives; anything but 0 makes a run unprovable.

    Lateness is of starts against intended times, over all phases; `run_delay_ns` is time spent waiting for a CPU.
    `stalls` are the longest halts of the generator itself, (begin since the run's origin, length, "gc" or "cpu"), in ns.
    `clock_error_ns`: its ops' instants are right to within this; None: it has the run's own clock.
    """

    worker: int
    exit_code: int | None
    started_count: int
    ended_count: int
    dropped_count: int
    late_p50_ns: int | None
    late_p99_ns: int | None
    late_max_ns: int | None
    run_delay_ns: int | None
    cpu_ratio: float | None
    gc_pause_max_ns: int | None
    error: str | None = None
    stalls: tuple[tuple[int, int, str], ...] = ()
    clock_error_ns: int | None = None
    marks: tuple[FaultMark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What the engine did. `model` is the profile's declared model (None: its ops are not checked).

    `unread` lists "session@region" whose final read never succeeded. `closed_loop` engines cannot keep offering load.
    """

    engine: str
    profile: str
    model: str | None
    closed_loop: bool
    workers: tuple[WorkerReport, ...]
    unread: tuple[str, ...] = ()


class Engine(Protocol):
    """Offers load from its own processes. Calls come in this order; `close` may come at any time and always."""

    async def start(self, job: LoadJob, sink: Callable[[LiveBatch], None]) -> None:
        """Spawn workers, return once all are connected and armed. Raises SpecError for a bad profile, UnsafeError else."""
        ...

    async def stop_arrivals(self) -> None:
        """No arrival (nor prober op) is due from now on."""
        ...

    async def drain(self, limit_ns: int) -> None:
        """Return when nothing is in flight; what still is after `limit_ns` is cut and recorded so."""
        ...

    async def final(self, regions: Mapping[str, str], within_ns: int) -> None:
        """Final reads of every session with an acknowledged write, at each region's entry, retried until `within_ns`."""
        ...

    async def close(self) -> LoadReport:
        """End the workers, records flushed and closed. Idempotent."""
        ...

    def dead(self) -> Sequence[int]:
        """Workers that died on their own so far."""
        ...


@runtime_checkable
class Markable(Protocol):
    """An engine whose workers have clocks of their own, and are told when a fault changes."""

    def mark(self, what: str) -> None:
        """Tell them, and do not wait: when each heard of it is in the report."""
        ...


@runtime_checkable
class Surging(Protocol):
    """An engine that can offer more than was planned, for a while."""

    async def surge(self, name: str, factor: float, begin_ns: int, until_ns: int) -> None:
        """Offer `factor` times the planned rate in [begin_ns, until_ns). Raises InjectError when a worker does not take it."""
        ...

    async def calm(self, name: str) -> None:
        """End that surge now. Legal when there is none. Raises InjectError when a living worker does not answer."""
        ...


# ---- outputs ---------------------------------------------------------------------------------------------------------
