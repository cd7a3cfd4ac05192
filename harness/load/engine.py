"""The `asyncio` engine: N worker processes over socket pairs, one list of arrivals dealt out among them."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from harness.errors import HarnessBug, InjectError, SpecError, UnsafeError
from harness.load.capacity import capacity, read_trace
from harness.load.profile import load_profile
from harness.load.user import User
from harness.load.wire import Message, Unpacker, batch_from_json, pack
from harness.model.arrivals import arrival_from_json
from harness.model.ports import LiveBatch, LoadJob, LoadReport, WorkerReport
from harness.units import NS_PER_S

__all__ = ["AsyncioEngine"]

_ARM_S = 45.0  # on a busy machine an interpreter with pyarrow and aiohttp takes seconds to come up
_LEAD_NS = 20_000_000
_ANSWER_S = 15.0
_GRACE_S = 3.0
_TAIL = 4096


class _Link(asyncio.Protocol):
    """The engine's side of one worker: its process, its socket, what it last said."""

    def __init__(self, worker: int, sink: Callable[[LiveBatch], None]) -> None:
        self.worker, self._sink = worker, sink
        self._unpacker = Unpacker()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[str, asyncio.Future[Message | None]] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.lost = asyncio.Event()
        self.counts = (0, 0, 0)
        self.late_p99_ns: int | None = None
        self.report: Message | None = None
        self.error: str | None = None
        self.sink_error: Exception | None = None
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for message in self._unpacker.feed(data):
            self._take(message)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_result(None)

    def _take(self, message: Message) -> None:
        kind = message["t"]
        if kind == "live":
            self.counts, self.late_p99_ns = tuple(message["counts"]), message["late"]
            try:
                self._sink(batch_from_json(message))
            except (
                Exception
            ) as exc:  # asyncio would drop the socket and hide it: kept, raised by the engine's next call
                self.sink_error = self.sink_error or exc
        elif kind == "error":
            self.error = message["text"]
        elif kind == "report":
            self.report = message
        if kind in self._waiting and not self._waiting[kind].done():
            self._waiting[kind].set_result(message)

    async def ask(self, message: Message, answer: str, limit_s: float) -> Message | None:
        """Send a message and wait for its answer; None when the worker dies first or says nothing in time."""
        if self.lost.is_set() or self._transport is None:
            return None
        waiter: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = waiter
        self._transport.write(pack(message))
        await asyncio.wait({waiter}, timeout=limit_s)
        return waiter.result() if waiter.done() else None

    def send(self, message: Message) -> None:
        """Send a message that has no answer."""
        if not self.lost.is_set() and self._transport is not None:
            self._transport.write(pack(message))

    async def end(self) -> None:
        """The process is gone when this returns: asked first, then forced."""
        process = self.process
        if process is None:
            return
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None and process.poll() is None:
                process.send_signal(number)
            until_s = time.monotonic() + (_GRACE_S if self.report is not None or number is not None else 0.0)
            while process.poll() is None and time.monotonic() < until_s:
                await asyncio.sleep(0.01)
            if process.poll() is not None:
                break
        if self._transport is not None:
            self._transport.close()

    def account(self) -> WorkerReport:
        """The worker's own report, or what is known of one that died before it could write it."""
        code = None if self.process is None else self.process.poll()
        report = self.report
        if report is None:
            said = self.error or (self.tail.decode(errors="replace").strip()[-300:] or None)
            return WorkerReport(
                worker=self.worker,
                exit_code=code or -1,  # whatever the status says, without a report it did not end well
                started_count=self.counts[0],
                ended_count=self.counts[1],
                dropped_count=self.counts[2],
                late_p50_ns=None,
                late_p99_ns=self.late_p99_ns,
                late_max_ns=None,
                run_delay_ns=None,
                cpu_ratio=None,
                gc_pause_max_ns=None,
                error=said or "died without a word",
            )
        fields = {key: value for key, value in report.items() if key not in ("t", "stalls")}
        stalls = tuple((begin, length, what) for begin, length, what in report["stalls"])
        return WorkerReport(worker=self.worker, exit_code=code, stalls=stalls, **fields)


