"""The helper that uses up a machine's CPU, memory or disk: `python -P -m harness.faults.strain TOKEN DEADLINE_NS KIND JSON`.

It detaches, says in JSON on standard output what it holds (or an error) and holds it until DEADLINE_NS of CLOCK_MONOTONIC:
by its own watch, so that it ends when everything else of Blackstart is dead. Whatever ends it, nothing is left: processor
time and memory are the kernel's again, and the file that fills a disk never had a name. Nothing of the harness is imported.

Beside a container it is one of its processes, as far as that bounds it: in its control groups, so that its limits count, and
in its process namespace, so that the helper ends when the container does. No program of the container's image is needed.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["main", "memory_room"]

MIB = 1 << 20
_STEP = 16 * MIB
_PERIOD_S = 0.05
_PR_SET_PDEATHSIG = 1
_CLONE_NEWPID = 0x20000000
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def memory_room(groups: Sequence[str] = (), floor_ratio: float = 0.1, floor_bytes: int = 512 * MIB) -> int:
    """Bytes that may be taken so that the machine keeps its floor, and each memory cgroup a tenth of its limit; below 0: none.

    `groups` are folders of memory cgroups beside our own ones. Of what they use, file pages that nobody needs count as free.
    """
    with open("/proc/meminfo") as file:
        told = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    room = told["MemAvailable"] - max(floor_bytes, int(told["MemTotal"] * floor_ratio))
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", *groups):
        for limit, used, idle in (_V2, _V1):
            try:
                with (
                    open(f"{folder}/{limit}") as most,
                    open(f"{folder}/{used}") as now,
                    open(f"{folder}/memory.stat") as stat,
                ):
                    text = most.read().strip()
                    if text != "max":
                        spare = next((int(line.split()[1]) for line in stat if line.startswith(f"{idle} ")), 0)
                        room = min(room, int(int(text) * (1 - floor_ratio)) - int(now.read()) + spare)
            except (OSError, ValueError):
                continue
    return room


def _start_ticks(pid: int) -> int:
    """The process's start in clock ticks since boot. Raises OSError when there is none."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[19])


def _join(beside: dict[str, Any]) -> None:
    """Enter the control groups of a container's first process, and have our children in its process namespace."""
    pid = int(beside["pid"])
    namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    if _start_ticks(pid) != beside["ticks"]:  # another got its number
        raise ProcessLookupError(f"pid {pid} ended just now")
    for folder in beside["groups"]:
        with open(f"{folder}/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWPID) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter the process namespace of pid {pid}")
    os.close(namespace)


def _burn(load: float, cpu: int, deadline_s: float) -> None:
    """Keep one CPU busy for `load` of the time."""
    os.sched_setaffinity(0, {cpu})
    while (begun := time.monotonic()) < deadline_s:
        while time.monotonic() - begun < load * _PERIOD_S:
            pass
        time.sleep(max(0.0, begun + _PERIOD_S - time.monotonic()))


def _cpu(told: dict[str, Any], deadline_s: float) -> int:
    """One process per CPU asked for; how many there are. They die with this one, and each at the deadline."""
    for cpu in told["cpus"]:
        if os.fork() == 0:
            os.closerange(3, 64)  # the pipe that says what is held: whoever reads it waits for every copy
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _burn(told["load"], cpu, deadline_s)
            os._exit(0)
    return len(told["cpus"])


def _memory(told: dict[str, Any], kept: list[Any]) -> int:
    """Bytes taken and written to: what was asked for, or less where the machine would fall below its floor."""
    size, taken = int(told["size"]), 0
    groups = told.get("beside", {}).get("groups", ())
    while taken < size and memory_room(groups) > _STEP:
        step = min(_STEP, size - taken)
        block = mmap.mmap(-1, step)
        for at in range(0, step, 4096):
            block[at] = 1
        kept.append(block)
        taken += step
    return taken


def _first_to_go(most: int) -> None:
    """Bound our memory, and offer ourselves to the kernel should memory run out all the same."""
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _disk(told: dict[str, Any], kept: list[Any]) -> int:
    """Bytes of disk that a file without a name takes up."""
    try:
        fd = os.open(told["path"], os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system that cannot make one: name it, and take the name away at once
        name = os.path.join(told["path"], f".{told['token']}")
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.unlink(name)
    kept.append(fd)
    free = os.fstatvfs(fd)
    size = min(int(told["size"]), free.f_bavail * free.f_frsize - int(told["leave"]))
    if size <= 0:
        raise OSError(f"only {free.f_bavail * free.f_frsize} bytes are free at {told['path']}")
    os.posix_fallocate(fd, 0, size)
    return size


def _hold(kind: str, told: dict[str, Any], deadline_s: float, say: int) -> None:
    """In the detached process: take it, say so, hold it to the deadline."""
    kept: list[Any] = []
    try:
        _first_to_go((int(told["size"]) if kind == "memory" else 0) + 1024 * MIB)
        held = _cpu(told, deadline_s) if kind == "cpu" else {"memory": _memory, "disk": _disk}[kind](told, kept)
        answer: dict[str, Any] = {"held": held, "pid": os.getpid()}
    except (OSError, ValueError, MemoryError) as exc:
        answer = {"error": f"{type(exc).__name__}: {exc}"}
    os.write(say, json.dumps(answer).encode())
    os.close(say)
    while "held" in answer and (left := deadline_s - time.monotonic()) > 0:
        time.sleep(left)


def main() -> None:
    """Detach; what the detached process says first is our standard output."""
    token, deadline_ns, kind, text = sys.argv[1:]
    told: dict[str, Any] = json.loads(text) | {"token": token}
    try:
        if "beside" in told:
            _join(told["beside"])
    except OSError as exc:
        sys.stdout.write(json.dumps({"error": f"{type(exc).__name__}: {exc}"}))
        return
    hear, say = os.pipe()
    if os.fork() == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os.close(hear)
        _hold(kind, told, int(deadline_ns) / 1e9, say)
        os._exit(0)
    os.close(say)
    with os.fdopen(hear, "rb") as heard:
        sys.stdout.buffer.write(heard.read())


if __name__ == "__main__":
    main()
