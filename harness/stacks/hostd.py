"""The process host: starts instances, reaps them and all their orphans, and ends them when told to or when left alone.

`python -m harness.stacks.hostd --state-dir DIR --log FILE [--orphan-grace SECONDS]` detaches and returns when it listens on
`DIR/hostd.sock`: JSON lines, one answer per request. It survives the death of whoever started it. It ends everything it
started, and itself, when told `shutdown`, on SIGTERM, or when no client was connected for the grace (0: never).
Finding, freezing, thawing and killing need no request: `supervised` does them itself, also when this process is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UnsafeError
from harness.stacks.ending import end_instances
from harness.stacks.launch import HOSTD_PID, Launch, Started, StateDir
from harness.stacks.logs import tail
from harness.stacks.procfs import read_stat
from harness.stacks.spawn import Zygote, spawn_command, zygote_key

__all__ = ["PREPARE_LIMIT_S", "Hostd", "main"]

PREPARE_LIMIT_S = 60.0
TERM_GRACE_NS = 2_000_000_000
LINE_LIMIT = 4 * 1024 * 1024
_PR_SET_CHILD_SUBREAPER = 36


class Hostd:
    """Serves one state directory until it is told, or left, to end."""

    def __init__(self, state: StateDir, log: str, grace_s: float) -> None:
        self._state = state
        self._log = log
        self._grace_s = grace_s
        self._done = asyncio.Event()
        self._ending = False
        self._clients: set[asyncio.StreamWriter] = set()
        self._alone_since = time.monotonic()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._zygotes: dict[tuple[str, ...], Zygote] = {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._exits: dict[tuple[int, int], int] = {}
        self._grace_ns = TERM_GRACE_NS
        self._ended: tuple[str, ...] = ()

    async def serve(self, listening: socket.socket, ready_fd: int) -> None:
        """Answer until the end; then everything started is gone."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._done.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # not SIG_IGN, which instances would inherit
        server = await asyncio.start_unix_server(self._client, sock=listening, limit=LINE_LIMIT)
        os.write(ready_fd, b"1")
        os.close(ready_fd)
        while not self._done.is_set():
            try:
                async with asyncio.timeout(0.25):
                    await self._done.wait()
            except TimeoutError:
                if not self._clients and 0 < self._grace_s < time.monotonic() - self._alone_since:
                    break
        await self._end()
        for writer in tuple(self._clients):
            writer.close()
        server.close()
        for _ in range(100):  # each client's task ends with its connection; cut, it would leave a traceback in the log
            if not self._clients:
                break
            await asyncio.sleep(0.01)

    async def _end(self) -> None:
        self._ending = True
        for zygote in self._zygotes.values():
            zygote.close()
        self._ended = await end_instances(self._state, self._grace_ns, own_pid=os.getpid())

    # ---- clients ----

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                answer = await self._answer(json.loads(line))
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as exc:
            sys.stderr.write(f"hostd: a client was dropped: {exc}\n")
        finally:
            self._clients.discard(writer)
            self._alone_since = time.monotonic()
            writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            match request.get("do"):
                case "ping":
                    return {"ok": True, "pid": os.getpid()}
                case "start":
                    started = await self._start(Launch.from_json(request["launch"]))
                    return {"ok": True, "pid": started.pid, "start_ticks": started.start_ticks}
                case "list":
                    return {"ok": True, "instances": self._list()}
                case "shutdown":
                    self._grace_ns = int(request["grace_ns"])
                    await self._end()
                    self._done.set()
                    return {"ok": True, "ended": self._ended}
                case unknown:
                    return {"ok": False, "error": f"cannot do {unknown!r}"}
        except UnsafeError as exc:
            return {"ok": False, "error": exc.message, "remedy": exc.remedy}
        except (HarnessError, OSError, KeyError, TypeError) as exc:
            return {"ok": False, "error": f"{type(exc).__name__}: {exc}"}

    def _list(self) -> list[dict[str, Any]]:
        rows = []
        for launch in self._state.launches():
            started = self._state.started(launch.instance)
            if started is not None:
                code = self._exits.get((started.pid, started.start_ticks))
                row = {"instance": launch.instance, "pid": started.pid, "start_ticks": started.start_ticks}
                rows.append({**row, "running": started.running, "exit_code": code})
        return rows

    # ---- instances ----

    async def _start(self, launch: Launch) -> Started:
        async with self._locks[launch.instance]:
            if self._ending:
                raise UnsafeError(f"instance {launch.instance}: the process host is ending")
            known = self._state.started(launch.instance)
            if known is not None and known.running:
                return known
            self._state.write_launch(launch)
            marker = self._state.marker(launch.instance)
            await self._prepare(launch, marker)
            if launch.entry is None:
                process = spawn_command(launch, launch.argv, marker)
                self._children[process.pid] = process
                stat = read_stat(process.pid)
                assert stat is not None, "our own child cannot vanish before we reap it"
                started = Started(pid=process.pid, start_ticks=stat.start_ticks)
            else:
                started = await self._fork(launch, marker)
            self._state.write_started(launch.instance, started)
            return started

    async def _fork(self, launch: Launch, marker: str) -> Started:
        key = zygote_key(launch)
        zygote = self._zygotes.get(key)
        if zygote is None or not zygote.usable:
            # Its own marker is no instance's, so no instance's tree ever holds it.
            zygote = self._zygotes[key] = Zygote.begin(launch, f"{self._state.prefix}-{'0' * 16}", self._log)
            self._children[zygote.process.pid] = zygote.process
        return await zygote.fork(launch, marker)

    async def _prepare(self, launch: Launch, marker: str) -> None:
        """Run `prepare:` once in the life of the state directory: a revert must not repeat an initdb."""
        if not launch.prepare or self._state.is_prepared(launch.instance):
            return
        for argv in launch.prepare:
            process = spawn_command(launch, argv, marker)
            self._children[process.pid] = process
            ended = self._waiting[process.pid] = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(PREPARE_LIMIT_S):
                    code = await ended
            except TimeoutError as exc:
                os.killpg(process.pid, signal.SIGKILL)
                raise UnsafeError(
                    f"instance {launch.instance}: prepare {argv!r} was not done in {PREPARE_LIMIT_S:g} s"
                ) from exc
            finally:
                self._waiting.pop(process.pid, None)
            if code != 0:
                said = "; ".join(tail(launch.log, 2))
                raise UnsafeError(
                    f"instance {launch.instance}: prepare {argv!r} ended with {code}: {said}",
                    remedy=f"see {launch.log}",
                )
        self._state.set_prepared(launch.instance)

    def _reap(self) -> None:
        """Collect every ended child, adopted orphans too; remember how each ended."""
        while True:
            try:
                peek = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if peek is None:
                return
            stat = read_stat(peek.si_pid)  # while it is still a zombie: its start time goes with it
            pid, status = os.waitpid(peek.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if stat is not None:
                self._exits[pid, stat.start_ticks] = code
                while len(self._exits) > 1000:
                    del self._exits[next(iter(self._exits))]
            process = self._children.pop(pid, None)
            if process is not None:
                process.returncode = code
            waiting = self._waiting.pop(pid, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(code)


def _listen(state: StateDir) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    folder = os.open(state.path, os.O_PATH | os.O_DIRECTORY)
    try:
        Path(state.path, "hostd.sock").unlink(missing_ok=True)
        listening.bind(f"/proc/self/fd/{folder}/hostd.sock")  # the path itself may be longer than a socket name may
        listening.listen(128)
    finally:
        os.close(folder)
    return listening


def _detach() -> int | None:
    """In the detached child: the descriptor on which to say "ready". In the parent, once the child said so or died: None."""
    ready_r, ready_w = os.pipe()
    if os.fork() == 0:
        os.close(ready_r)
        os.setsid()
        return ready_w
    os.close(ready_w)
    ready = os.read(ready_r, 1)
    if ready != b"1":
        sys.stderr.write("hostd: died before it was ready\n")
        os._exit(1)
    return None


def main(argv: list[str] | None = None) -> int:
    """Detach and serve. 0 once it serves, 3 when another process host has the state directory."""
    parser = argparse.ArgumentParser(prog="hostd", description="hosts the processes of one stack")
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--orphan-grace", type=float, default=30.0, metavar="SECONDS", help="0: stay for ever")
    args = parser.parse_args(argv)
    state = StateDir.at(args.state_dir)
    state.make()
    lock = os.open(Path(state.path, "hostd.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 3
    ready = _detach()
    if ready is None:
        return 0
    os.set_inheritable(ready, False)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.stderr.write(f"hostd: cannot become a child subreaper: {os.strerror(ctypes.get_errno())}\n")
        return 1
    own = read_stat(os.getpid())
    assert own is not None
    state.write(HOSTD_PID, {"pid": own.pid, "start_ticks": own.start_ticks})
    listening = _listen(state)
    asyncio.run(Hostd(state, args.log, args.orphan_grace).serve(listening, ready))
    Path(state.path, HOSTD_PID).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
