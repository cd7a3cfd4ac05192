"""The edge's control loop: probes both regions, keeps the route, and is the only one who makes epochs.

A route is written to disk before anyone hears of it, so an edge that dies and returns never makes an epoch twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from harness.reference.channel import Wire
from harness.reference.governor import JournalView, Limits, RegionView, Route, Step, decide, handed_over
from harness.reference.health import DOWN, UP, Health, Thresholds
from harness.reference.journal import Config
from harness.reference.metrics import Metrics
from harness.reference.mutants import (
    BLIND_TO_DRIFT,
    EAGER_FAILBACK,
    HAIR_TRIGGER,
    NEVER_READMITS,
    SHALLOW_HEALTH,
    STALE_ROUTE,
)
from harness.reference.program import log
from harness.reference.registry import key_of
from harness.reference.setup import differing

__all__ = ["Arbiter", "Chronicle", "Region", "Settings"]

_EVENTS = 2000
_CONFIG_S = 0.8
_SWITCH_S = 2.5
_STALE_S = 8.0  # how long a mutant sends requests to the old primary


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the edge watches and decides. Times in seconds."""

    mode: str
    mutants: frozenset[str] = frozenset()
    state: Path | None = None
    key_root: str = ""  # where gateways ask for keys
    probe_s: float = 0.25
    probe_within_s: float = 0.5
    thresholds: Thresholds = field(default_factory=Thresholds)
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class Chronicle:
    """Decisions in the order they were made, numbered from 1; cells under one controller share one."""

    last: int = 0
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_EVENTS))


@dataclass(slots=True)
class Region:
    """One region as the edge sees it."""

    name: str
    url: str
    health: Health
    heard_ns: int
    journal: JournalView | None = None
    status: Wire | None = None  # the journal's last status, as told
    gateway: str | None = None  # its name, as it gave it
    mutants: tuple[str, ...] = ()
    setup: Wire | None = None  # what its gateway runs with
    calls: set[asyncio.Timeout] = field(default_factory=set)  # live attempts: ended when the region loses its role

    def view(self) -> RegionView:
        """What decisions are made on."""
        return RegionView(region=self.name, state=self.health.state, heard_ns=self.heard_ns, journal=self.journal)


