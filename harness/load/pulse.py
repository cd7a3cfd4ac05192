"""How well the generator itself is: lateness, garbage collection, waiting for a CPU. Numbers for validity, not for the stack."""

from __future__ import annotations

import gc
import heapq
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

__all__ = ["STALL_NS", "GcPauses", "Lateness", "Pulse", "Stalls", "percentile"]

STALL_NS = 5_000_000
"""Stalls shorter than this are not noted one by one."""

_STALLS_KEPT = 100
_FINE_BITS = 5  # 32 buckets per factor of two: percentiles are right to 3 %


def percentile(values: Sequence[int], share: float) -> int | None:
    """The value that `share` of the values do not exceed (nearest rank); None for none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


class Lateness:
    """A histogram of non-negative ns, exact at its maximum, right to 3 % elsewhere, small for any number of values."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._recent: list[int] = []
        self.max_ns: int | None = None

    def add(self, late_ns: int) -> None:
        """Count one value; negative ones count as 0."""
        late_ns = max(0, late_ns)
        shift = max(0, late_ns.bit_length() - _FINE_BITS - 1)
        self._buckets[late_ns >> shift << shift] += 1
        self._recent.append(late_ns)
        if self.max_ns is None or late_ns > self.max_ns:
            self.max_ns = late_ns

    def percentile(self, share: float) -> int | None:
        """The lower edge of the bucket in which this share is reached; None without values."""
        rank = math.ceil(share * self._buckets.total())
        for edge in sorted(self._buckets):
            rank -= self._buckets[edge]
            if rank <= 0:
                return edge
        return None

    def take_recent_p99(self) -> int | None:
        """The 99th percentile of the values since the last call; None without any."""
        recent, self._recent = self._recent, []
        return percentile(recent, 0.99)


class Stalls:
    """When the generator itself stood still, on the run's clock: (begin_ns, length_ns, what), the longest of them.

    What: "gc", a garbage collection; "cpu", waiting for a processor, all of it between two looks as one stall.
    """

    def __init__(self, origin_ns: int) -> None:
        self._origin_ns = origin_ns
        self._longest: list[tuple[int, int, str]] = []  # a heap, shortest first

    def add(self, begin_ns: int, length_ns: int, what: str) -> None:
        """Note a stall that began at `begin_ns` of CLOCK_MONOTONIC; a short one is passed over."""
        if length_ns < STALL_NS:
            return
        heapq.heappush(self._longest, (length_ns, begin_ns - self._origin_ns, what))
        if len(self._longest) > _STALLS_KEPT:
            heapq.heappop(self._longest)

    def noted(self) -> list[tuple[int, int, str]]:
        """What was noted, by its begin."""
        return sorted((begin_ns, length_ns, what) for length_ns, begin_ns, what in self._longest)


class GcPauses:
    """The longest garbage collection since `watch`."""

    def __init__(self) -> None:
        self.max_ns: int | None = None
        self.stalls: Stalls | None = None
        self._began_ns = 0

    def watch(self) -> None:
        """Collect and freeze what there is, and time every collection from now on."""
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._note)

    def _note(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        del info
        if phase == "start":
            self._began_ns = time.monotonic_ns()
        else:
            length_ns = time.monotonic_ns() - self._began_ns
            self.max_ns = max(self.max_ns or 0, length_ns)
            if self.stalls is not None:
                self.stalls.add(self._began_ns, length_ns, "gc")


class Pulse:
    """CPU share and time spent waiting for a CPU, of this process's main thread, since `begin`."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count from now."""
        self._wall_ns, self._cpu_ns, self._delay_ns = time.monotonic_ns(), time.process_time_ns(), _run_delay_ns()
        self._looked_ns, self._looked_delay_ns = self._wall_ns, self._delay_ns

    def look(self, stalls: Stalls) -> None:
        """Note what was spent waiting for a processor since the last look (or `begin`)."""
        now_ns, delay_ns = time.monotonic_ns(), _run_delay_ns()
        if delay_ns is not None and self._looked_delay_ns is not None:
            stalls.add(self._looked_ns, delay_ns - self._looked_delay_ns, "cpu")
        self._looked_ns, self._looked_delay_ns = now_ns, delay_ns

    def cpu_ratio(self) -> float | None:
        """CPU time per wall time; None before any time has passed."""
        wall_ns = time.monotonic_ns() - self._wall_ns
        return (time.process_time_ns() - self._cpu_ns) / wall_ns if wall_ns > 0 else None

    def run_delay_ns(self) -> int | None:
        """Time on a run queue without running; None where the kernel does not tell."""
        delay_ns = _run_delay_ns()
        return None if delay_ns is None or self._delay_ns is None else delay_ns - self._delay_ns


def _run_delay_ns() -> int | None:
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
