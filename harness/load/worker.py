"""One load worker: `python -m harness.load.worker --fd N`. Offers its stripe, records it, and reports over a socket.

It ends by itself when the engine's end of the socket closes, on SIGTERM, and when its writer fails; whatever ends it but
SIGKILL, every op that started has its record on disk first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import NoReturn, cast

from harness.load.capacity import capacity
from harness.load.dispatch import Assignment, Dispatcher
from harness.load.finals import FinalReads
from harness.load.profile import load_profile
from harness.load.pulse import GcPauses, Pulse, Stalls
from harness.load.record import PART_ROWS, Recorder, warm_up, write_part
from harness.load.user import Desk, HttpUser
from harness.load.wire import Message, Unpacker, pack
from harness.model.arrivals import arrival_from_json
from harness.model.ports import LoadJob
from harness.units import NS_PER_S

__all__ = ["EXIT_ORPHANED", "EXIT_TERMINATED", "EXIT_WRITER", "Worker", "main"]

EXIT_TERMINATED, EXIT_ORPHANED, EXIT_WRITER, EXIT_STUCK = 143, 75, 74, 86

_TICK_S = 0.1
_PART_AGE_S = 1.0
_OPEN_SHOWN = 5000  # of a batch's open ops: the oldest, which are the ones that rules look for
_SWITCH_S = 0.0005  # how long the writer's thread may keep the loop from running
_ORPHAN_GRACE_S = 5.0
_FLUSH_S = 2.0


class Worker(asyncio.Protocol):
    """The worker's side of the socket, and everything it drives."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._unpacker, self._inbox = Unpacker(), deque[Message]()
        self._arrived = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._recorder: Recorder | None = None
        self._dispatcher: Dispatcher | None = None
        self._finals: FinalReads | None = None
        self._sessions: dict[str, str | None] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="load-writer")
        self._writing: Future[None] | None = None
        self._wrote_s = time.monotonic()
        self._gc, self._pulse = GcPauses(), Pulse()
        self._stalls = Stalls(0)
        self._index = 0

    # ---- the socket -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of a class of its own

    def data_received(self, data: bytes) -> None:
        self._inbox.extend(self._unpacker.feed(data))
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.quit(EXIT_ORPHANED)

    def send(self, message: Message) -> None:
        """Send a message; it waits in memory while the engine does not read."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(pack(message))

    async def _next(self) -> Message:
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return self._inbox.popleft()

    # ---- commands ---------------------------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Carry out the engine's commands in order until `close`; the exit code."""
        while True:
            message = await self._next()
            match message["t"]:
                case "job":
                    await self._arm(message)
                    self.send({"t": "armed"})
                case "go":
                    self._go(message["start_at_ns"])
                case "surge":
                    told = (message["name"], message["factor"], message["begin_ns"], message["until_ns"])
                    self._armed().surge(*told)
                    self.send({"t": "surged"})
                case "calm":
                    self._armed().calm(message["name"])
                    self.send({"t": "calmed"})
                case "stop":
                    self._armed().stop()
                    self.send({"t": "stopped"})
                case "drain":
                    self._armed().stop()
                    cut = await self._armed().drain(message["limit_ns"])
                    await self._flush()
                    self.send({"t": "drained", "cut": cut})
                case "final":
                    assert self._finals is not None
                    unread = await self._finals.read(message["regions"], message["within_ns"])
                    await self._flush()
                    self.send({"t": "finals", "unread": unread})
                case "close":
                    await self._close()
                    return 0

    async def _arm(self, message: Message) -> None:
        job = LoadJob(**message["job"])
        profile = load_profile(job.profile, job.options)
        if issubclass(profile, HttpUser):
            import harness.load.client  # noqa: F401 - now, not at the first arrival
        warm_up()
        spec, trace_s = arrival_from_json(job.arrival), tuple(message["trace_s"])
        self._index = message["worker"]
        self._recorder = Recorder(self._index, Path(job.out_dir))
        desk = Desk(
            recorder=self._recorder,
            origin_ns=job.origin_ns,
            seed=job.seed,
            timeout_s=job.timeout_ns / NS_PER_S,
            tag=f"{job.origin_ns:x}",
            seed_tag=blake2b(str(job.seed).encode(), digest_size=3).hexdigest(),
            acknowledged=self._acknowledged,
        )
        part = Assignment(
            job=job,
            profile=profile,
            spec=spec,
            trace_s=trace_s,
            capacity=capacity(job, spec, profile.users_wanted(), trace_s),
            worker=self._index,
        )
        self._dispatcher = Dispatcher(part, desk, self._tasks)
        self._finals = FinalReads(
            profile=profile, desk=desk, sessions=self._sessions, worker=self._index, workers=job.workers
        )
        await self._dispatcher.prepare()
        self._stalls = self._gc.stalls = Stalls(job.origin_ns)
        self._gc.watch()

    def _go(self, start_at_ns: int) -> None:
        self._pulse.begin()
        self._armed().go(start_at_ns)
        self._loop.call_later(_TICK_S, self._tick)

    def _acknowledged(self, session: str, group: str | None) -> None:
        self._sessions.setdefault(session, group)

    def _armed(self) -> Dispatcher:
        assert self._dispatcher is not None
        return self._dispatcher

    # ---- reports and parts ------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._loop.call_later(_TICK_S, self._tick)
        self._send_live()
        self._pulse.look(self._stalls)
        recorder = self._recorder
        assert recorder is not None
        due = time.monotonic() - self._wrote_s >= _PART_AGE_S or recorder.waiting_count >= PART_ROWS
        if due and (self._writing is None or self._writing.done()):
            self._write()

    def _send_live(self) -> None:
        recorder, dispatcher = self._recorder, self._armed()
        assert recorder is not None
        ended, dropped = recorder.take_live()
        shown = [
            (op.f, op.intended_ns)
            for op, _ in zip(recorder.open_ops, range(_OPEN_SHOWN), strict=False)
            if op.phase == "load"
        ]
        live = {
            "t": "live",
            "worker": self._index,
            "at": dispatcher.now_ns(),
            "ended": ended,
            "open": shown,
            "dropped": dropped,
            "started": recorder.started_count,
            "late": dispatcher.lateness.take_recent_p99(),
            "counts": (recorder.started_count, recorder.ended_count, recorder.outcomes["dropped"]),
        }
        self.send(live)

    def _write(self) -> None:
        """Hand the waiting rows to the writer's thread."""
        assert self._recorder is not None
        self._wrote_s = time.monotonic()
        part = self._recorder.take_part()
        if part is not None:
            self._writing = self._writer.submit(write_part, *part)
            self._writing.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._written, done))

    def _written(self, done: Future[None]) -> None:
        """Without its records the load proves nothing: end with the reason."""
        exc = done.exception()
        if exc is not None:
            self._fail(f"cannot write ops: {type(exc).__name__}: {exc}", EXIT_WRITER)

    async def _flush(self) -> None:
        """Everything that ended is on disk."""
        self._send_live()
        if self._writing is not None:
            await asyncio.wrap_future(self._writing)
        self._write()
        if self._writing is not None:
            await asyncio.wrap_future(self._writing)

    async def _close(self) -> None:
        assert self._transport is not None
        error, counts = None, (0, 0, 0)
        if self._dispatcher is not None and self._recorder is not None:
            self._dispatcher.stop()
            await self._dispatcher.cut()
            await self._dispatcher.close()
            await self._flush()
            self._recorder.check()
            strays = self._dispatcher.strays.most_common(3)
            error = "; ".join(f"{what} ({count} times, outside every op)" for what, count in strays) or None
            counts = self._recorder.started_count, self._recorder.ended_count, self._recorder.outcomes["dropped"]
        late = None if self._dispatcher is None else self._dispatcher.lateness
        report = {
            "t": "report",
            "started_count": counts[0],
            "ended_count": counts[1],
            "dropped_count": counts[2],
            "late_p50_ns": late and late.percentile(0.5),
            "late_p99_ns": late and late.percentile(0.99),
            "late_max_ns": late and late.max_ns,
            "run_delay_ns": self._pulse.run_delay_ns(),
            "cpu_ratio": self._pulse.cpu_ratio(),
            "gc_pause_max_ns": self._gc.max_ns,
            "stalls": self._stalls.noted(),
            "error": error,
        }
        self.send(report)
        until_s = time.monotonic() + _FLUSH_S
        while self._transport.get_write_buffer_size() and time.monotonic() < until_s:
            await asyncio.sleep(0.005)

    # ---- other ends -------------------------------------------------------------------------------------------------

    def _fail(self, reason: str, code: int) -> None:
        self.send({"t": "error", "text": reason})
        print(reason, file=sys.stderr, flush=True)
        self.quit(code)

    def quit(self, code: int) -> NoReturn:
        """Record what is open as cut, write it, end at once. Tasks are not awaited: the stack may hang them."""
        if self._recorder is not None and code != EXIT_WRITER:
            try:
                self._recorder.cut(self._armed().now_ns() if self._dispatcher else 0)
                part = self._recorder.take_part()
                self._writer.shutdown(wait=True)
                if part is not None:
                    write_part(*part)
            except OSError as exc:
                print(f"cannot write ops: {exc}", file=sys.stderr, flush=True)
                code = EXIT_WRITER
        os._exit(code)


