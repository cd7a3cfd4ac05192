"""Bytes on a faulted link, with the load and without: health checks alone are no exposure."""

from __future__ import annotations

import asyncio
from typing import Any

from harness.model.plan import PlannedFault, Target
from harness.run.traffic import EXPOSURE_NS, IDLE_NS, LinkTraffic

MS = 1_000_000


class Clock:
    """Time that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        return self.now

    async def sleep_until(self, at_ns: int) -> None:
        while self.now < at_ns:
            await asyncio.sleep(0)


class Links:
    """A fault proxy whose link carries 10 bytes each 100 ms by itself, and 50 more while `loaded`."""

    embedded = True

    def __init__(self) -> None:
        self.total, self.loaded = 0, False

    def tick(self) -> None:
        self.total += 60 if self.loaded else 10

    async def counters(self, link: str) -> Any:
        return type("Counters", (), {"bytes_up": self.total, "bytes_down": 0})()


def fault(link: str) -> PlannedFault:
    words = {"what": "", "clients_see": "", "on_revert": ""}
    target = Target(kind="link", name=link)
    return PlannedFault(
        id="cut", entry="cut", kind="partition", params={}, targets=(target,), at_ns=0, for_ns=None, **words
    )


async def test_what_crosses_without_load_is_told_beside_what_crosses_with_it() -> None:
    clock, links = Clock(), Links()
    traffic = LinkTraffic([fault("db")], links, clock)  # type: ignore[arg-type]

    async def live() -> None:
        while True:
            clock.now += 100 * MS
            links.tick()
            for _ in range(5):
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(live()), asyncio.create_task(traffic.count())]
    try:
        await traffic.rest()
        calm = clock.now
        links.loaded = True
        await clock.sleep_until(calm + EXPOSURE_NS)
        note = traffic.noted(fault("db"))
    finally:
        for task in tasks:
            task.cancel()
    assert note is not None
    assert calm >= IDLE_NS
    assert 450 <= note.data["idle"] <= 650, "10 bytes each 100 ms"
    assert 2600 <= note.data["bytes"] <= 3100, "60 bytes each 100 ms"


async def test_a_link_that_nobody_counts_costs_no_time_and_says_nothing() -> None:
    traffic = LinkTraffic([fault("db")], None, Clock())  # type: ignore[arg-type]
    await traffic.rest()
    await traffic.count()
    assert traffic.noted(fault("db")) is None
