"""The `locust` engine: somebody's locustfile, unmodified, in Locust itself; every request event becomes an op. Closed loop.

In one process, or over Locust's own master and workers (`LoadJob.crew`): ours on this machine, others that join from elsewhere.
Locust tells of a request when it has ended, so that one still open when Locust is ended has no record: the drain lets each user
finish what it is at, and what Locust counted is compared with what was told. There are no final reads and no values.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from harness.errors import HarnessBug, SpecError, UnsafeError
from harness.load.locust_crew import Crew
from harness.load.locust_process import (
    GRACE_S,
    Lines,
    Orders,
    Program,
    free_bind,
    local_command,
    master_command,
    worker_command,
)
from harness.load.record import warm_up, write_part
from harness.load.wire import batch_from_json
from harness.model.arrivals import arrival_from_json
from harness.model.experiment import LocustCrew
from harness.model.ports import LiveBatch, LoadJob, LoadReport
from harness.units import NS_PER_S

__all__ = ["LocustEngine"]

_START_S = 60.0
_TICK_S = 0.1
_TAIL = 4096


class LocustEngine:
    """An `Engine` (see `model.ports`). `profile` is a locustfile; `users` of the arrivals is how many users Locust runs."""

    def __init__(self) -> None:
        self._head: Program | None = None  # Locust itself, or the master
        self._workers: list[Program] = []
        self._orders: Orders | None = None
        self._job: LoadJob | None = None
        self._crew: Crew | None = None
        self._lines: Lines | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._sink: Callable[[LiveBatch], None] | None = None
        self._sink_error: Exception | None = None
        self._log: IO[bytes] | None = None
        self._report: LoadReport | None = None
        self._stopping = False
        self._wrote_s = time.monotonic()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="locust-writer")
        self._writing: list[Future[None]] = []

    async def start(self, job: LoadJob, sink: Callable[[LiveBatch], None]) -> None:
        """Start Locust, return once its users are being spawned. Raises SpecError for arrivals without `users` or options
        that are none of Locust's, UnsafeError when it is not installed or does not come up: then nothing is left."""
        spec = arrival_from_json(job.arrival)
        if spec.users is None:
            raise SpecError("load.arrival: engine locust is a closed loop: expected users: N")
        if job.options:
            raise SpecError(f"load.with: a locustfile has no options, got {', '.join(sorted(job.options))}")
        if find_spec("locust") is None:
            raise UnsafeError("engine locust: Locust is not installed", remedy="pip install 'blackstart[locust]'")
        self._job, self._sink = job, sink
        os.makedirs(job.out_dir, exist_ok=True)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the engine
        stop_s = max(1, round((job.deadline_ns or 4 * job.timeout_ns) / NS_PER_S))
        await asyncio.to_thread(warm_up)
        try:
            if job.crew is None:
                await self._spawn_local(job, spec.users, stop_s)
            else:
                await self._spawn_crew(job, spec.users, stop_s, job.crew)
            await self._come_up()
        except BaseException:
            self._stopping = True
            await self._end()
            self._writer.shutdown()
            self._log.close()
            raise
        self._tick()

    async def stop_arrivals(self) -> None:
        """See `Engine`: users finish the task that they are at, and begin none. Locust alone has no halt without an end."""
        self._stopping = True
        if self._orders is not None:
            self._orders.send({"t": "stop"})
        elif self._head is not None:
            self._head.ask_to_end()
        self._check_sink()

    async def drain(self, limit_ns: int) -> None:
        """See `Engine`."""
        crew, lines = self._armed()
        try:
            async with asyncio.timeout(limit_ns / NS_PER_S + GRACE_S):
                while not lines.closed.is_set() and not (self._orders is not None and crew.told_all(self._gone())):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            crew.stray("did not end within the drain")
        await self._flushed()
        self._check_sink()

    async def final(self, regions: Mapping[str, str], within_ns: int) -> None:
        """See `Engine`: a locustfile has no final reads, so that checks which need them are unknown."""

    async def close(self) -> LoadReport:
        """See `Engine`."""
        if self._report is None:
            self._stopping = True
            if self._ticking is not None:
                self._ticking.cancel()
            codes = {
                number: program.code for number, program in enumerate(self._workers)
            }  # of those that did on their own
            said = self._tail()  # before the master prints its tables
            await self._end()
            await self._flushed()
            self._writer.shutdown()
            if self._head is not None and self._orders is None:
                codes, said = {0: self._head.code}, self._tail()
            self._report = LoadReport(
                engine="locust",
                profile="" if self._job is None else self._job.profile,
                model=None,
                closed_loop=True,
                workers=() if self._crew is None else self._crew.accounts(codes, said),
            )
            if self._log is not None and not self._log.closed:
                self._log.close()
        return self._report

    def mark(self, what: str) -> None:
        """See `Markable`. Locust in one process has our clock and is told nothing."""
        if self._orders is not None and not self._orders.send({"t": "mark", "what": what[:200]}) and self._crew:
            self._crew.stray(f"was not told of {what}")

    def dead(self) -> Sequence[int]:
        """See `Engine`."""
        if self._stopping or self._crew is None or self._head is None:
            return ()
        if self._head.code is not None:
            return tuple(member.number for member in self._crew.members) or (0,)
        return tuple(sorted(self._gone() | {member.number for member in self._crew.members if member.gone}))

    # ---- the processes ----------------------------------------------------------------------------------------------

    async def _spawn_local(self, job: LoadJob, users: int, stop_s: int) -> None:
        self._crew = Crew(Path(job.out_dir), job.origin_ns, 1)
        await self._spawn_head(local_command(job, users, stop_s))

    async def _spawn_crew(self, job: LoadJob, users: int, stop_s: int, crew: LocustCrew) -> None:
        bound = crew if crew.bind is not None else replace(crew, bind=free_bind())
        self._crew = Crew(Path(job.out_dir), job.origin_ns, crew.workers)
        reader, writer = os.pipe()
        try:
            self._orders = Orders(writer)
            await self._spawn_head(master_command(job, users, stop_s, bound), reader)
        finally:
            os.close(reader)
        assert self._log is not None and bound.bind is not None
        for number in range(crew.workers):
            told = {"BLACKSTART_LOCUST_WORKER": str(number)}
            self._workers.append(Program(worker_command(job, bound.bind), self._log, told))

    async def _spawn_head(self, command: list[str], orders: int | None = None) -> None:
        """Start the process that the plug-in's pipe leads to."""
        assert self._log is not None and self._crew is not None
        lines = self._lines = Lines(self._crew.take)
        reader, writer = os.pipe()
        told = {"BLACKSTART_LOCUST_FD": str(writer)}
        if orders is not None:
            told["BLACKSTART_LOCUST_ORDERS"] = str(orders)
        try:
            self._head = Program(command, self._log, told, (writer,) if orders is None else (writer, orders))
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: lines, os.fdopen(reader, "rb"))
        self._transports.append(transport)

    async def _come_up(self) -> None:
        """Return when the load has begun. Raises UnsafeError when it does not, saying who is missing."""
        crew, lines = self._armed()
        until_s = time.monotonic() + _START_S
        while not crew.begun and not lines.closed.is_set() and time.monotonic() < until_s:
            if any(program.code is not None for program in self._workers):
                break
            await asyncio.sleep(0.01)
        if crew.begun:
            return
        wanted = None if self._job is None else self._job.crew
        missing = "" if wanted is None else f", {len(crew.members)} of {wanted.workers + wanted.remote} workers joined"
        raise UnsafeError(f"Locust did not come up{missing}: {self._tail()}")

    async def _end(self) -> None:
        """Nothing of Locust is left when this returns; what it still told is taken."""
        programs = [program for program in (self._head, *self._workers) if program is not None]
        async with asyncio.TaskGroup() as ending:
            for program in programs:
                ending.create_task(program.end())
        if self._orders is not None:
            self._orders.close()
        if self._lines is None:
            return
        try:
            async with asyncio.timeout(GRACE_S):
                await self._lines.closed.wait()
        except TimeoutError:  # a child of the locustfile's holds the pipe
            self._armed()[0].stray("something that the locustfile started outlived it")
        for transport in self._transports:
            transport.close()

    def _gone(self) -> set[int]:
        """Workers of ours that have ended."""
        return {number for number, program in enumerate(self._workers) if program.code is not None}

    def _tail(self) -> str:
        if self._log is None or self._log.closed:
            return "it never came up"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _TAIL))
        return self._log.read().decode(errors="replace").strip()[-400:] or "it said nothing"

    def _armed(self) -> tuple[Crew, Lines]:
        if self._crew is None or self._lines is None:
            raise HarnessBug("engine locust was not started")
        return self._crew, self._lines

    # ---- what it tells ----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        crew, _ = self._armed()
        assert self._sink is not None
        for live in crew.live():
            try:
                self._sink(batch_from_json(live))
            except Exception as exc:  # kept, and raised by the next call
                self._sink_error = self._sink_error or exc
        if crew.much_waits or time.monotonic() - self._wrote_s > 1:
            self._flush()

    def _flush(self) -> None:
        self._wrote_s = time.monotonic()
        if self._crew is not None:
            self._writing += [self._writer.submit(write_part, *part) for part in self._crew.parts()]

    async def _flushed(self) -> None:
        """Everything that was told is on disk. Raises what kept it from there."""
        self._flush()
        while self._writing:
            await asyncio.wrap_future(self._writing.pop(0))

    def _check_sink(self) -> None:
        if self._sink_error is not None:
            raise HarnessBug(f"the sink of load batches failed: {self._sink_error!r}") from self._sink_error