class _Tail(asyncio.Protocol):
    """Keeps the end of what a worker prints, for its report."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def data_received(self, data: bytes) -> None:
        self._link.tail = (self._link.tail + data)[-_TAIL:]


class AsyncioEngine:
    """An `Engine` (see `model.ports`): open loop by default, each worker a process with a plain asyncio loop."""

    def __init__(self) -> None:
        self._links: list[_Link] = []
        self._job: LoadJob | None = None
        self._profile: type[User] | None = None
        self._closed_loop = False
        self._unread: list[str] = []
        self._report: LoadReport | None = None
        self._tails: list[asyncio.BaseTransport] = []

    async def start(self, job: LoadJob, sink: Callable[[LiveBatch], None]) -> None:
        """Spawn workers, return once all are armed.

        Load begins at `job.start_at_ns`, or at once when arming took longer than that. Raises SpecError for a wrong
        profile, option, arrival or trace before anything is spawned; UnsafeError when files would run out or a worker
        does not come up: then none is left.
        """
        self._job, self._profile = job, load_profile(job.profile, job.options)
        try:
            spec = arrival_from_json(job.arrival)
        except (ValueError, KeyError, TypeError) as exc:
            raise SpecError(f"load.arrival: {exc}") from exc
        self._closed_loop = spec.users is not None
        for entry in (job.entry, *job.regions.values()):
            refusal = self._profile.cannot_ask(entry)
            if refusal is not None:
                raise UnsafeError(refusal, remedy="say client: aiohttp in load.with")
        trace_s = () if spec.trace is None else read_trace(spec.trace)
        needed = capacity(job, spec, self._profile.users_wanted(), trace_s)
        _check_files(needed.files_per_worker(job.workers), needed.users_max)
        os.makedirs(job.out_dir, exist_ok=True)
        try:
            for worker in range(job.workers):
                await self._spawn(_Link(worker, sink))
            hello: Message = {"t": "job", "job": asdict(job), "trace_s": trace_s}
            armed = await self._ask(hello, "armed", _ARM_S)
            for link, answer in zip(self._links, armed, strict=True):
                if answer is None:
                    raise UnsafeError(f"load worker {link.worker} did not come up: {link.account().error}")
        except BaseException:
            await self._kill()
            raise
        start_at_ns = max(job.start_at_ns, time.monotonic_ns() - job.origin_ns + _LEAD_NS)
        for link in self._links:
            link.send({"t": "go", "start_at_ns": start_at_ns})

    async def surge(self, name: str, factor: float, begin_ns: int, until_ns: int) -> None:
        """See `Surging`."""
        told: Message = {"t": "surge", "name": name, "factor": factor, "begin_ns": begin_ns, "until_ns": until_ns}
        if None in await self._ask(told, "surged", _ANSWER_S):
            raise InjectError("a load worker did not take the surge")

    async def calm(self, name: str) -> None:
        """See `Surging`."""
        answers = await self._ask({"t": "calm", "name": name}, "calmed", _ANSWER_S)
        alive = [answer for link, answer in zip(self._links, answers, strict=True) if not link.lost.is_set()]
        if None in alive:
            raise InjectError("a load worker did not end the surge")

    async def stop_arrivals(self) -> None:
        """See `Engine`: what was due is started, nothing is due from now on."""
        await self._ask({"t": "stop"}, "stopped", _ANSWER_S)
        self._check_sink()

    async def drain(self, limit_ns: int) -> None:
        """See `Engine`."""
        await self._ask({"t": "drain", "limit_ns": limit_ns}, "drained", limit_ns / NS_PER_S + _ANSWER_S)
        self._check_sink()

    async def final(self, regions: Mapping[str, str], within_ns: int) -> None:
        """See `Engine`. Each call is a further round of reads; `unread` are those of the last round."""
        message: Message = {"t": "final", "regions": dict(regions), "within_ns": within_ns}
        answers = await self._ask(message, "finals", within_ns / NS_PER_S + _ANSWER_S)
        self._unread = [name for answer in answers if answer is not None for name in answer["unread"]]

    async def close(self) -> LoadReport:
        """See `Engine`. What is still in flight is cut; workers that do not end are killed."""
        if self._report is None:
            try:
                await self._ask({"t": "close"}, "report", _ANSWER_S)
            finally:
                await self._kill()
            self._report = LoadReport(
                engine="asyncio",
                profile="" if self._job is None else self._job.profile,
                model=None if self._profile is None else self._profile.model,
                closed_loop=self._closed_loop,
                workers=tuple(link.account() for link in self._links),
                unread=tuple(sorted(self._unread)),
            )
        return self._report

    def dead(self) -> Sequence[int]:
        """See `Engine`."""
        return tuple(link.worker for link in self._links if link.lost.is_set() and link.report is None)

    async def _spawn(self, link: _Link) -> None:
        """Start one worker on its end of a socket pair; what it prints comes back over a pipe."""
        loop = asyncio.get_running_loop()
        self._links.append(link)
        assert self._profile is not None
        ours, reader = _process(link, swift=self._profile.swift())
        await loop.create_connection(lambda: link, sock=ours)
        tail, _ = await loop.connect_read_pipe(lambda: _Tail(link), os.fdopen(reader, "rb"))
        self._tails.append(tail)

    async def _ask(self, message: Message, answer: str, limit_s: float) -> list[Message | None]:
        """Every worker's answer, in their order."""
        async with asyncio.TaskGroup() as asking:
            asked = [
                asking.create_task(link.ask(message | {"worker": link.worker}, answer, limit_s)) for link in self._links
            ]
        return [task.result() for task in asked]

    def _check_sink(self) -> None:
        """Raise HarnessBug when the sink has failed since the start."""
        for link in self._links:
            if link.sink_error is not None:
                raise HarnessBug(f"the sink of load batches failed: {link.sink_error!r}") from link.sink_error

    async def _kill(self) -> None:
        async with asyncio.TaskGroup() as ending:
            for link in self._links:
                ending.create_task(link.end())
        for tail in self._tails:
            tail.close()


def _process(link: _Link, *, swift: bool) -> tuple[socket.socket, int]:
    """Start the link's process; our end of its socket and of the pipe that it prints to."""
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    try:
        link.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.load.worker", "--fd", str(theirs.fileno()), *["--swift"] * swift],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            pass_fds=(theirs.fileno(),),
            process_group=0,  # a terminal's Ctrl-C is for the conductor
        )
    except OSError as exc:
        ours.close()
        os.close(reader)
        raise UnsafeError(f"cannot start load worker {link.worker}: {exc}") from exc
    finally:
        theirs.close()
        os.close(writer)
    ours.setblocking(False)
    return ours, reader


def _check_files(needed: int, users_max: int) -> None:
    """Raise UnsafeError unless a worker may open that many files: running out of them looks like an outage."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UnsafeError(
            f"load of up to {users_max} users needs {needed} open files per worker, the hard limit is {hard}",
            remedy=f"raise it (ulimit -Hn {needed}), or lower load.users_max, or use more load.workers",
        )
