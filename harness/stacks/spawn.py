"""How the process host makes processes: commands, and forks from zygotes. Not here: what becomes of them (`hostd`)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UnsafeError
from harness.stacks.launch import Launch, Started, user_ids
from harness.stacks.netns import namespace_path
from harness.stacks.procfs import MARKER, read_stat

__all__ = ["Zygote", "spawn_command", "zygote_key"]

ZYGOTE_LIMIT_S = 60.0
FORK_LIMIT_S = 20.0
_TITLE_ROOM = 600


def _ids(launch: Launch) -> tuple[int, int] | None:
    """The uid and gid to change to; None when it runs as we do. Raises UnsafeError when we cannot become that user."""
    if launch.user is None:
        return None
    try:
        uid, gid = user_ids(launch.user)
    except ValueError as exc:
        raise UnsafeError(f"instance {launch.instance}: {exc}", remedy="name an account of this machine") from exc
    if uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UnsafeError(f"instance {launch.instance}: only root can run it as {launch.user!r}", remedy="run as root")
    return uid, gid


def _program(argv: tuple[str, ...], env: dict[str, str]) -> str:
    """The program file of a command. A bare `python` that is nowhere on the PATH is the interpreter that runs us."""
    name = argv[0]
    found = shutil.which(name, path=env.get("PATH"))
    if found is None and name in ("python", "python3"):
        return sys.executable
    return found or name


def spawn_command(launch: Launch, argv: tuple[str, ...], marker: str) -> subprocess.Popen[bytes]:
    """The command running in a session of its own, as the instance's user, its output appended to the instance's log.

    Raises UnsafeError when it cannot be run. Whoever reaps it must set `returncode`.
    """
    env = {"PYTHONUNBUFFERED": "1", **os.environ, **launch.env, MARKER: marker}
    ids = _ids(launch)
    as_user: dict[str, Any] = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
    program: str | None = _program(argv, env)
    if launch.netns is not None:
        argv, program, as_user = _entering(launch, (str(program), *argv[1:]), ids), None, {}
    try:
        with open(launch.log, "ab") as log:
            return subprocess.Popen(
                argv,
                executable=program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=launch.cwd,
                env=env,
                start_new_session=True,
                **as_user,
            )
    except OSError as exc:
        raise UnsafeError(
            f"instance {launch.instance}: cannot run {argv[0]!r} in {launch.cwd}: {exc.strerror}",
            remedy="check `host:` in the stack file",
        ) from exc


def _entering(launch: Launch, argv: tuple[str, ...], ids: tuple[int, int] | None) -> tuple[str, ...]:
    """The command line that enters the instance's network namespace, becomes its user, and then is the command.

    Only root may enter, so the user changes after that. Raises UnsafeError for what would fail where nobody could say why.
    """
    place = namespace_path(str(launch.netns))
    if not os.path.exists(place):
        raise UnsafeError(f"instance {launch.instance}: its network namespace {launch.netns} is gone")
    if not os.access(argv[0], os.X_OK):
        raise UnsafeError(
            f"instance {launch.instance}: cannot run {argv[0]!r} in {launch.cwd}: no such program",
            remedy="check `host:` in the stack file",
        )
    as_user = () if ids is None else (f"--setuid={ids[0]}", f"--setgid={ids[1]}")
    nsenter = shutil.which("nsenter") or "/usr/bin/nsenter"
    return (nsenter, f"--net={place}", *as_user, "--", *argv)


def zygote_key(launch: Launch) -> tuple[str, ...]:
    """Instances with the same key are forked from the same zygote."""
    return (launch.cwd, *launch.preload)


@dataclass(slots=True)
class Zygote:
    """One zygote process. Forks one at a time; a fork takes a few milliseconds."""

    process: subprocess.Popen[bytes]
    _sock: socket.socket
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    def begin(cls, launch: Launch, marker: str, log: str) -> Zygote:
        """A zygote that begins to import; the first fork waits for it."""
        ours, theirs = socket.socketpair()
        with theirs, open(log, "ab") as out:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    str(Path(__file__).with_name("zygote.py")),
                    str(theirs.fileno()),
                    "-" * _TITLE_ROOM,
                    str(Path(__file__).parents[2]),
                    *launch.preload,
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=launch.cwd,
                env={**os.environ, MARKER: marker},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return cls(process, ours)

    async def fork(self, launch: Launch, marker: str) -> Started:
        """The instance, forked. Raises UnsafeError when it could not be, with what the zygote said."""
        ids = _ids(launch)
        request = {
            "instance": launch.instance,
            "entry": launch.entry,
            "args": launch.argv,
            "env": dict(launch.env),
            "cwd": launch.cwd,
            "ids": ids,
            "log": launch.log,
            "marker": marker,
            "netns": None if launch.netns is None else namespace_path(launch.netns),
        }
        async with self._lock:
            if self._streams is None:
                self._streams = await asyncio.open_connection(sock=self._sock)
                await self._told(launch, ZYGOTE_LIMIT_S)
            self._streams[1].write(json.dumps(request).encode() + b"\n")
            told = await self._told(launch, FORK_LIMIT_S)
        return Started(pid=int(told["pid"]), start_ticks=int(told["start_ticks"]))

    async def _told(self, launch: Launch, limit_s: float) -> dict[str, Any]:
        assert self._streams is not None
        try:
            async with asyncio.timeout(limit_s):
                line = await self._streams[0].readline()
        except (OSError, TimeoutError) as exc:
            line = json.dumps(
                {"error": f"no answer in {limit_s:g} s" if isinstance(exc, TimeoutError) else str(exc)}
            ).encode()
        told: dict[str, Any] = json.loads(line) if line else {"error": "the zygote ended"}
        if "error" in told:
            self.close()
            raise UnsafeError(
                f"instance {launch.instance}: cannot start {launch.entry}: {told['error']}",
                remedy="check `host:` in the stack file",
            )
        return told

    @property
    def usable(self) -> bool:
        """Whether it can still fork."""
        return self._sock.fileno() >= 0 and read_stat(self.process.pid) is not None

    def close(self) -> None:
        """Let it end. Instances that it forked run on."""
        if self._streams is not None:
            self._streams[1].close()
        self._sock.close()
