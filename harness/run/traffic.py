"""Bytes on the links that a run will break: the proof that load reaches a fault which no header names."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from harness.history.events import NoteEvent
from harness.model.plan import PlannedFault
from harness.model.ports import Clock, LinkControl

__all__ = ["EXPOSURE_NS", "IDLE_NS", "LinkTraffic"]

EXPOSURE_NS = 5_000_000_000
IDLE_NS = 1_500_000_000
_COUNT_EVERY_NS = 250_000_000


class LinkTraffic:
    """Counts the links of a plan's faults, with the load and, before it, without: what crosses then are health checks.

    Links that no server of ours carries are not counted: nothing is noted of them.
    """

    def __init__(self, faults: Sequence[PlannedFault], links: LinkControl | None, clock: Clock) -> None:
        names = {target.name for fault in faults for target in fault.targets if target.kind == "link"}
        self._links = links if links is not None and links.embedded else None
        self._clock = clock
        self._counts: dict[str, deque[tuple[int, int]]] = {
            name: deque(maxlen=2 * EXPOSURE_NS // _COUNT_EVERY_NS) for name in sorted(names) if self._links is not None
        }
        self._idle: dict[str, int] = {}

    async def count(self) -> None:
        """Read the counters four times a second until cancelled; returns at once with nothing to count."""
        at_ns = self._clock.now_ns()
        while self._counts:
            for link in self._counts:
                await self._read(link)
            at_ns += _COUNT_EVERY_NS
            await self._clock.sleep_until(at_ns)

    async def rest(self) -> None:
        """Measure what crosses each link while no load is on: `IDLE_NS` long, or not at all with nothing to count."""
        if not self._counts:
            return
        for link in self._counts:
            await self._read(link)
        since_ns = self._clock.now_ns()
        await self._clock.sleep_until(since_ns + IDLE_NS)
        for link in self._counts:
            await self._read(link)
        self._idle = {link: self._crossed(link, since_ns - _COUNT_EVERY_NS) or 0 for link in self._counts}

    def noted(self, fault: PlannedFault) -> NoteEvent | None:
        """What crossed a fault's links in the 5 s before now: `bytes`, witnesses' not counted, and `idle`, as many as cross
        them in that time without load. None where nobody counts."""
        now_ns = self._clock.now_ns()
        links = [target.name for target in fault.targets if target.kind == "link"]
        counted = [count for link in links if (count := self._crossed(link, now_ns - EXPOSURE_NS)) is not None]
        if not counted:
            return None
        idle = round(sum(self._idle.get(link, 0) for link in links) * EXPOSURE_NS / IDLE_NS)
        text = f"{sum(counted)} bytes on {', '.join(links)} in the 5 s before, {idle} in as long without load"
        data = {"fault": fault.id, "bytes": sum(counted), "idle": idle}
        return NoteEvent(at_ns=now_ns, code="exposure", text=text, data=data)

    async def _read(self, link: str) -> None:
        assert self._links is not None
        seen = await self._links.counters(link)
        if seen is not None:
            self._counts[link].append((self._clock.now_ns(), seen.bytes_up + seen.bytes_down))

    def _crossed(self, link: str, since_ns: int) -> int | None:
        counts = [total for at_ns, total in self._counts.get(link, ()) if at_ns >= since_ns]
        return counts[-1] - counts[0] if counts else None
