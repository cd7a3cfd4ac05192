"""Processes as /proc shows them: who they are, whose children, what they carry. Reads only; standard library only."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

__all__ = [
    "MARKER",
    "ProcessStat",
    "alive",
    "all_pids",
    "children_lister",
    "is_marked",
    "program",
    "read_stat",
    "start_wall_s",
]

MARKER = "BLACKSTART_TREE"
"""The variable that every instance started by us carries, so that its orphans can be told from everybody else's."""

_ENDED = frozenset("ZX")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStat:
    """One process now. `state` is the kernel's letter; `start_ticks` are clock ticks since boot."""

    pid: int
    ppid: int
    session: int
    state: str
    start_ticks: int

    @property
    def ended(self) -> bool:
        """Whether it is a zombie or being removed: nothing of it runs any more."""
        return self.state in _ENDED

    @property
    def stopped(self) -> bool:
        """Whether it is stopped by a signal (or by a tracer)."""
        return self.state in "Tt"


def read_stat(pid: int) -> ProcessStat | None:
    """The process with that number now, a zombie included; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name stands in parentheses and may hold any byte, a parenthesis too.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20:  # it ended between open and read
        return None
    return ProcessStat(
        pid=pid,
        ppid=int(fields[1]),
        session=int(fields[3]),
        state=fields[0].decode("ascii"),
        start_ticks=int(fields[19]),
    )


def alive(pid: int, start_ticks: int) -> ProcessStat | None:
    """That very process, when it still runs; None when it is gone, a zombie, or its number was given to another."""
    stat = read_stat(pid)
    return stat if stat is not None and stat.start_ticks == start_ticks and not stat.ended else None


def all_pids() -> list[int]:
    """Every process number there is now, ascending."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def is_marked(pid: int, prefix: str) -> bool:
    """Whether the process was started with our marker beginning with `prefix`. False when its environment is not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return False
    return any(variable.startswith(f"{MARKER}={prefix}".encode()) for variable in variables)


def program(pid: int) -> str:
    """What a person would call the process: the start of its command line, at most 80 characters; "" when unknown."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read(400).replace(b"\0", b" ").decode(errors="replace").strip()
        if not line:
            with open(f"/proc/{pid}/comm", "rb") as file:
                line = file.read().decode(errors="replace").strip()
    except OSError:
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:80]


def start_wall_s(start_ticks: int) -> float:
    """When a process of that start time began, in seconds since the epoch by the wall clock as it stands now."""
    with open("/proc/stat", "rb") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
    return boot + start_ticks / os.sysconf("SC_CLK_TCK")


@cache
def _kernel_lists_children() -> bool:
    return os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")


def children_lister() -> Callable[[int], list[int]]:
    """A function from a process number to its children's numbers as of about now. Make a fresh one for each look.

    Reads the kernel's own list where there is one (its cost does not grow with the machine), else every parent once.
    """
    if _kernel_lists_children():
        return _listed_children
    by_parent: defaultdict[int, list[int]] = defaultdict(list)
    for pid in all_pids():
        stat = read_stat(pid)
        if stat is not None:
            by_parent[stat.ppid].append(pid)
    return lambda pid: by_parent.get(pid, [])


def _listed_children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
        except OSError:
            continue
    return found
