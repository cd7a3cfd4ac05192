"""Control groups of a process, of version 1 and 2, as folders. Reads only."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import UnsafeError

__all__ = ["groups_of"]

_ROOT = "/sys/fs/cgroup"


def groups_of(pid: int, controllers: tuple[str, ...], root: str = _ROOT, proc: str = "/proc") -> tuple[str, ...]:
    """The folders of the control groups that a process is in for these controllers, each once; one on a machine of version 2.

    Raises UnsafeError when one cannot be found: it is mounted elsewhere, or the process ended.
    """
    try:
        lines = [line.split(":", 2) for line in Path(proc, str(pid), "cgroup").read_text().splitlines()]
    except OSError as exc:
        raise UnsafeError(f"pid {pid} ended just now") from exc
    found: dict[str, None] = {}
    for controller in controllers:
        folder = _unified(lines, root) or _of_controller(lines, controller, root)
        if folder is None:
            raise UnsafeError(f"cannot find the control group ({controller}) of pid {pid} under {root}")
        found[folder] = None
    return tuple(found)


def _unified(lines: list[list[str]], root: str) -> str | None:
    if not os.path.exists(f"{root}/cgroup.controllers"):
        return None
    path = next((path for number, _, path in lines if number == "0"), None)
    return _there(root, path)


def _of_controller(lines: list[list[str]], controller: str, root: str) -> str | None:
    for _, names, path in lines:
        if controller in names.split(","):
            return _there(f"{root}/{names}", path) or _there(f"{root}/{controller}", path)
    return None


def _there(mount: str, path: str | None) -> str | None:
    folder = mount + (path or "").rstrip("/")
    return folder if path is not None and os.path.exists(f"{folder}/cgroup.procs") else None