async def _run(fd: int) -> NoReturn:
    loop = asyncio.get_running_loop()
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    threading.Thread(target=_outlive, args=(sock,), name="load-lifeline", daemon=True).start()
    async with asyncio.TaskGroup() as tasks:
        worker = Worker(tasks)
        loop.add_signal_handler(signal.SIGTERM, worker.quit, EXIT_TERMINATED)
        await loop.create_connection(lambda: worker, sock=sock)
        try:
            code = await worker.serve()
        except Exception as exc:
            worker._fail(f"{type(exc).__name__}: {exc}", 1)
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # not through the group: a profile that swallows its cancel would keep us for ever


def _outlive(sock: socket.socket) -> None:
    """End the process some time after the engine's death even if a profile blocks the loop."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)  # hang-up is always told
    while not any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(1000)):
        pass
    time.sleep(_ORPHAN_GRACE_S)
    os._exit(EXIT_STUCK)


def main() -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser(prog="harness.load.worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--swift", action="store_true", help="run on uvloop; pacing does not use a loop's timers")
    told = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):  # the engine decides when load ends
        signal.signal(number, signal.SIG_IGN)
    _allow_files()
    sys.setswitchinterval(_SWITCH_S)
    if told.swift:
        import uvloop

        uvloop.run(_run(told.fd))
    else:
        asyncio.run(_run(told.fd))


def _allow_files() -> None:
    """Raise the soft limit of open files to the hard one; the engine has checked that this is enough."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
