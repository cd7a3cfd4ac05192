"""disk-fill: the file system that an instance writes to is full, or nearly so; never the machine's own below a floor."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from pydantic import Field, model_validator

from harness.errors import InjectError, UnsafeError
from harness.faults.instance import CONTAINERS, HOSTS
from harness.faults.strain import MIB, memory_room
from harness.faults.strained import Strain, StrainState, Who
from harness.model.catalog import FaultKind
from harness.model.fields import JsonObject, Params, Size
from harness.model.ports import World

__all__ = ["FLOOR_BYTES", "KIND", "DiskFill", "DiskFillParams"]

FLOOR_BYTES = 1024 * MIB
"""Kept free on a file system that the machine itself, or Blackstart, needs."""
_ENOUGH = 0.95
_MOST = 1 << 62


class DiskFillParams(Params):
    """Either `size` is taken, or all but `leave`. `path` is a folder on the file system (absent: the instance's own;
    a container has none, so that it must be said, as the container sees it).
    """

    size: Size | None = Field(default=None, ge=MIB)
    leave: Size | None = Field(default=None, ge=0)
    path: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> DiskFillParams:
        if (self.size is None) == (self.leave is None):
            raise ValueError("expected either `size` or `leave`")
        return self


class DiskFill(Strain):
    """Takes disk space in a file without a name: it is free again when the helper ends, however it ends."""

    kind = "disk"
    controllers = ("memory",)  # a file system in memory counts against the container

    def __init__(self, params: DiskFillParams) -> None:
        self.params = params

    async def told(self, who: Who, world: World) -> JsonObject:
        given = self.params.path or world.wiring.dirs.get(who.instance)
        if given is None:
            raise InjectError(f"disk-fill: instance {who.instance} has no folder of its own; say `path:`")
        path = world.wiring.text(given, instance=who.instance)
        root = f"/proc/{who.pid}/root" if who.beside is not None else ""
        if not _is_folder(path, root):
            raise InjectError(f"disk-fill: expected `path` to be a folder, absolute, got {path!r}")
        named, path = path, root + path
        free, kinds = os.statvfs(path), _kinds(path, who.pid if root else None)
        free_bytes, leave = free.f_bavail * free.f_frsize, self.params.leave or 0
        size = self.params.size if self.params.size is not None else free_bytes - leave
        floor = FLOOR_BYTES if _needed(path) or "overlay" in kinds else 0
        if size <= 0 or free_bytes - size < floor:
            raise UnsafeError(
                f"disk-fill: {named} has {free_bytes // MIB} MiB free, which would leave {(free_bytes - size) // MIB} MiB"
                f" of at least {floor // MIB} MiB that stay free there",
                remedy="take less, or give the instance a file system of its own" if floor else "take less",
            )
        room = memory_room(who.groups)
        if kinds & {"tmpfs", "ramfs"} and size > room:
            raise UnsafeError(f"disk-fill: {named} is in memory, of which only {max(0, room) // MIB} MiB can be taken")
        return {"path": path, "size": size if self.params.size is not None else _MOST, "leave": max(leave, floor)}

    async def usage(self, state: StrainState, pids: tuple[int, ...]) -> tuple[bool, str]:
        held = max(_taken(pid) for pid in pids)
        free = os.statvfs(state.told["path"])
        free_bytes = free.f_bavail * free.f_frsize
        enough = held >= _ENOUGH * self.params.size if self.params.size is not None else held > 0
        return enough, f"the helper's file takes {held / MIB:.1f} MiB, {free_bytes / MIB:.1f} MiB are free"


def _is_folder(path: str, root: str) -> bool:
    """Whether it is a folder, absolute; under another root, one that no symbolic link leads to: that would lead out of it."""
    steps = path.strip("/").split("/") if root else ()
    if ".." in steps or any(os.path.islink(root + "/" + "/".join(steps[: end + 1])) for end in range(len(steps))):
        return False
    return os.path.isabs(path) and os.path.isdir(root + path)


def _needed(path: str) -> bool:
    """Whether the machine or Blackstart needs that file system too."""
    own = {os.stat(place).st_dev for place in ("/", tempfile.gettempdir(), str(Path.home()), os.getcwd())}
    return os.stat(path).st_dev in own


def _kinds(path: str, pid: int | None) -> frozenset[str]:
    """The kinds of file system that the path may be on, as the process's mounts say (absent: ours); on one of them it is."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = Path(f"/proc/{pid or 'self'}/mountinfo").read_text().splitlines()
    return frozenset(line.split(" - ", 1)[1].split()[0] for line in lines if line.split()[2] == number)


def _taken(pid: int) -> int:
    """Bytes on disk of the largest nameless file that a process holds open."""
    most = 0
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                seen = os.stat(f"/proc/{pid}/fd/{fd}")
                if seen.st_nlink == 0:
                    most = max(most, seen.st_blocks * 512)
    return most


def _unfit(params: JsonObject, host: str) -> str | None:
    if host in CONTAINERS and params.get("path") is None:
        return "a container has no folder of its own: say `path:`, a folder as it sees it"
    return None


KIND = FaultKind(
    name="disk-fill",
    doc="a full disk where an instance writes; on a file system that the machine needs, 1 GiB always stays free"
    " (a container's own layer is on one)",
    params=DiskFillParams,
    code="harness.faults.disk_fill:DiskFill",
    example='{fault: disk-fill, leave: 0B, path: "${dir:db-eu}", on: {instance: db-eu}, for: 20s}',
    targets=frozenset({"instance"}),
    hosts=HOSTS,
    unfit=_unfit,
    what="take up disk space where {target} writes, in a file without a name",
    clients_see="once it is full, writes fail with no space left; reads go on",
    on_revert="the helper is killed (it also ends by itself at its deadline) and the space is free at once",
    witness="the blocks that the helper's file takes, measured",
)
