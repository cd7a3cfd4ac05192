"""Brings a stack up: attaches to what runs, starts what does not, waits until all is ready. On failure ends what it started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from harness.errors import HarnessBug, HarnessError, UnsafeError
from harness.history.events import InstanceEvent
from harness.model.ports import Clock, Host, Probe, ProbeSample
from harness.model.stack import ProbeSpec, Stack
from harness.model.wiring import Wiring
from harness.stacks.logs import tail
from harness.units import format_duration

__all__ = ["Logged", "bring_up"]

DEFAULT_READY_NS = 30_000_000_000
_ASK_AGAIN_S = 0.05
_SAMPLE_NS = 1_000_000_000
_STOP_GRACE_NS = 3_000_000_000
_LOG_LINES = 15
ReadyProbe = Callable[[ProbeSpec, str], Probe]


@runtime_checkable
class Logged(Protocol):
    """A host that knows where its instance's output goes."""

    @property
    def log_path(self) -> str: ...


async def bring_up(  # noqa: PLR0913 - the parts of a stack and whom to tell; every caller has them at hand
    stack: Stack,
    wiring: Wiring,
    hosts: Mapping[str, Host],
    ready_probe: ReadyProbe,
    on_event: Callable[[InstanceEvent], None],
    clock: Clock,
    beginning: Callable[[str], None] = lambda name: None,
) -> tuple[str, ...]:
    """The names of the instances started here, in the order of their start, once every instance is ready.

    An instance starts when all that it `needs` are ready; everything else in parallel. Ready is what `ready:` says; without
    it, that every port accepts a connection within 30 s. Raises UnsafeError naming the instance, the limit, the last answer
    and the last log lines; whatever was started here has been ended then. The same after a cancel. `beginning` is told a
    name before that instance is started.
    """
    effort = _Effort(
        stack=stack,
        wiring=wiring,
        hosts=hosts,
        ready_probe=ready_probe,
        on_event=on_event,
        clock=clock,
        beginning=beginning,
    )
    effort.refuse_cycles()
    try:
        async with asyncio.TaskGroup() as group:
            for name in stack.instances:
                group.create_task(effort.one(name))
    except BaseException as exc:
        await effort.undo()
        failed = _first(exc)
        if failed is None:
            raise
        raise failed from None
    return tuple(effort.started)


def _first(exc: BaseException) -> HarnessError | None:
    """The error in a group that came first, if it is one of ours."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc if isinstance(exc, HarnessError) else None


@dataclass(frozen=True, slots=True)
class _Goal:
    """What being ready means for one instance, to ask and in words."""

    probe: Probe
    sample_ns: int
    within_ns: int
    what: str


@dataclass(frozen=True, slots=True)
class _PortsAccept:
    """Asks whether each of these ports accepts a connection."""

    ports: Mapping[str, tuple[str, int]]

    async def sample(self, timeout_ns: int) -> ProbeSample:
        for name, (address, port) in self.ports.items():
            try:
                async with asyncio.timeout(timeout_ns / 1e9):
                    _, writer = await asyncio.open_connection(address, port)
                writer.close()
            except (OSError, TimeoutError) as exc:
                return ProbeSample(ok=False, error=f"port {name} ({address}:{port}): {exc or 'no answer'}")
        return ProbeSample(ok=True)


@dataclass(kw_only=True)
class _Effort:
    stack: Stack
    wiring: Wiring
    hosts: Mapping[str, Host]
    ready_probe: ReadyProbe
    on_event: Callable[[InstanceEvent], None]
    clock: Clock
    beginning: Callable[[str], None]
    started: list[str] = field(default_factory=list)
    ready: dict[str, asyncio.Event] = field(init=False)

    def __post_init__(self) -> None:
        self.ready = {name: asyncio.Event() for name in self.stack.instances}

    def refuse_cycles(self) -> None:
        """Raise HarnessBug when instances need one another in a circle: validation should have refused that."""
        done: set[str] = set()
        left = dict(self.stack.instances)
        while left:
            free = [name for name, one in left.items() if done.issuperset(one.needs)]
            if not free:
                raise HarnessBug(f"instances need one another in a circle, or an unknown one: {', '.join(left)}")
            done.update(free)
            for name in free:
                del left[name]

    async def one(self, name: str) -> None:
        """Bring one instance up."""
        for needed in self.stack.instances[name].needs:
            await self.ready[needed].wait()
        host = self.hosts[name]
        found = await host.find()
        if found is not None:
            self._tell(name, "found", found.pid)
        else:
            self.beginning(name)
            self.started.append(name)  # before the start: one that is cut half-way is ended too
            found = await host.start()
            self._tell(name, "started", found.pid)
        began_ns = self.clock.now_ns()
        goal = self._goal(name)
        if goal is not None:
            await self._until_ready(name, host, goal)
        took = format_duration(self.clock.now_ns() - began_ns)
        self._tell(name, "ready", found.pid, f"after {took}" if goal is not None else "nothing to wait for")
        self.ready[name].set()

    def _goal(self, name: str) -> _Goal | None:
        ready = self.stack.instances[name].ready
        if ready is not None:
            probe = self.ready_probe(ready.probe, name)
            return _Goal(probe, ready.probe.timeout_ns, ready.within_ns, f"`ready:` ({ready.probe.kind})")
        ports = self.wiring.ports.get(name, {})
        if not ports:
            return None
        accept = _PortsAccept({port: (self.wiring.addresses[name], number) for port, number in ports.items()})
        return _Goal(accept, _SAMPLE_NS, DEFAULT_READY_NS, "every port accepting connections")

    async def _until_ready(self, name: str, host: Host, goal: _Goal) -> None:
        last = "no answer yet"
        try:
            async with asyncio.timeout(goal.within_ns / 1e9):
                while True:
                    sample = await goal.probe.sample(goal.sample_ns)
                    if sample.ok:
                        return
                    last = sample.error or "it said no"
                    if await host.find() is None:
                        break
                    await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            what = f"not ready within {format_duration(goal.within_ns)}"
        else:
            what = "ended before it was ready"
        raise self._unready(name, host, f"{what}; waited for {goal.what}, last answer: {last}")

    def _unready(self, name: str, host: Host, what: str) -> UnsafeError:
        lines = tail(host.log_path, _LOG_LINES) if isinstance(host, Logged) else ()
        log = "".join(f"\n    {line}" for line in lines)
        said = f"\n  the end of its log ({host.log_path}):{log}" if isinstance(host, Logged) and lines else ""
        return UnsafeError(f"instance {name}: {what}{said}")

    async def undo(self) -> None:
        """End what was started here, latest first in words, all at once in fact."""
        results = await asyncio.gather(*(self._stop(name) for name in reversed(self.started)), return_exceptions=True)
        failures = [str(result) for result in results if isinstance(result, BaseException)]
        if failures:
            raise UnsafeError(f"the stack did not come up, and not all of it could be ended: {'; '.join(failures)}")

    async def _stop(self, name: str) -> None:
        host = self.hosts[name]
        found = await host.find()
        await host.stop(_STOP_GRACE_NS)
        if found is not None:
            self._tell(name, "stopped", found.pid, "the stack did not come up")

    def _tell(
        self, name: str, what: Literal["found", "started", "ready", "stopped"], pid: int | None, detail: str = ""
    ) -> None:
        self.on_event(InstanceEvent(at_ns=self.clock.now_ns(), instance=name, what=what, pid=pid, detail=detail))
