"""Host `pid`: a process that runs already, named by its number or its pid file. Attached to, never owned."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from pydantic import ConfigDict, Field

from harness.errors import InjectError, UnsafeError
from harness.model.catalog import HostKind
from harness.model.fields import JsonObject, Params
from harness.model.ports import HostFactory, HostSettings, Identity
from harness.model.stack import Instance
from harness.model.wiring import Wiring
from harness.stacks.launch import StateDir
from harness.stacks.logs import appended, tail
from harness.stacks.procfs import alive, program, read_stat, start_wall_s
from harness.stacks.supervised import argv_at
from harness.stacks.tree import Tree, wait_gone

__all__ = ["FACTORY", "KIND", "PidFile", "PidHost", "PidParams"]

_COMMAND_LIMIT_S = 30.0
_APPEAR_LIMIT_S = 10.0
_STALE_SLACK_S = 5.0


class PidFile(Params):
    """A file whose first word is the process's number."""

    file: str


class PidParams(Params):
    """The process: `pid: 1234`, or `pid: {file: /run/x.pid}`.

    `start` brings a dead one back and must return once it runs; `stop` ends it (default: SIGTERM). `start` makes sense with
    a file only: a process that comes back has another number.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    pid: int | PidFile
    start: tuple[str, ...] | None = Field(default=None, min_length=1)
    stop: tuple[str, ...] | None = Field(default=None, min_length=1)

    @property
    def can_start(self) -> bool:
        """Whether a dead one can be brought back."""
        return self.start is not None


class PidHost:
    """Controls one attached process. One named by number is that process alone, never a later one of the same number."""

    def __init__(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> None:
        params = PidParams.model_validate(instance.host.params)

        def command(argv: tuple[str, ...] | None) -> list[str] | None:
            if argv is None:
                return None
            return list(argv_at(settings.base_dir, tuple(wiring.text(word, instance=instance.name) for word in argv)))

        by_file = isinstance(params.pid, PidFile)
        file = wiring.text(params.pid.file, instance=instance.name) if isinstance(params.pid, PidFile) else None
        self._recipe: JsonObject = {
            "kind": "pid",
            "instance": instance.name,
            "file": os.path.join(settings.base_dir, file) if file is not None else None,
            "pid": None if by_file else params.pid,
            "start_ticks": None,
            "start": command(params.start),
            "stop": command(params.stop),
            "cwd": settings.base_dir,
            "state_dir": os.path.abspath(settings.state_dir),
            "log_dir": os.path.abspath(settings.log_dir),
        }

    @classmethod
    def revive(cls, recipe: JsonObject) -> Self:
        """The host that made this recipe, in another process."""
        host = cls.__new__(cls)
        host._recipe = dict(recipe)
        return host

    def recipe(self) -> JsonObject:
        self._pin()
        return dict(self._recipe)

    @property
    def instance(self) -> str:
        return str(self._recipe["instance"])

    @property
    def log_path(self) -> str:
        """Where the output of its `start` and `stop` commands goes; its own log is its own affair."""
        return os.path.join(self._recipe["log_dir"], f"{self.instance}.log")

    def _pin(self) -> None:
        """Take the start time of a process named by number at first sight; from then on only that one is meant."""
        if self._recipe["pid"] is not None and self._recipe["start_ticks"] is None:
            stat = read_stat(self._recipe["pid"])
            if stat is not None and not stat.ended:
                self._recipe["start_ticks"] = stat.start_ticks

    async def find(self) -> Identity | None:
        if self._recipe["file"] is not None:
            return self._found_by_file()[0]
        self._pin()
        pid, ticks = self._recipe["pid"], self._recipe["start_ticks"]
        if ticks is None or alive(pid, ticks) is None:
            return None
        return Identity(pid=pid, start_ticks=ticks)

    def _found_by_file(self) -> tuple[Identity | None, str]:
        """Who the pid file names, or why nobody."""
        path = Path(self._recipe["file"])
        try:
            written_s = path.stat().st_mtime
            pid = int(path.read_text(encoding="ascii").split()[0])
        except FileNotFoundError:
            return None, f"there is no pid file {path}"
        except (OSError, ValueError, IndexError) as exc:
            return None, f"pid file {path} holds no process number: {exc}"
        stat = read_stat(pid)
        if stat is None or stat.ended:
            return None, f"pid file {path} names {pid}, which does not run"
        if start_wall_s(stat.start_ticks) > written_s + _STALE_SLACK_S:
            # A left-over file whose number went to a stranger: the file is older than the process it names.
            return None, f"pid file {path} names {pid} ({program(pid)}), which began after the file was written"
        return Identity(pid=pid, start_ticks=stat.start_ticks), ""

    async def start(self) -> Identity:
        found = await self.find()
        if found is not None:
            return found
        why = f"process {self._recipe['pid']} is gone"
        if self._recipe["file"] is not None:
            why = self._found_by_file()[1]
        if self._recipe["start"] is None:
            raise UnsafeError(
                f"instance {self.instance}: not running ({why}), and nothing says how to start it",
                remedy="start it, or give it a `start:` command in the stack file",
            )
        await self._command("start")
        deadline_ns = time.monotonic_ns() + int(_APPEAR_LIMIT_S * 1e9)
        while (found := await self.find()) is None:
            if time.monotonic_ns() > deadline_ns:
                raise UnsafeError(
                    f"instance {self.instance}: its `start:` command ended well, but it does not run: "
                    f"{self._found_by_file()[1] if self._recipe['file'] else why}",
                    remedy="name a pid file that the command writes",
                )
            await asyncio.sleep(0.02)
        return found

    async def _command(self, which: str) -> None:
        """Run `start` or `stop` to its end. Raises UnsafeError when it fails or is not done in time."""
        argv: list[str] = self._recipe[which]
        try:
            with appended(self.log_path) as log:
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    cwd=self._recipe["cwd"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as exc:
            raise UnsafeError(
                f"instance {self.instance}: cannot run {which} command {argv[0]!r}: {exc.strerror}"
            ) from exc
        try:
            async with asyncio.timeout(_COMMAND_LIMIT_S):
                code = await process.wait()
        except TimeoutError as exc:
            raise UnsafeError(
                f"instance {self.instance}: {which} command {argv!r} has not returned in {_COMMAND_LIMIT_S:g} s",
                remedy="it must return once the program runs in the background",
            ) from exc
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if code != 0:
            said = "; ".join(tail(self.log_path, 3))
            raise UnsafeError(f"instance {self.instance}: {which} command {argv!r} ended with {code}: {said}")

    async def stop(self, grace_ns: int) -> bool:
        found = await self.find()
        if found is None:
            return True
        tree = self._tree(found)
        root = tree.root()
        if root is None:
            return True
        if self._recipe["stop"] is None:
            tree.send(signal.SIGTERM)
        await tree.thaw()  # a stopped process cannot end
        if self._recipe["stop"] is not None:
            await self._command("stop")
        by_itself = not await wait_gone([root], grace_ns)
        if not by_itself:
            await tree.kill()
        return by_itself

    async def kill(self, identity: Identity) -> None:
        tree = self._tree(identity)
        if tree.root() is not None:
            await tree.kill()

    async def freeze(self, identity: Identity) -> None:
        try:
            await self._tree(identity).freeze()
        except InjectError as exc:
            raise InjectError(f"instance {self.instance}: {exc}") from exc

    async def thaw(self, identity: Identity) -> None:
        await self._tree(identity).thaw()

    async def frozen(self, identity: Identity) -> bool:
        return self._tree(identity).frozen()

    async def close(self) -> None:
        """Nothing to let go of."""

    def _tree(self, identity: Identity) -> Tree:
        if identity.pid is None or identity.start_ticks is None:
            raise InjectError(f"instance {self.instance}: {identity!r} is no process")
        record = StateDir.at(self._recipe["state_dir"]).frozen(self.instance)
        return Tree(pid=identity.pid, start_ticks=identity.start_ticks, session=True, record=record)


FACTORY: HostFactory = PidHost

KIND = HostKind(
    name="pid",
    doc="a process that runs already, named by its number or its pid file",
    params=PidParams,
    code="harness.stacks.pid:PidHost",
    example="{pid: {file: /run/gw.pid}, start: [systemctl, start, gw]}",
    started_by_run=False,
)
