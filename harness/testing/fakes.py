"""Stand-ins for the seams: a clock that is driven, a host without a process, a world of given parts."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import HarnessBug, InjectError
from harness.model.fields import JsonObject
from harness.model.ports import Clock, Host, Identity, LinkControl, LoadControl
from harness.model.wiring import Wiring

__all__ = ["FakeHost", "FakeWorld", "ManualClock", "RealClock"]


class RealClock:
    """CLOCK_MONOTONIC from now on."""

    def __init__(self) -> None:
        self._origin_ns = time.monotonic_ns()

    @property
    def origin_ns(self) -> int:
        return self._origin_ns

    def now_ns(self) -> int:
        return time.monotonic_ns() - self._origin_ns

    async def sleep_until(self, at_ns: int) -> None:
        while (left_ns := at_ns - self.now_ns()) > 0:
            await asyncio.sleep(left_ns / 1e9)


class ManualClock:
    """Time that passes only when told to, by `advance`."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    @property
    def origin_ns(self) -> int:
        return 0

    @property
    def sleeping(self) -> int:
        """How many wait for a later instant."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)

    def now_ns(self) -> int:
        return self._now_ns

    async def sleep_until(self, at_ns: int) -> None:
        if at_ns <= self._now_ns:
            await asyncio.sleep(0)
            return
        self._count += 1
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (at_ns, self._count, sleeper))
        await sleeper

    async def advance(self, by_ns: int) -> None:
        """Let time pass, waking sleepers in the order of their instants and letting each run until it waits again."""
        until_ns = self._now_ns + by_ns
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until_ns:
            at_ns, _, sleeper = heapq.heappop(self._sleepers)
            self._now_ns = max(self._now_ns, at_ns)
            if not sleeper.done():
                sleeper.set_result(None)
            await self._settle()
        self._now_ns = until_ns

    @staticmethod
    async def _settle() -> None:
        for _ in range(20):  # enough turns of the loop for a chain of awaits without input
            await asyncio.sleep(0)


class FakeHost:
    """A host whose process is a number. `running` starts true; `restarts` makes a kill come back by itself, as supervisors do."""

    def __init__(self, instance: str, *, running: bool = True, restarts: bool = False) -> None:
        self._instance = instance
        self._pid = 100 if running else None
        self._next = 101
        self._restarts = restarts
        self._frozen = False
        self.calls: list[str] = []

    @property
    def instance(self) -> str:
        return self._instance

    def _current(self) -> Identity | None:
        return None if self._pid is None else Identity(pid=self._pid, start_ticks=self._pid * 10)

    def vanish(self) -> None:
        """End by itself."""
        self._pid, self._frozen = None, False

    async def find(self) -> Identity | None:
        return self._current()

    async def start(self) -> Identity:
        self.calls.append("start")
        if self._pid is None:
            self._pid, self._next = self._next, self._next + 1
        return Identity(pid=self._pid, start_ticks=self._pid * 10)

    async def stop(self, grace_ns: int) -> bool:
        self.calls.append("stop")
        self.vanish()
        return True

    async def kill(self, identity: Identity) -> None:
        self.calls.append("kill")
        if identity == self._current():
            self.vanish()
            if self._restarts:
                await self.start()

    async def freeze(self, identity: Identity) -> None:
        self.calls.append("freeze")
        if identity != self._current():
            raise InjectError(f"instance {self._instance}: {identity.pid} is gone")
        self._frozen = True

    async def thaw(self, identity: Identity) -> None:
        self.calls.append("thaw")
        if identity == self._current():
            self._frozen = False

    async def frozen(self, identity: Identity) -> bool:
        return self._frozen and identity == self._current()

    def recipe(self) -> JsonObject:
        return {"kind": "fake", "instance": self._instance}

    async def close(self) -> None:
        """Nothing to let go of."""


@dataclass(kw_only=True)
class FakeWorld:
    """A `ports.World` of given parts."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    link_control: LinkControl | None = None
    load_control: LoadControl | None = None
    wiring: Wiring = field(default_factory=Wiring)
    clock: Clock = field(default_factory=RealClock)
    run_id: str = "test-run"

    def host(self, instance: str) -> Host:
        try:
            return self.hosts[instance]
        except KeyError as exc:
            raise HarnessBug(f"no host for instance {instance!r}") from exc

    @property
    def links(self) -> LinkControl:
        if self.link_control is None:
            raise InjectError("the stack has no link")
        return self.link_control

    @property
    def load(self) -> LoadControl:
        if self.load_control is None:
            raise InjectError("no load is offered")
        return self.load_control
