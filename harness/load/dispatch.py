"""Start what is due: one worker's stripe of arrivals, and its probers. Nothing here waits for the stack."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import dropwhile, takewhile

from harness.load.capacity import Capacity, draw_groups, group_shares, share_of
from harness.load.op import OpContext, dropped_row
from harness.load.outcomes import Rejected
from harness.load.pacing import Alarm, open_alarm
from harness.load.pool import Pool
from harness.load.pulse import Lateness
from harness.load.user import Desk, Place, User
from harness.model.arrivals import arrivals, stripe, surge_arrivals
from harness.model.experiment import ArrivalSpec
from harness.model.ports import LoadJob
from harness.units import NS_PER_S

__all__ = ["PROBER_INDEX", "Assignment", "Dispatcher"]

PROBER_INDEX = 1 << 30
"""Prober users are numbered from here."""

_PROBERS_PER_SLOT = 1000
_STARTS_AT_ONCE = 32
_UNWIND_S = 1.0
_FAILED_PAUSE_S = 0.05  # closed loop only: a refused connection must not become a storm


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One worker's part of a job."""

    job: LoadJob
    profile: type[User]
    spec: ArrivalSpec
    trace_s: tuple[float, ...]
    capacity: Capacity
    worker: int


@dataclass(slots=True)
class _Prober:
    """One region (None: the stack's entry) and group, asked every so often from `first_ns` on; `count` asks so far."""

    slot: int
    pool: Pool
    first_ns: int = 0
    count: int = field(default=0)


class _Stream:
    """Arrivals that are this worker's, in order; `due` is the next, None when there is none. `prefix` keeps numbers apart."""

    def __init__(self, prefix: str, coming: Iterator[tuple[int, tuple[int, str | None]]]) -> None:
        self._prefix, self._coming = prefix, coming
        self.due = next(coming, None)

    def until(self, now_ns: int) -> Iterator[tuple[str, int, str | None]]:
        """(number, instant, group) of those due by now, each once."""
        while self.due is not None and self.due[1][0] <= now_ns:
            number, (at_ns, group) = self.due
            self.due = next(self._coming, None)
            yield f"{self._prefix}{number}", at_ns, group


