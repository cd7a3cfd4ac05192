"""Talks to the process host of a state directory; begins one where there is none; ends it and all it hosts."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from harness.errors import UnsafeError
from harness.stacks.ending import end_instances
from harness.stacks.launch import Started, StateDir
from harness.stacks.logs import appended
from harness.stacks.procfs import MARKER, program, read_stat
from harness.stacks.tree import Tree, wait_gone

__all__ = ["HostdClient", "end_stack", "ensure_hostd"]

ORPHAN_GRACE_NS = 30_000_000_000
_BEGIN_LIMIT_S = 20.0
_LINE_LIMIT = 4 * 1024 * 1024


class HostdClient:
    """One connection to the process host. Requests wait for one another; a lost connection is made anew."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, document: dict[str, Any], limit_ns: int) -> dict[str, Any]:
        """The answer. Raises UnsafeError with the host's reason when it refuses, or when it does not answer in time.

        Every request may be made twice without harm; one that meets a connection that was lost meanwhile is.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(limit_ns / 1e9):
                    line = b""
                    if self._streams is not None:
                        with contextlib.suppress(OSError):
                            line = await self._ask(self._streams, document)
                    if not line:
                        self._drop()
                        line = await self._ask(await self._connect(), document)
            except (OSError, TimeoutError) as exc:
                self._drop()
                reason = f"no answer in {limit_ns / 1e9:g} s" if isinstance(exc, TimeoutError) else str(exc)
                raise UnsafeError(f"process host of {self._state.path}: {reason}") from exc
            except BaseException:
                self._drop()  # cut in the middle: the next answer would be to this question
                raise
        if not line:
            self._drop()
            raise UnsafeError(f"process host of {self._state.path}: it ended")
        answer: dict[str, Any] = json.loads(line)
        if not answer.get("ok"):
            raise UnsafeError(str(answer.get("error")), remedy=answer.get("remedy"))
        return answer

    @staticmethod
    async def _ask(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], document: dict[str, Any]) -> bytes:
        reader, writer = streams
        writer.write(json.dumps(document).encode() + b"\n")
        await writer.drain()
        return await reader.readline()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = os.open(self._state.path, os.O_PATH | os.O_DIRECTORY)
        try:
            path = f"/proc/self/fd/{folder}/hostd.sock"  # the path itself may be longer than a socket name may
            self._streams = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
        finally:
            os.close(folder)
        return self._streams

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def close(self) -> None:
        """Hang up. The host goes on."""
        self._drop()


async def ensure_hostd(state_dir: str, log_dir: str, *, orphan_grace_ns: int | None = ORPHAN_GRACE_NS) -> Started:
    """The process host of the state directory, begun if there was none. `orphan_grace_ns` None: it stays when left alone.

    Raises UnsafeError when it does not come up.
    """
    state = StateDir.at(state_dir)
    state.make()
    lock = os.open(Path(state.path, "begin.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(_BEGIN_LIMIT_S):
            while True:
                running = state.hostd()
                if running is not None and await _answers(state):
                    return running
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(0.01)  # another begins it just now
                    continue
                await _begin(state, os.path.join(log_dir, "hostd.log"), orphan_grace_ns)
                fcntl.flock(lock, fcntl.LOCK_UN)
    except TimeoutError as exc:
        raise UnsafeError(
            f"the process host did not come up in {_BEGIN_LIMIT_S:g} s", remedy=f"see {log_dir}/hostd.log"
        ) from exc
    finally:
        os.close(lock)


async def _answers(state: StateDir) -> bool:
    client = HostdClient(state)
    try:
        await client.request({"do": "ping"}, 5_000_000_000)
    except UnsafeError:
        return False
    finally:
        await client.close()
    return True


async def _begin(state: StateDir, log: str, orphan_grace_ns: int | None) -> None:
    with appended(log) as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "harness.stacks.hostd",
            f"--state-dir={state.path}",
            f"--log={log}",
            f"--orphan-grace={(orphan_grace_ns or 0) / 1e9}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # Where this package is: the folder we happen to stand in may hold a `harness` of its own.
            cwd=Path(__file__).parents[2],
            # By its mark it is found and ended although whoever wanted it died before it had said who it is.
            env={**os.environ, MARKER: state.marker("process host")},
            start_new_session=True,
        )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    if code not in (0, 3):
        raise UnsafeError(f"the process host could not begin (exit {code})", remedy=f"see {log}")


async def end_stack(state_dir: str, grace_ns: int = 5_000_000_000) -> tuple[str, ...]:
    """End everything that was started from the state directory, its process host too; the names of instances that ran.

    Works without the process host: from its pid files and marks alone. Idempotent; legal when nothing was ever started.
    Raises UnsafeError or InjectError when something will not go.
    """
    state = StateDir.at(state_dir)
    if not state.exists:
        return ()
    hostd = state.hostd()
    ended: tuple[str, ...] = ()
    if hostd is not None:
        client = HostdClient(state)
        try:
            answer = await client.request({"do": "shutdown", "grace_ns": grace_ns}, grace_ns + 15_000_000_000)
            ended = tuple(answer["ended"])
        except UnsafeError as exc:
            sys.stderr.write(f"blackstart: {exc}; ending its instances without it\n")
        finally:
            await client.close()
        await _end_host(hostd)
    return ended + await end_instances(state, grace_ns)


async def _end_host(hostd: Started) -> None:
    """Wait for the process host's own end; force it, if it is stuck."""
    stat = read_stat(hostd.pid)
    if stat is None or stat.start_ticks != hostd.start_ticks:
        return
    if await wait_gone([stat], 3_000_000_000):
        Tree(pid=hostd.pid, start_ticks=hostd.start_ticks).send(signal.SIGKILL)
        if await wait_gone([stat], 3_000_000_000):
            raise UnsafeError(f"the process host (pid {hostd.pid}, {program(hostd.pid)}) will not go")
