"""What an edge knows of one cell when a controller decides for it: the last route it was told, kept however old it is.

A cell is a primary and its standby, with a log of their own; a tenant's requests go to one cell alone. The edge asks the
controller for the routes again and again, and tells it how its own attempts went. When the controller is silent the edge
goes on with what it knew: serving needs no controller, only a change of the primary does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from harness.reference.channel import Wire
from harness.reference.mutants import ASKS_EACH_TIME
from harness.reference.program import log

__all__ = ["Follower", "Site", "cell_of", "follow", "parse_cell"]

_POLL_S = 0.1
_POLL_WITHIN_S = 0.5


@dataclass(slots=True, kw_only=True)
class Site:
    """A region of a cell as an edge reaches it."""

    name: str
    url: str
    calls: set[asyncio.Timeout] = field(default_factory=set)  # live attempts: ended when the region loses its role


def parse_cell(text: str) -> tuple[str, dict[str, str]]:
    """`NAME:REGION=URL,REGION=URL` as a name and its two regions, the first primary at the start; raises ValueError."""
    name, _, rest = text.partition(":")
    regions = dict(entry.partition("=")[::2] for entry in rest.split(","))
    if not name or len(regions) != 2 or not all(regions) or not all(regions.values()):
        raise ValueError(f"--cell: expected NAME:REGION=URL,REGION=URL, got {text!r}")
    return name, regions


def cell_of(tenant: str, cells: Mapping[str, object]) -> str:
    """The cell of a tenant: the one that its name begins with, up to the first dash; else the last."""
    prefix = tenant.partition("-")[0]
    return prefix if prefix in cells else list(cells)[-1]


class Follower:
    """One cell, as it was last told. Without any word from the controller yet it serves nothing."""

    def __init__(self, name: str, regions: Mapping[str, str], mutants: frozenset[str]) -> None:
        self.name = name
        self.regions = {region: Site(name=region, url=url.rstrip("/")) for region, url in regions.items()}
        self.mutants = mutants
        self.told: Wire = {"epoch": 0, "primary": None, "serves": False}
        self.told_at: float | None = None
        self.seen: Counter[str] = Counter()  # of attempts since the last word: "region good", "region bad"
        self._changed = asyncio.Event()

    @property
    def epoch(self) -> int:
        """The epoch of the route; 0 before there is one."""
        return int(self.told["epoch"])

    @property
    def primary(self) -> Site | None:
        """The region that holds the role, whether it answers or not."""
        name = self.told["primary"]
        return self.regions[str(name)] if name is not None else None

    def servable(self) -> Site | None:
        """The region to send a request to; None while the controller says that none can be trusted with one."""
        if ASKS_EACH_TIME in self.mutants and (self.told_at is None or time.monotonic() - self.told_at > 1.0):
            return None  # as good as asking for each request: no word of the controller, no service
        return self.primary if self.told["serves"] else None

    async def wait_change(self, within_s: float) -> None:
        """Return at the next word of the controller, or when the time is over."""
        try:
            async with asyncio.timeout(max(0.0, within_s)):
                await self._changed.wait()
        except TimeoutError:
            return

    def live(self, region: Site, good: bool) -> None:
        """Take in how an attempt went; the controller hears of it with the next question."""
        self.seen[f"{region.name} {'good' if good else 'bad'}"] += 1

    def hear(self, told: Wire) -> None:
        """Take over the controller's word; attempts at a region that lost its role are ended."""
        before = self.primary
        if int(told["epoch"]) < self.epoch:
            return  # a controller that lost its memory decides nothing until it has found the present epoch
        self.told, self.told_at = told, time.monotonic()
        if before is not None and before is not self.primary:
            for attempt in before.calls:
                attempt.reschedule(asyncio.get_running_loop().time())
        self._changed.set()
        self._changed = asyncio.Event()

    def about(self) -> Wire:
        """The route as last told, and how old that is in ms (None: never told)."""
        age = None if self.told_at is None else int((time.monotonic() - self.told_at) * 1000)
        return {**self.told, "told_ms_ago": age}


async def follow(controller: str, session: aiohttp.ClientSession, cells: Mapping[str, Follower]) -> None:
    """Ask the controller for the routes, for ever, at even intervals."""
    loop = asyncio.get_running_loop()
    silent = False
    while True:
        due = loop.time() + _POLL_S
        seen = {name: dict(cell.seen) for name, cell in cells.items()}
        timeout = aiohttp.ClientTimeout(total=_POLL_WITHIN_S)
        try:
            async with session.post(f"{controller}/v1/route", json={"seen": seen}, timeout=timeout) as reply:
                routes = (await reply.json())["cells"]
            for name, cell in cells.items():
                cell.hear(routes[name])
                cell.seen.subtract(seen[name])
            silent = False
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as exc:
            if not silent:
                log("controller-silent", why=repr(exc))
            silent = True
        await asyncio.sleep(max(0.02, due - loop.time()))
