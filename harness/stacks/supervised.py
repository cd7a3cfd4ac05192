"""What the hosts `process` and `python` share: an instance started by the process host, controlled by anyone.

Only starting needs the process host. Who runs is read from the state directory, signals go straight to the tree, so that a
reaper can put things back whatever else has died.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
from pathlib import Path
from typing import Self

from harness.errors import InjectError, UnsafeError
from harness.model.fields import JsonObject
from harness.model.ports import HostSettings, Identity
from harness.model.stack import Instance
from harness.model.wiring import Wiring
from harness.stacks.client import HostdClient, ensure_hostd
from harness.stacks.disk import cut_disk, mount_disk, remount_disk
from harness.stacks.ending import tree_of
from harness.stacks.launch import Launch, Started, StateDir, user_ids
from harness.stacks.listeners import require_free
from harness.stacks.netns import namespace_path
from harness.stacks.tree import Tree, wait_gone

__all__ = ["SupervisedHost", "argv_at", "common_launch"]

_START_LIMIT_NS = 90_000_000_000
_PREPARE_EACH_NS = 65_000_000_000


class SupervisedHost:
    """Controls an instance that the process host of `settings.state_dir` starts. Subclasses say how, in `launch`."""

    kind: str

    def __init__(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> None:
        self._setup(self.launch(instance, wiring, settings), instance.name, settings.state_dir, settings.log_dir)

    def launch(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> Launch:
        """How the instance is started."""
        raise NotImplementedError

    def _setup(self, launch: Launch | None, name: str, state_dir: str, log_dir: str) -> None:
        self._name = name
        self._launch = launch
        self._log_dir = log_dir
        self._state = StateDir.at(state_dir)
        self._client = HostdClient(self._state)

    @classmethod
    def revive(cls, recipe: JsonObject) -> Self:
        """The host that made this recipe, in another process. How it is started is read from the state directory."""
        host = cls.__new__(cls)
        host._setup(None, recipe["instance"], recipe["state_dir"], recipe["log_dir"])
        return host

    def recipe(self) -> JsonObject:
        """Where to look. The launch itself stays in the state directory: it holds secrets, and recipes are journaled."""
        if self._launch is not None and self._state.launch(self._name) is None:
            self._state.write_launch(self._launch)
        return {"kind": self.kind, "instance": self._name, "state_dir": self._state.path, "log_dir": self._log_dir}

    @property
    def instance(self) -> str:
        return self._name

    @property
    def log_path(self) -> str:
        """Where its output goes."""
        return os.path.join(self._log_dir, f"{self._name}.log")

    async def find(self) -> Identity | None:
        started = self._state.started(self._name)
        if started is None or not started.running:
            return None
        return Identity(pid=started.pid, start_ticks=started.start_ticks)

    async def start(self) -> Identity:
        found = await self.find()
        if found is not None:
            return found
        launch = self._launch or self._state.launch(self._name)
        if launch is None:
            raise UnsafeError(
                f"instance {self._name}: nobody knows any more how to start it",
                remedy=f"its launch was kept in {self._state.path}, which was cleaned; bring the stack up again",
            )
        await self._end_leftovers()
        for name, port in launch.ports.items() if launch.netns is None else ():  # in a namespace nobody else is
            require_free(self._name, name, launch.address, port)
        await asyncio.to_thread(_ready_disk, launch, self._state)
        _make_dir(launch)
        _let_in(launch, self._state.path)
        os.makedirs(os.path.dirname(launch.log), exist_ok=True)
        await ensure_hostd(self._state.path, self._log_dir)
        limit_ns = _START_LIMIT_NS + _PREPARE_EACH_NS * len(launch.prepare)
        answer = await self._client.request({"do": "start", "launch": launch.to_json()}, limit_ns)
        return Identity(pid=int(answer["pid"]), start_ticks=int(answer["start_ticks"]))

    async def _end_leftovers(self) -> None:
        """Orphans of an earlier life hold its ports and files: they go before it comes back, as under any supervisor."""
        before = self._state.started(self._name)
        if before is not None:
            await tree_of(self._state, self._name, before).kill()

    async def stop(self, grace_ns: int) -> bool:
        started = self._state.started(self._name)
        if started is None:
            return True
        tree = tree_of(self._state, self._name, started)
        root = tree.root()
        by_itself = True
        if root is not None and tree.send(signal.SIGTERM):
            await tree.thaw()  # a stopped process cannot end
            by_itself = not await wait_gone([root], grace_ns)
        await tree.kill()
        return by_itself

    async def kill(self, identity: Identity) -> None:
        tree = self._tree(identity)
        if tree.root() is not None:
            await tree.kill()

    async def cut_power(self, identity: Identity) -> None:
        await self.kill(identity)
        launch = self._launch or self._state.launch(self._name)
        if launch is None or launch.dir is None or launch.disk_bytes is None:
            raise InjectError(f"instance {self._name}: it has no `disk:` whose power could be cut")
        who = {"pid": identity.pid, "start_ticks": identity.start_ticks}
        self._state.write_power(self._name, {**who, "took": None})
        took = "it keeps nothing on disk"
        if launch.disk_bytes:
            took = await asyncio.to_thread(cut_disk, launch.dir, launch.disk_bytes)
        self._state.write_power(self._name, {**who, "took": took})

    def power_took(self, identity: Identity) -> str | None:
        cut = self._state.power(self._name)
        if cut is None or (cut["pid"], cut["start_ticks"]) != (identity.pid, identity.start_ticks):
            return None
        return None if cut["took"] is None else str(cut["took"])

    async def freeze(self, identity: Identity) -> None:
        try:
            await self._tree(identity).freeze()
        except InjectError as exc:
            raise InjectError(f"instance {self._name}: {exc}") from exc

    async def thaw(self, identity: Identity) -> None:
        current = await self.find()
        if current is None or current == identity:  # else that life is over: its leftovers ended when the next began
            await self._tree(identity).thaw()

    async def frozen(self, identity: Identity) -> bool:
        return self._tree(identity).frozen()

    def network_namespace(self, identity: Identity) -> int | None:
        """By its name: it outlives whoever lives in it."""
        launch = self._launch or self._state.launch(self._name)
        if launch is None:
            return None
        if launch.netns is None:
            raise InjectError(f"instance {self._name} has no network of its own: its region is not isolated")
        try:
            return os.open(namespace_path(launch.netns), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    async def close(self) -> None:
        await self._client.close()

    def _tree(self, identity: Identity) -> Tree:
        if identity.pid is None or identity.start_ticks is None:
            raise InjectError(f"instance {self._name}: {identity!r} is no process")
        return tree_of(self._state, self._name, Started(pid=identity.pid, start_ticks=identity.start_ticks))


def common_launch(instance: Instance, wiring: Wiring, settings: HostSettings) -> Launch:
    """What does not depend on how it is started; `argv` is empty, folder and environment are not yet the host's."""
    name = instance.name

    def resolved(text: str) -> str:
        return wiring.text(text, instance=name)

    return Launch(
        instance=name,
        argv=(),
        cwd=settings.base_dir,
        user=instance.user,
        log=os.path.abspath(os.path.join(settings.log_dir, f"{name}.log")),
        prepare=tuple(argv_at(settings.base_dir, tuple(map(resolved, argv))) for argv in instance.prepare),
        address=wiring.addresses.get(name, instance.address),
        netns=wiring.namespace(name),
        ports=dict(wiring.ports.get(name, {})),
        dir=wiring.dirs.get(name),
        files=tuple(os.path.join(settings.base_dir, resolved(file)) for file in instance.files),
        disk_bytes=instance.disk_bytes,
    )


