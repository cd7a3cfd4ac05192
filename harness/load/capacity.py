"""How many users a job needs and may have, when an arrival is given up, how many files that takes. Pure but `read_trace`."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, repeat
from pathlib import Path

from harness.errors import SpecError
from harness.model.arrivals import peak_rate_per_s
from harness.model.experiment import ArrivalSpec
from harness.model.ports import LoadJob
from harness.units import NS_PER_S

__all__ = ["SPARE_FILES", "Capacity", "capacity", "draw_groups", "group_shares", "read_trace", "share_of"]

SPARE_FILES = 128
"""Files a worker needs beside one per user: interpreter, pipes, Parquet, final reads."""

_TIMEOUTS_PER_ARRIVAL = 4
_HEADROOM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Users over all workers: so many from the start, at most so many; an arrival is given up after `deadline_ns`."""

    users_min: int
    users_max: int
    deadline_ns: int

    def files_per_worker(self, workers: int) -> int:
        """Open files that one worker may need."""
        return math.ceil(self.users_max / workers) + SPARE_FILES


def capacity(job: LoadJob, spec: ArrivalSpec, wanted: int, trace_s: tuple[float, ...]) -> Capacity:
    """The job's capacity. `wanted` is how many users the profile wants from the start. Source: DESIGN §8."""
    deadline_ns = job.deadline_ns or _TIMEOUTS_PER_ARRIVAL * job.timeout_ns
    if spec.users is not None:
        return Capacity(users_min=spec.users, users_max=spec.users, deadline_ns=deadline_ns)
    users_min = max(1, job.users, wanted)
    if job.users_max is not None:
        return Capacity(users_min=min(users_min, job.users_max), users_max=job.users_max, deadline_ns=deadline_ns)
    busy = peak_rate_per_s(spec, deadline_ns, trace_s=trace_s) * job.surge_factor * deadline_ns / NS_PER_S
    return Capacity(users_min=users_min, users_max=max(users_min, math.ceil(busy * _HEADROOM)), deadline_ns=deadline_ns)


def share_of(total: int, part: int, parts: int) -> int:
    """How much of `total` falls to one of `parts` when it is dealt out one by one."""
    return total // parts + (1 if part < total % parts else 0)


def group_shares(groups: Mapping[str, float]) -> dict[str | None, float]:
    """Group -> share, in the document's order; one unnamed group when there are none."""
    return dict(groups.items()) if groups else {None: 1.0}


def draw_groups(groups: Mapping[str, float], seed: int) -> Iterator[str | None]:
    """The group of each arrival, in order: a pure function of shares and seed, the same in every worker."""
    shares = group_shares(groups)
    if len(shares) == 1:
        return repeat(next(iter(shares)))
    return iter(_drawn(list(zip(shares, accumulate(shares.values()), strict=True)), random.Random(f"{seed}:groups")))


def _drawn(bounds: list[tuple[str | None, float]], rng: random.Random) -> Iterator[str | None]:
    whole = bounds[-1][1]
    while True:
        point = rng.random() * whole
        yield next((name for name, bound in bounds if point < bound), bounds[-1][0])


def read_trace(path: str) -> tuple[float, ...]:
    """The seconds in a CSV's first column; a first line that is no number is a header. Raises SpecError, naming the line."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"load.arrival.trace: cannot read {path!r}: {exc}") from exc
    seconds: list[float] = []
    for number, line in enumerate(lines, start=1):
        cell = line.split(",")[0].strip().strip('"')
        if not cell:
            continue
        try:
            second = float(cell)
        except ValueError:
            second = math.nan
        if math.isfinite(second) and second >= 0:
            seconds.append(second)
        elif number > 1 or math.isfinite(second):
            raise SpecError(f"{path}:{number}: expected seconds since the start of the load, 0 or more, got {cell!r}")
    if not seconds:
        raise SpecError(f"{path}: no arrivals: expected one line per arrival, seconds since the start first")
    return tuple(seconds)