class Dispatcher:
    """Starts arrivals at their instants, each in a task of its own, and keeps track of those in flight."""

    def __init__(self, part: Assignment, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        self._part, self._job, self._desk, self._tasks = part, part.job, desk, tasks
        self._loop = asyncio.get_running_loop()
        self._made = self._turns = 0
        self._prober_ns = (self._job.prober_every_ns or 0, self._job.prober_timeout_ns or self._job.timeout_ns)
        self._pools = {
            group: Pool(partial(self._new_user, group), *self._pool_size(share))
            for group, share in group_shares(self._job.groups).items()
        }
        self._probers = self._make_probers()
        self._flying: set[asyncio.Task[None]] = set()
        self._streams: dict[str, _Stream] = {}
        self._start_ns = 0
        self._probes: list[tuple[int, int]] = []
        self._alarm: Alarm | None = None
        self._offering = False
        self.lateness = Lateness()

    # ---- life -------------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Start the users that are there from the beginning; one that fails is started again by its first arrival."""
        if self._part.profile.start is User.start:
            return
        gate = asyncio.Semaphore(_STARTS_AT_ONCE)

        async def begin(user: User) -> None:
            async with gate:
                try:
                    async with asyncio.timeout(self._job.timeout_ns / NS_PER_S):
                        await user.start()
                    user._started = True
                except Exception as exc:  # counted here, and the arrival that needs this user records it anew
                    self._desk.strays[f"start: {type(exc).__name__}"] += 1

        async with asyncio.TaskGroup() as starting:
            for user in self._users():
                starting.create_task(begin(user))

    def go(self, start_at_ns: int) -> None:
        """Offer load from `start_at_ns` on (ns since the origin)."""
        job, part = self._job, self._part
        self._offering, self._start_ns = True, start_at_ns
        for prober in self._probers:
            prober.first_ns = start_at_ns + self._prober_ns[0] * prober.slot // self._slots
        self._probes = [(prober.first_ns, number) for number, prober in enumerate(self._probers)]
        heapq.heapify(self._probes)
        if part.spec.users is None:
            instants = arrivals(part.spec, job.seed, start_at_ns, trace_s=part.trace_s)
            grouped = zip(instants, draw_groups(job.groups, job.seed), strict=False)
            self._streams[""] = _Stream("", stripe(grouped, part.worker, job.workers))
        self._alarm = open_alarm(self._loop, self._ring)
        if part.spec.users is not None:
            begin_s = max(0, start_at_ns - self.now_ns()) / NS_PER_S
            for group, pool in self._pools.items():
                for _ in range(len(pool)):
                    self._loop.call_later(begin_s, self._again, group)
        self._ring()

    def surge(self, name: str, factor: float, begin_ns: int, until_ns: int) -> None:
        """Offer `factor` times the planned rate in [begin_ns, until_ns), both since the origin; `calm` may end it before."""
        job, part = self._job, self._part
        extra = surge_arrivals(part.spec, factor, job.seed, self._start_ns)
        grouped = zip(extra, draw_groups(job.groups, job.seed ^ 1), strict=False)
        mine = stripe(grouped, part.worker, job.workers)
        from_now = dropwhile(lambda arrival: arrival[1][0] < begin_ns, mine)
        in_time = takewhile(lambda arrival: arrival[1][0] < until_ns, from_now)
        self._streams[name] = _Stream(f"x{factor:g}.", in_time)
        self._ring()

    def calm(self, name: str) -> None:
        """End a surge. Legal when there is none of that name."""
        self._streams.pop(name, None)

    def stop(self) -> None:
        """Start what is due by now, and nothing from now on."""
        if self._offering:
            self._ring()
            self._offering = False
            assert self._alarm is not None
            self._alarm.close()

    async def drain(self, limit_ns: int) -> int:
        """Wait until nothing is in flight, at most `limit_ns`, then cut the rest; how many ops were cut."""
        if self._flying:
            await asyncio.wait(self._flying, timeout=limit_ns / NS_PER_S)
        return await self.cut()

    async def cut(self) -> int:
        """Record what is in flight as cut, now, and end its tasks; how many ops there were."""
        count = self._desk.recorder.cut(self.now_ns())
        flying = set(self._flying)
        for task in flying:
            task.cancel()
        if flying:
            await asyncio.wait(flying, timeout=_UNWIND_S)
        return count

    async def close(self) -> None:
        """End every user: `stop()` of those that started, bounded, then what the base classes hold."""
        async with asyncio.TaskGroup() as ending:
            for user in (*self._users(), *(user for prober in self._probers for user in prober.pool)):
                ending.create_task(self._end_user(user))

    async def _end_user(self, user: User) -> None:
        try:
            async with asyncio.timeout(_UNWIND_S):
                await user._leave()
        except Exception as exc:  # counted and reported: the run's ops are complete without it
            self._desk.strays[f"stop: {type(exc).__name__}"] += 1

    @property
    def strays(self) -> Counter[str]:
        """Exceptions that the profile raised outside every op, with how many of each."""
        return self._desk.strays

    # ---- what is due ------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        """Start every arrival and probe that is due, then set the alarm to the next."""
        if not self._offering:
            return
        now_ns = self.now_ns()
        for stream in self._streams.values():
            for number, at_ns, group in stream.until(now_ns):
                self._start(self._pools[group], number, at_ns, group)
        while self._probes and self._probes[0][0] <= now_ns:
            self._probe(*self._probes[0])
        upcoming = [stream.due[1][0] for stream in self._streams.values() if stream.due is not None]
        upcoming += [self._probes[0][0]] if self._probes else []
        if upcoming and self._alarm is not None:
            self._alarm.set(self._job.origin_ns + min(upcoming))

    def _probe(self, at_ns: int, which: int) -> None:
        prober = self._probers[which]
        prober.count += 1
        following_ns = prober.first_ns + prober.count * self._prober_ns[0]
        heapq.heapreplace(self._probes, (following_ns, which))
        self._start(prober.pool, f"p{prober.slot}.{prober.count}", at_ns, None)

    def _start(self, pool: Pool, number: str, at_ns: int, group: str | None) -> None:
        user = pool.take()
        if user is None:
            some = next(iter(pool))
            place = (some._place.phase, some.region)
            recorder = self._desk.recorder
            row = dropped_row(recorder.next_id(), self._desk.first_f, group or some.group, at_ns, place)
            recorder.dropped(row, at_ns)
            return
        task = self._tasks.create_task(self._arrive(pool, user, number, at_ns))
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)

    def _again(self, group: str | None) -> None:
        """Closed loop: the group's user that has been idle longest acts again, at once."""
        if self._offering:
            self._turns += 1
            self._start(self._pools[group], f"{self._part.worker}c{self._turns}", self.now_ns(), group)

    async def _arrive(self, pool: Pool, user: User, number: str, at_ns: int) -> None:
        """One arrival from its task's first step to its user's return. Whatever happens, it has at least one record."""
        probing = user._place.phase == "probe"
        if not probing:
            self.lateness.add(self.now_ns() - at_ns)
        user._arrive(number, at_ns)
        guard = asyncio.timeout((self._prober_ns[1] if probing else self._part.capacity.deadline_ns) / NS_PER_S)
        failed = True
        try:
            async with guard:
                if not user._started:
                    await user.start()
                    user._started = True
                await (user.probe() if probing else user.run())
            failed = False
            if user._begun == 0:
                self._record(user, Rejected("run() made no op"))
        except asyncio.CancelledError as exc:
            if user._begun == 0:
                self._record(user, exc)
            raise
        except Exception as exc:
            if user._begun == 0:
                self._record(user, Rejected(f"start: {type(exc).__name__}"))
            elif exc is not user._ended_by and not (guard.expired() and isinstance(exc, TimeoutError)):
                self._desk.strays[f"run: {type(exc).__name__}: {exc}"[:200]] += 1
        finally:
            pool.give(user)
            if self._part.spec.users is not None and not probing:
                self._loop.call_later(_FAILED_PAUSE_S if failed else 0, self._again, user.group)

    def _record(self, user: User, exc: BaseException) -> None:
        """Give an arrival that began no op a record of its own."""
        op: OpContext = user.op(self._desk.first_f)
        user._begin(op)
        op.cut = isinstance(exc, asyncio.CancelledError)
        op.error = "cut" if op.cut else None
        op._finish(exc)

    # ---- users ------------------------------------------------------------------------------------------------------

    def _pool_size(self, share: float) -> tuple[int, int]:
        """(from the start, at most) of one group in this worker; at least one each, so that no group is ever without."""
        part, most = self._part, self._part.capacity.users_max
        whole = sum(self._job.groups.values()) or 1.0
        low = share_of(max(1, round(part.capacity.users_min * share / whole)), part.worker, self._job.workers)
        high = share_of(max(1, math.ceil(most * share / whole)), part.worker, self._job.workers)
        if part.spec.users is not None:
            return low, max(1, low)
        return max(1, low), max(1, high)

    def _users(self) -> Iterator[User]:
        return (user for pool in self._pools.values() for user in pool)

    def _new_user(self, group: str | None) -> User:
        index = self._made * self._job.workers + self._part.worker
        self._made += 1
        place = Place(index=index, session=f"{self._desk.tag}-{index}", entry=self._job.entry, group=group)
        return self._part.profile(self._desk, place)

    def _make_probers(self) -> list[_Prober]:
        """This worker's probers: the stack's entry and each region's, for each group, dealt out over the workers."""
        job = self._job
        if job.prober_every_ns is None:
            self._slots = 0
            return []
        asked: list[tuple[str | None, str]] = [(None, job.entry), *job.regions.items()]
        slots = [(region, entry, group) for region, entry in asked for group in group_shares(job.groups)]
        self._slots = len(slots)
        every_ns, timeout_ns = self._prober_ns
        at_most = math.ceil(timeout_ns / every_ns) + 2
        return [
            _Prober(slot, Pool(self._prober_maker(slot, *asks), 1, min(at_most, _PROBERS_PER_SLOT)))
            for slot, asks in enumerate(slots)
            if slot % job.workers == self._part.worker
        ]

    def _prober_maker(self, slot: int, region: str | None, entry: str, group: str | None) -> partial[User]:
        numbers = iter(range(PROBER_INDEX + slot * _PROBERS_PER_SLOT, PROBER_INDEX + (slot + 1) * _PROBERS_PER_SLOT))

        def make() -> User:
            index = next(numbers)
            place = Place(
                index=index,
                session=f"{self._desk.tag}-p{index - PROBER_INDEX}",
                entry=entry,
                group=group,
                region=region,
                phase="probe",
                timeout_s=self._prober_ns[1] / NS_PER_S,
            )
            return self._part.profile(self._desk, place)

        return partial(make)

    def now_ns(self) -> int:
        """Ns since the run's origin."""
        return time.monotonic_ns() - self._job.origin_ns
