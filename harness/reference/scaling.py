"""How much capacity each engine should have: decided on what it does now and on where that is going. Pure.

An engine should be busy to three quarters at most when what is ordered now arrives. The standby is as large as the largest of
those that it stands by for: what a region that is lost carried has to fit at once. Capacity is given back down to the most that was
called for of late, as horizontal autoscalers do it (their stabilisation window).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.reference.forecast import Trend
from harness.reference.mutants import SCALES_LATE, SCALES_TO_AND_FRO

__all__ = ["Bounds", "Lane", "Order", "Seen", "orders"]

_BUSY = 0.75
_SPARE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Within what it scales. Times in seconds."""

    floor: int
    ceiling: int
    provision_s: float  # from an order to its arrival
    cool_s: float  # so long nothing called for as much, before any is given back


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an engine says of itself."""

    slots: int
    running: int
    waiting: int

    @property
    def demand(self) -> int:
        """Answers that want to be under way."""
        return self.running + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """To have so many slots, after so many seconds."""

    slots: int
    after_s: float


@dataclass(slots=True, kw_only=True)
class Lane:
    """One engine over time. `asked`: the slots that it has, or will have once what was ordered arrives."""

    trend: Trend = field(default_factory=Trend)
    asked: int = 0
    due_s: float = 0.0  # when the last order arrives
    began_s: float = 0.0  # when it was first seen, or seen again
    needs: deque[tuple[float, int]] = field(default_factory=deque)  # when, and how much was called for
    flips: int = 0  # times that it turned from more to less or back
    last: int = 0  # the direction of the last order
    seen: Seen | None = None

    def look(self, seen: Seen | None, gap_s: float, now_s: float) -> None:
        """Take in what an engine says; None when it does not answer, and may come back with what it began with."""
        self.seen = seen
        if seen is None:
            self.asked = 0
            return
        self.trend.observe(seen.demand, gap_s)
        if not self.asked:
            self.began_s = now_s
        if not self.asked or now_s > self.due_s + 1:
            self.asked = seen.slots


def orders(
    lanes: Mapping[str, Lane], standby: str, bounds: Bounds, now_s: float, mutants: frozenset[str] = frozenset()
) -> dict[str, Order]:
    """What to order now, by engine; nothing for one that does not answer."""
    needs = {name: _need(lane, bounds, mutants) for name, lane in lanes.items()}
    if standby in needs and SCALES_LATE not in mutants:
        needs[standby] = max(needs.values())
    found = {}
    for name, need in needs.items():
        lane = lanes[name]
        order = _order(lane, need, bounds, now_s, 0.0 if SCALES_TO_AND_FRO in mutants else bounds.cool_s)
        if lane.seen is not None and order is not None:
            found[name] = order
    return found


def _need(lane: Lane, bounds: Bounds, mutants: frozenset[str]) -> int:
    seen = lane.seen
    if SCALES_LATE in mutants and seen is not None:
        need = seen.slots + seen.waiting if seen.waiting else seen.slots
    else:
        demand = max(lane.trend.ahead(bounds.provision_s + 1), seen.demand if seen is not None else 0)
        need = math.ceil(demand / _BUSY)
    return min(bounds.ceiling, max(bounds.floor, need))


def _order(lane: Lane, need: int, bounds: Bounds, now_s: float, cool_s: float) -> Order | None:
    """More at once; less when for a while nothing called for as much, and then what was called for most."""
    lane.needs.append((now_s, need))
    while lane.needs[0][0] < now_s - cool_s:
        lane.needs.popleft()
    if need > lane.asked:
        return _turned(lane, Order(slots=need, after_s=bounds.provision_s), now_s)
    most = max(need for _, need in lane.needs)
    spare = lane.asked - most
    if spare >= (max(2, _SPARE * lane.asked) if cool_s else 1) and now_s >= max(lane.due_s, lane.began_s + cool_s):
        return _turned(lane, Order(slots=most, after_s=0.0), now_s)
    return None


def _turned(lane: Lane, order: Order, now_s: float) -> Order:
    direction = 1 if order.slots > lane.asked else -1
    lane.flips += lane.last == -direction
    lane.last, lane.asked, lane.due_s = direction, order.slots, now_s + order.after_s
    return order
