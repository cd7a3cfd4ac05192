"""A server whose outage is known to the nanosecond, seen through an open-loop client. Imports nothing that is under test."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

MS = 1_000_000
S = 1_000_000_000


@dataclass(frozen=True)
class Outage:
    """From `start_ns` for `length_ns`: refuse (at once), reset (in flight too), freeze (all wait) or half (a share refused)."""

    kind: Literal["refuse", "reset", "freeze", "partial"]
    start_ns: int
    length_ns: int
    share: float = 0.5

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.length_ns


@dataclass(frozen=True)
class Answer:
    intended_ns: int
    done_ns: int
    ok: bool


def answers(
    seed: int,
    *,
    rate: float,
    length_ns: int,
    outages: tuple[Outage, ...] = (),
    timeout_ns: int = S,
    errors: float = 0.0,
) -> list[Answer]:
    """Every answer of a run of `length_ns`, Poisson arrivals, service 5 to 15 ms."""
    chance = random.Random(seed)
    at_ns, out = 0.0, []
    while True:
        at_ns += chance.expovariate(rate) * S
        if at_ns >= length_ns:
            return out
        out.append(_answer(int(at_ns), chance, outages, timeout_ns, errors))


def _answer(at_ns: int, chance: random.Random, outages: tuple[Outage, ...], timeout_ns: int, errors: float) -> Answer:
    ready_ns = at_ns + int(chance.uniform(5, 15) * MS)
    if chance.random() < errors:
        return Answer(at_ns, ready_ns, ok=False)
    for outage in outages:
        arrives_inside = outage.start_ns <= at_ns < outage.end_ns
        in_flight = at_ns < outage.start_ns < ready_ns
        if outage.kind == "refuse" and arrives_inside:
            return Answer(at_ns, at_ns + MS // 5, ok=False)
        if outage.kind == "reset" and (arrives_inside or in_flight):
            return Answer(at_ns, max(at_ns + MS // 5, outage.start_ns), ok=False)
        if outage.kind == "partial" and arrives_inside and chance.random() < outage.share:
            return Answer(at_ns, at_ns + MS // 5, ok=False)
        if outage.kind == "freeze" and (arrives_inside or in_flight):
            ready_ns = outage.end_ns + int(chance.uniform(1, 15) * MS)
            if ready_ns - at_ns > timeout_ns:
                return Answer(at_ns, at_ns + timeout_ns, ok=False)
    return Answer(at_ns, ready_ns, ok=True)