class Arbiter:
    """Both regions, the route between them, and the record of how it came about."""

    def __init__(
        self,
        regions: dict[str, str],
        settings: Settings,
        session: aiohttp.ClientSession,
        metrics: Metrics,
        chronicle: Chronicle | None = None,
    ) -> None:
        now = time.monotonic_ns()
        if HAIR_TRIGGER in settings.mutants:
            settings = replace(settings, thresholds=Thresholds(down_after_ns=0, down_probes=1))
        self.settings = settings
        self.metrics = metrics
        self.regions = {
            name: Region(name, url.rstrip("/"), Health(settings.thresholds, now), now) for name, url in regions.items()
        }
        self.route: Route | None = self._restore()
        self.delivered = False  # whether the primary has taken over the route's configuration
        self.chronicle = chronicle or Chronicle()
        self._changed = asyncio.Event()
        self._session = session
        self._promotions = 0
        self.drift: tuple[str, ...] = ()  # what the standby's gateway does not share with the primary's
        self._asked: str | None = None  # the region that an operator wants to have the role
        self._stale: tuple[Region, float] | None = None  # a mutant's: the old primary, and until when

    # -- what the request path asks -----------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of the route; 0 before there is one."""
        return self.route.config.epoch if self.route else 0

    @property
    def primary(self) -> Region | None:
        """The region that holds the role, whether it answers or not."""
        return self.regions[self.route.config.primary] if self.route else None

    def servable(self) -> Region | None:
        """The region to send a request to now; None while none can be trusted with one."""
        if self._stale is not None and time.monotonic() < self._stale[1]:
            return self._stale[0]
        primary = self.primary
        if primary is None or not self.delivered or primary.health.state != UP:
            return None
        if primary.journal is not None and primary.journal.damaged:
            return None
        return primary

    async def wait_change(self, within_s: float) -> None:
        """Return at the next probe result or route change, or when the time is over."""
        try:
            async with asyncio.timeout(max(0.0, within_s)):
                await self._changed.wait()
        except TimeoutError:
            return

    def note(self, event: str, region: str, **facts: object) -> None:
        """Record a decision."""
        self.chronicle.last += 1
        entry = {
            "seq": self.chronicle.last,
            "at_unix_ns": time.time_ns(),
            "event": event,
            "region": region,
            "epoch": self.epoch,
        }
        self.chronicle.events.append(facts | entry)
        self.metrics.count("ctl_decisions_total", decision=event)
        log(event, region=region, epoch=self.epoch, **facts)

    def live(self, region: Region, good: bool) -> None:
        """Take in how an attempt went."""
        if SHALLOW_HEALTH not in self.settings.mutants and region.health.live(good, time.monotonic_ns()):
            self.note(region.health.state, region.name, reason="most live requests fail")
            self._pulse()

    def _pulse(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # -- watching -----------------------------------------------------------------------------------------------

    async def watch(self, region: Region) -> None:
        """Probe one region, for ever, at even intervals."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self.settings.probe_s
            good = await self._probe(region)
            if SHALLOW_HEALTH in self.settings.mutants:
                good = await self._connects(region)
            before = region.health.state
            if region.health.probe(good, time.monotonic_ns()):
                self.note(region.health.state, region.name, was=before)
            self.metrics.gauge("edge_region_up", float(region.health.state == UP), region=region.name)
            self._pulse()
            await asyncio.sleep(max(0.02, due - loop.time()))

    async def _probe(self, region: Region) -> bool:
        """Whether the region makes progress. What its journal says of itself is kept."""
        headers = {"x-epoch": str(self.epoch)} | self._key(region)
        if self._grants(region) and region.status is not None:
            # A lease counted from the journal's own earlier clock reading: delivered late, it is only shorter.
            lease = {"epoch": self.epoch, "clock_ns": region.status["clock_ns"]}
            headers["x-lease"] = json.dumps(lease | {"length_ms": self.settings.limits.lease_ns // 1_000_000})
        timeout = aiohttp.ClientTimeout(total=self.settings.probe_within_s)
        try:
            async with self._session.get(f"{region.url}/readyz", headers=headers, timeout=timeout) as reply:
                body = await reply.json()
                region.gateway = reply.headers.get("x-served-by") or region.gateway
            self._hear(region, body)
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):
            return False
        return bool(body["engine"])

    def _key(self, region: Region) -> Wire:
        """What opens a region's gateway for us: a key of the newest generation that it accepts, as far as it told."""
        if not self.settings.key_root:
            return {}
        generations = (region.status or {}).get("records", {}).get("keys", [1])
        return {"authorization": f"Bearer {key_of(self.settings.key_root, max(generations), 'control')}"}

    def _grants(self, region: Region) -> bool:
        route = self.route
        return route is not None and self.delivered and route.config.primary == region.name

    def _hear(self, region: Region, body: Wire) -> None:
        status = body["journal"]
        config, silent = status["config"], status["peer_silent_ms"]
        region.journal = JournalView(
            config=Config.parse(config) if config else None,
            joined=bool(status["joined"]),
            peer_silent_ns=None if silent is None else silent * 1_000_000,
            peer_lag=status["peer_lag"],
            config_age_ns=status["config_age_ms"] * 1_000_000,
            damaged=bool(status["damaged"]),
        )
        if region.journal.damaged and not (region.status or {}).get("damaged"):
            self.note("damaged", region.name, reason=status["restore"]["why"])
        region.status = status
        region.heard_ns = time.monotonic_ns()
        region.setup = body["setup"]
        region.mutants = tuple(sorted({*body["mutants"], *status["mutants"]}))

    async def _connects(self, region: Region) -> bool:
        """What the mutant takes for health: the port accepts a connection."""
        host, _, port = region.url.removeprefix("http://").partition(":")
        try:
            async with asyncio.timeout(self.settings.probe_within_s):
                _, writer = await asyncio.open_connection(host, int(port))
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    # -- deciding -----------------------------------------------------------------------------------------------

    async def govern(self) -> None:
        """Decide on what is seen, for ever."""
        first, second = self.regions.values()
        while True:
            await self.wait_change(self.settings.probe_s)
            step = decide(
                self.route, (first.view(), second.view()), time.monotonic_ns(), self.settings.limits, self.settings.mode
            )
            if step is None and EAGER_FAILBACK in self.settings.mutants and self.delivered:
                step = handed_over(self.route, first.name, "it is back")
            self._compare()
            if step is None and self._asked is not None and self._may_switch(self.regions[self._asked]):
                step = handed_over(self.route, self._asked, "an operator asked for it")
            if step is not None and not (step.event == "standby-joining" and NEVER_READMITS in self.settings.mutants):
                self._take(step)
            if self.route is not None and not self.delivered:
                await self._deliver(self.route.config)
            elif self.primary is not None and self.route is not None:
                view = self.primary.journal
                if view is not None and view.config != self.route.config and self._current(self.primary):
                    self.delivered = False  # it lost what it was told, or was told by someone else

    async def switch(self, name: str) -> str | None:
        """Give the role to a region as soon as nothing is lost by it. None when it has it, else why not within some seconds."""
        if self._asked not in (None, name):
            return f"another operator has just asked for {self._asked}"
        if self.drift and self.primary is not self.regions[name]:
            return f"{name} runs with another {', '.join(self.drift)} than the region that serves"
        self._asked = name
        self._pulse()
        try:
            async with asyncio.timeout(_SWITCH_S):
                while self.primary is not self.regions[name] or not self.delivered:
                    await self.wait_change(_SWITCH_S)
            return None
        except TimeoutError:
            return f"{name} is {self.regions[name].health.state}, and may be promoted: {self.about()['promotable']}"
        finally:
            self._asked = None

    def _may_switch(self, region: Region) -> bool:
        return region.health.state == UP and not self.drift

    def _compare(self) -> None:
        """Note when the standby's setup begins to differ from the primary's, and when it is the same again."""
        if self.route is None or BLIND_TO_DRIFT in self.settings.mutants:
            return
        primary = self.route.config.primary
        standby = next(region for name, region in self.regions.items() if name != primary)
        found = differing(self.regions[primary].setup, standby.setup)
        if found != self.drift:
            self.drift = found
            self.note("drifted" if found else "alike", standby.name, fields=list(found))

    def _current(self, region: Region) -> bool:
        return time.monotonic_ns() - region.heard_ns < self.settings.limits.fresh_ns

    def _take(self, step: Step) -> None:
        before = self.route
        self._promotions += step.event == "promoted"
        self._store(step.route)
        self.route = step.route
        primary = step.route.config.primary
        other = next(name for name in self.regions if name != primary)
        about = other if step.event.startswith("standby-") else primary
        self.note(step.event, about, reason=step.reason, sync=list(step.route.config.sync))
        if before is not None and before.config == step.route.config:
            return
        self.delivered = False
        if before is not None and before.config.primary != step.route.config.primary:
            if STALE_ROUTE in self.settings.mutants:
                self._stale = self.regions[before.config.primary], time.monotonic() + _STALE_S
            for attempt in self.regions[before.config.primary].calls:
                attempt.reschedule(asyncio.get_running_loop().time())

    async def _deliver(self, config: Config) -> None:
        region = self.regions[config.primary]
        timeout = aiohttp.ClientTimeout(total=_CONFIG_S)
        try:
            async with self._session.post(
                f"{region.url}/internal/config", json=config.wire(), headers=self._key(region), timeout=timeout
            ) as reply:
                body = await reply.json()
                if reply.status != 200:
                    log("config-refused", region=region.name, status=reply.status, body=body)
                    self._outrank(body)
                    return
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            log("config-undelivered", region=region.name, why=repr(exc))
            return
        self.delivered = True
        region.status = body
        region.journal = None  # what it said before was of another epoch
        self.note("routed", region.name)
        self._pulse()

    def _outrank(self, body: Wire) -> None:
        """Go past an epoch that a journal knows and we do not: our state is older than the world."""
        if body["error"]["code"] != "fenced" or self.route is None:
            return
        known = Config.parse(json.loads(body["error"]["message"])["config"])
        if known.epoch >= self.epoch:
            self.route = None
            self.note("forgotten", known.primary, reason=f"a journal knows epoch {known.epoch}")

    # -- state on disk ------------------------------------------------------------------------------------------

    def _restore(self) -> Route | None:
        path = self.settings.state
        if path is None or not path.exists():
            return None
        body = json.loads(path.read_text())
        return Route(config=Config.parse(body["config"]), promotable=tuple(body["promotable"]))

    def _store(self, route: Route) -> None:
        path = self.settings.state
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        with draft.open("w") as file:
            json.dump({"config": route.config.wire(), "promotable": list(route.promotable)}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def about(self) -> Wire:
        """The route and the regions, for people."""
        return {
            "epoch": self.epoch,
            "primary": self.route.config.primary if self.route else None,
            "primary_gateway": self.primary.gateway if self.primary else None,
            "sync": list(self.route.config.sync) if self.route else [],
            "promotable": list(self.route.promotable) if self.route else [],
            "promotions": self._promotions,
            "drift": list(self.drift),
            "regions": {name: region.health.state for name, region in self.regions.items()},
        }

    def replication(self) -> Wire:
        """How far the standby is behind: `behind` is 0 when it is a full member and lacks nothing over 1 s old."""
        primary, route = self.primary, self.route
        status = primary.status if primary is not None else None
        if route is None or status is None or primary is None or not self._current(primary):
            return {"behind": None, "redundant": False, "lag": None}
        whole = not any((region.status or {}).get("damaged") for region in self.regions.values())
        redundant = whole and len(route.promotable) == 2 and self.delivered and primary.health.state != DOWN
        behind = int(status.get("behind") or 0)
        return {
            "behind": behind if redundant else max(1, behind),
            "redundant": redundant,
            "lag": status.get("peer_lag"),
            "quarantined": {name: (region.status or {}).get("quarantined") for name, region in self.regions.items()},
        }
