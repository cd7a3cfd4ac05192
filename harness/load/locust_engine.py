"""The `locust` engine: somebody's locustfile, unmodified, in Locust itself; every request event becomes an op. Closed loop.

Locust tells of a request when it has ended, so that one still open when Locust is ended has no record: the drain lets each user
finish what it is at, and what Locust counted is compared with what was told. There are no final reads and no values.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from harness.errors import HarnessBug, SpecError, UnsafeError
from harness.load import locust_ops
from harness.load.record import PART_ROWS, Recorder, warm_up, write_part
from harness.load.wire import batch_from_json
from harness.model.arrivals import arrival_from_json
from harness.model.ports import LiveBatch, LoadJob, LoadReport, WorkerReport
from harness.units import NS_PER_S

__all__ = ["LocustEngine"]

_START_S = 60.0
_TICK_S = 0.1
_GRACE_S = 5.0
_TAIL = 4096


class _Lines(asyncio.Protocol):
    """The pipe from the plug-in, cut into messages."""

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self._take, self._rest = take, b""
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()


class LocustEngine:
    """An `Engine` (see `model.ports`). `profile` is a locustfile; `users` of the arrivals is how many users Locust runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._job: LoadJob | None = None
        self._recorder: Recorder | None = None
        self._started = asyncio.Event()
        self._lines = _Lines(self._take)
        self._transports: list[asyncio.BaseTransport] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._sink: Callable[[LiveBatch], None] | None = None
        self._sink_error: Exception | None = None
        self._strays: list[str] = []
        self._counted: int | None = None
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
        self._recorder = Recorder(0, Path(job.out_dir))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the engine
        stop_s = max(1, round((job.deadline_ns or 4 * job.timeout_ns) / NS_PER_S))
        await asyncio.to_thread(warm_up)
        await self._spawn(_command(job, spec.users, stop_s))
        begun = asyncio.ensure_future(self._started.wait())
        ended = asyncio.ensure_future(self._lines.closed.wait())
        try:
            await asyncio.wait({begun, ended}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
            if not self._started.is_set():
                raise UnsafeError(f"Locust did not come up: {self._tail()}")
        except BaseException:
            self._stopping = True
            await self._end()
            self._writer.shutdown()
            self._log.close()
            raise
        finally:
            begun.cancel()
            ended.cancel()
        self._tick()

    async def stop_arrivals(self) -> None:
        """See `Engine`: users finish the task that they are at, and begin none. Locust has no halt without an end."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._check_sink()

    async def drain(self, limit_ns: int) -> None:
        """See `Engine`."""
        try:
            async with asyncio.timeout(limit_ns / NS_PER_S + _GRACE_S):
                await self._lines.closed.wait()
        except TimeoutError:
            self._strays.append("did not end within the drain")
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
            await self._end()
            await self._flushed()
            self._writer.shutdown()
            self._report = LoadReport(
                engine="locust",
                profile="" if self._job is None else self._job.profile,
                model=None,
                closed_loop=True,
                workers=(self._account(),),
            )
            if self._log is not None and not self._log.closed:
                self._log.close()
        return self._report

    def dead(self) -> Sequence[int]:
        """See `Engine`."""
        gone = self._process is not None and self._process.poll() is not None
        return (0,) if gone and not self._stopping else ()

    # ---- the process ------------------------------------------------------------------------------------------------

    async def _spawn(self, command: list[str]) -> None:
        loop = asyncio.get_running_loop()
        assert self._log is not None
        self._process, reader = _process(command, self._log)
        transport, _ = await loop.connect_read_pipe(lambda: self._lines, os.fdopen(reader, "rb"))
        self._transports.append(transport)

    async def _end(self) -> None:
        """The process is gone when this returns: asked first, then forced; what it still told is taken."""
        process = self._process
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
            until_s = time.monotonic() + _GRACE_S
            while process.poll() is None and time.monotonic() < until_s:
                await asyncio.sleep(0.01)
        try:
            async with asyncio.timeout(_GRACE_S):
                await self._lines.closed.wait()
        except TimeoutError:  # a child of the locustfile's holds the pipe
            self._strays.append("something that the locustfile started outlived it")
        for transport in self._transports:
            transport.close()

    def _tail(self) -> str:
        if self._log is None or self._log.closed:
            return "it never came up"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _TAIL))
        return self._log.read().decode(errors="replace").strip()[-400:] or "it said nothing"

    def _account(self) -> WorkerReport:
        recorder, code = self._recorder, None if self._process is None else self._process.poll()
        told = 0 if recorder is None else recorder.started_count
        strays = list(dict.fromkeys(self._strays))[:3]
        # 1 is how Locust says that some requests failed; with a last word it ended as it should
        well = self._counted is not None and code in (0, 1)
        if self._counted is not None and self._counted != told:
            well = False
            strays.insert(0, f"Locust counted {self._counted} requests and told {told}")
        return WorkerReport(
            worker=0,
            exit_code=0 if well else (code or -1),
            started_count=told,
            ended_count=0 if recorder is None else recorder.ended_count,
            dropped_count=0,
            late_p50_ns=None,
            late_p99_ns=None,
            late_max_ns=None,
            run_delay_ns=None,
            cpu_ratio=None,
            gc_pause_max_ns=None,
            error="; ".join(strays) or (None if well else f"Locust ended with {code}: {self._tail()}"),
        )

    # ---- what it tells ----------------------------------------------------------------------------------------------

    def _take(self, message: dict[str, Any]) -> None:
        assert self._recorder is not None and self._job is not None
        if message["t"] == "op":
            op = locust_ops.EndedOp(self._recorder.next_id(), message, self._job.origin_ns)
            self._recorder.started(op)
            self._recorder.ended(op.op, op.row)
        elif message["t"] == "start":
            self._started.set()
        elif message["t"] == "stray":
            self._strays.append(message["what"])
        elif message["t"] == "end":
            self._counted = message["requests"]

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        recorder, job = self._recorder, self._job
        assert recorder is not None and job is not None and self._sink is not None
        ended, dropped = recorder.take_live()
        live = {
            "worker": 0,
            "at": time.monotonic_ns() - job.origin_ns,
            "ended": ended,
            "open": [],
            "dropped": dropped,
            "started": recorder.started_count,
            "late": None,
        }
        try:
            self._sink(batch_from_json(live))
        except Exception as exc:  # kept, and raised by the next call
            self._sink_error = self._sink_error or exc
        if recorder.waiting_count >= PART_ROWS or time.monotonic() - self._wrote_s > 1:
            self._flush()

    def _flush(self) -> None:
        self._wrote_s = time.monotonic()
        part = None if self._recorder is None else self._recorder.take_part()
        if part is not None:
            self._writing.append(self._writer.submit(write_part, *part))

    async def _flushed(self) -> None:
        """Everything that was told is on disk. Raises what kept it from there."""
        self._flush()
        while self._writing:
            await asyncio.wrap_future(self._writing.pop(0))

    def _check_sink(self) -> None:
        if self._sink_error is not None:
            raise HarnessBug(f"the sink of load batches failed: {self._sink_error!r}") from self._sink_error


def _process(command: list[str], log: IO[bytes]) -> tuple[subprocess.Popen[bytes], int]:
    """Start Locust; our end of the plug-in's pipe."""
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            process_group=0,  # a terminal's Ctrl-C is for the conductor
            env=os.environ | {"BLACKSTART_LOCUST_FD": str(writer)},
        )
    except OSError as exc:
        os.close(reader)
        raise UnsafeError(f"cannot start Locust: {exc}") from exc
    finally:
        os.close(writer)
    return process, reader


def _command(job: LoadJob, users: int, stop_s: int) -> list[str]:
    plugin = Path(__file__).with_name("locust_plugin.py")
    return [
        sys.executable, "-m", "locust", "-f", f"{job.profile},{plugin}", "--headless", "--only-summary", "--host", job.entry,
        "-u", str(users), "-r", str(users), "--stop-timeout", str(stop_s), "--exit-code-on-error", "0",
    ]  # fmt: skip