def argv_at(base_dir: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command whose program, when it is a path, starts at `base_dir`; other arguments are passed as they are."""
    return (os.path.join(base_dir, argv[0]), *argv[1:]) if "/" in argv[0] else argv


def _ready_disk(launch: Launch, state: StateDir) -> None:
    """Mount the file system that its directory is, made with its files in it when it never was."""
    if launch.dir is None or not launch.disk_bytes:
        return
    cut = state.power(launch.instance)
    if cut is not None and cut["took"] is None:  # a cut that died half-way left it shut down, where nothing can be read
        remount_disk(launch.dir, launch.disk_bytes)
    try:
        owner = user_ids(launch.user) if launch.user is not None and os.geteuid() == 0 else None
        if mount_disk(launch.dir, launch.disk_bytes, owner):
            for file in launch.files:
                path = shutil.copy2(file, launch.dir)
                if owner is not None:
                    os.chown(path, *owner)
                _sync(path)
            _sync(launch.dir)
    except (OSError, ValueError, UnsafeError) as exc:
        raise UnsafeError(
            f"instance {launch.instance}: cannot make its disk at {launch.dir}: {exc}",
            remedy="check `disk:`, `files:` and `user:`",
        ) from exc


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_dir(launch: Launch) -> None:
    """Make the instance's own directory with its files, all owned by its user. One that exists is kept as it is."""
    if launch.dir is None or os.path.isdir(launch.dir):
        return
    half = f"{launch.dir}.{os.getpid()}"
    try:
        owner = user_ids(launch.user) if launch.user is not None and os.geteuid() == 0 else None
        os.makedirs(half)
        for file in launch.files:
            shutil.copy2(file, half)
        for path in (half, *(os.path.join(half, name) for name in os.listdir(half))):
            if owner is not None:
                os.chown(path, *owner)
        Path(half).rename(launch.dir)
    except (OSError, ValueError) as exc:
        shutil.rmtree(half, ignore_errors=True)
        raise UnsafeError(
            f"instance {launch.instance}: cannot make its directory {launch.dir}: {exc}",
            remedy="check `files:` and `user:`",
        ) from exc


def _let_in(launch: Launch, state_dir: str) -> None:
    """Let the instance's user pass through the state directory to its own directory: to search it, not to read it.

    Raises UnsafeError when a folder above, which is not ours to open, keeps that user out.
    """
    if launch.dir is None or launch.user is None or os.geteuid() != 0:
        return
    uid, gid = user_ids(launch.user)
    for folder in reversed(Path(launch.dir).parents):
        found = folder.stat()
        searchable = stat.S_IXUSR if found.st_uid == uid else stat.S_IXGRP if found.st_gid == gid else stat.S_IXOTH
        if uid == 0 or found.st_mode & searchable:
            continue
        if not folder.is_relative_to(state_dir):
            raise UnsafeError(
                f"instance {launch.instance}: user {launch.user!r} cannot reach its directory {launch.dir}:"
                f" {folder} keeps other users out",
                remedy="let the state be kept elsewhere: BLACKSTART_STATE names the folder",
            )
        folder.chmod(stat.S_IMODE(found.st_mode) | searchable)
