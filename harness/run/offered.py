"""The load while it is offered: what workers report they started, and the way to ask them for more."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from harness.errors import InjectError
from harness.history.events import Event, FaultEvent
from harness.model.arrivals import expected_count
from harness.model.experiment import ArrivalSpec
from harness.model.plan import PlannedFault
from harness.model.ports import Clock, Engine, LiveBatch, Markable, Surging

__all__ = ["OfferedLoad", "surge_factor"]

_KEPT = 100
_MARKED = ("applying", "witnessed", "reverting", "reverted")
_NS_PER_S = 1_000_000_000


def surge_factor(faults: Iterable[PlannedFault]) -> float:
    """By how much the faults on the load multiply it, at most: 1.0 when there is none."""
    factors = [float(fault.params["factor"]) for fault in faults if any(t.kind == "load" for t in fault.targets)]
    return max(factors, default=1.0)


class OfferedLoad:
    """A `ports.LoadControl` over an engine. `feed` it every batch."""

    def __init__(self, engine: Engine, arrival: ArrivalSpec, clock: Clock) -> None:
        self._engine, self._arrival, self._clock = engine, arrival, clock
        self._start_ns = clock.now_ns()
        self._seen: dict[int, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._dropped: dict[int, int] = defaultdict(int)

    def began(self, start_ns: int) -> None:
        """Ops are due from then on."""
        self._start_ns = start_ns

    def feed(self, batch: LiveBatch) -> None:
        """Count what one worker started and dropped."""
        self._dropped[batch.worker] += len(batch.dropped)
        self._seen[batch.worker].append((batch.at_ns, batch.started_count + self._dropped[batch.worker]))

    def heard(self, event: Event) -> None:
        """Tell workers that have clocks of their own of a fault that comes or goes."""
        if isinstance(event, FaultEvent) and event.stage in _MARKED and isinstance(self._engine, Markable):
            self._engine.mark(f"{event.id} {event.stage} on {event.target}")

    async def surge(self, name: str, factor: float, until_ns: int) -> None:
        if not isinstance(self._engine, Surging):
            raise InjectError("this load engine cannot offer more than was planned")
        await self._engine.surge(name, factor, self._clock.now_ns(), until_ns)

    async def calm(self, name: str) -> None:
        if isinstance(self._engine, Surging):
            await self._engine.calm(name)

    def offered_per_s(self, over_ns: int) -> float:
        """Over the batches of each worker's last `over_ns`, up to its newest."""
        total = 0.0
        for counts in self._seen.values():
            last_ns, last = counts[-1]
            first_ns, first = next((at_ns, n) for at_ns, n in counts if at_ns >= last_ns - over_ns)
            total += (last - first) * _NS_PER_S / (last_ns - first_ns) if last_ns > first_ns else 0.0
        return total

    def planned_per_s(self, over_ns: int) -> float:
        since_ns = self._clock.now_ns() - self._start_ns
        over_ns = min(over_ns, since_ns)  # a load that is younger has its rate from its first arrival on
        return expected_count(self._arrival, since_ns - over_ns, since_ns) * _NS_PER_S / over_ns if over_ns > 0 else 0.0
