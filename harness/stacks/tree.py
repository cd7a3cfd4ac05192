"""An instance's tree of processes: found, frozen, thawed, killed. Never signals a number whose start time differs.

The *tree* is the root, every descendant, and the orphans that descendants left behind. Orphans are told by the marker in
their environment (instances we started) or by their session (instances we attached to).
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import InjectError, RevertError, UnsafeError
from harness.stacks.launch import FrozenRecord
from harness.stacks.procfs import ProcessStat, alive, all_pids, children_lister, is_marked, program, read_stat

__all__ = ["LIMIT_NS", "Tree", "wait_gone"]

LIMIT_NS = 5_000_000_000
_POLL_S = 0.002


def send(pid: int, start_ticks: int, number: signal.Signals) -> bool:
    """Whether the signal reached that very process. Raises UnsafeError when we may not signal it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
        fd = None
    try:
        # With the pidfd open the number cannot change hands any more: what is checked is what is signalled.
        if alive(pid, start_ticks) is None:
            return False
        if fd is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    except PermissionError as exc:
        raise UnsafeError(
            f"pid {pid} ({program(pid)}): not permitted to send {number.name}",
            remedy="run as its user, or as root",
        ) from exc
    finally:
        if fd is not None:
            os.close(fd)
    return True


async def wait_gone(processes: Iterable[ProcessStat], limit_ns: int) -> tuple[ProcessStat, ...]:
    """Return when all have ended; those that still run after `limit_ns`."""
    deadline_ns = time.monotonic_ns() + limit_ns
    left = tuple(processes)
    while left := tuple(one for one in left if alive(one.pid, one.start_ticks)):
        if time.monotonic_ns() > deadline_ns:
            break
        await asyncio.sleep(_POLL_S)
    return left


def _named(processes: Iterable[ProcessStat]) -> str:
    return ", ".join(f"{one.pid} ({program(one.pid)}, state {one.state})" for one in processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The tree of one root process. `marker` is the prefix its orphans carry; `parents` are who orphans fall to.

    `parents` None: nobody knows, every process is looked at. `session`: processes of the root's session belong to it too,
    if the root leads that session. `record`: whom we stop is written there before, and belongs to the tree until continued.
    """

    pid: int
    start_ticks: int
    marker: str | None = None
    parents: tuple[int, ...] | None = None
    session: bool = False
    record: FrozenRecord | None = None

    def root(self) -> ProcessStat | None:
        """The root while it runs."""
        return alive(self.pid, self.start_ticks)

    def members(self) -> tuple[ProcessStat, ...]:
        """Every running process of the tree, parents before children; empty when all is gone.

        Raises UnsafeError when we ourselves are part of it.
        """
        children = children_lister()
        found: dict[int, ProcessStat] = {}
        root = self.root()
        queue = [] if root is None else [root]
        queue += self._orphans(root)
        while queue:
            one = queue.pop(0)
            if one.pid in found or one.ended:
                continue
            found[one.pid] = one
            queue += [stat for child in children(one.pid) if (stat := read_stat(child)) is not None]
        if os.getpid() in found:
            raise UnsafeError(
                f"pid {self.pid} ({program(self.pid)}) is an ancestor of Blackstart itself and cannot be a target",
                remedy="start Blackstart from another shell, or name another process",
            )
        return tuple(found.values())

    def _orphans(self, root: ProcessStat | None) -> list[ProcessStat]:
        found = [] if self.record is None else self.record.running()
        if self.marker is not None:
            lister = children_lister()
            pids = all_pids() if self.parents is None else [pid for one in self.parents for pid in lister(one)]
            found += [stat for pid in pids if is_marked(pid, self.marker) and (stat := read_stat(pid)) is not None]
        if self.session and (root is None or root.session == root.pid):
            stats = [stat for pid in all_pids() if (stat := read_stat(pid)) is not None]
            # A session outlives its leader, and its number is not reused while it does; its members are all younger.
            found += [stat for stat in stats if stat.session == self.pid and stat.start_ticks >= self.start_ticks]
        return found

    def send(self, number: signal.Signals) -> bool:
        """Signal the root alone. Whether it was there. Raises UnsafeError when we may not."""
        return send(self.pid, self.start_ticks, number)

    async def freeze(self, limit_ns: int = LIMIT_NS) -> tuple[ProcessStat, ...]:
        """SIGSTOP all of it, parents first, until nothing new appears and all is stopped; the members.

        Cut half-way, some are stopped. Raises InjectError when the root is gone or some will not stop in time.
        """
        deadline_ns = time.monotonic_ns() + limit_ns
        if self.root() is None:
            raise InjectError(f"pid {self.pid} is gone or another process now")
        settled: frozenset[int] | None = None
        while True:
            members = self.members()
            running = [one for one in members if not one.stopped]
            if running and self.record is not None:
                self.record.add(running)
            for one in running:
                send(one.pid, one.start_ticks, signal.SIGSTOP)
            seen = frozenset(one.pid for one in members)
            # Two looks in a row: a child forked just before its parent stopped may have been missed by the first.
            if seen == settled:
                return members
            settled = seen if all(one.stopped for one in members) else None
            if time.monotonic_ns() > deadline_ns:
                raise InjectError(f"will not stop: {_named(one for one in members if not one.stopped)}")
            if settled is None:
                await asyncio.sleep(_POLL_S)

    def frozen(self) -> bool:
        """Whether all of it is stopped. False when the root is gone."""
        return self.root() is not None and all(one.stopped for one in self.members())

    async def thaw(self, limit_ns: int = LIMIT_NS) -> None:
        """SIGCONT all of it until none is stopped. Legal when it is gone. Raises RevertError when some stay stopped."""
        deadline_ns = time.monotonic_ns() + limit_ns
        while stopped := [one for one in self.members() if one.stopped]:
            for one in reversed(stopped):  # children first: the parent finds its workers running
                send(one.pid, one.start_ticks, signal.SIGCONT)
            if time.monotonic_ns() > deadline_ns:
                commands = [f"kill -CONT {one.pid}" for one in stopped]
                raise RevertError(f"still stopped: {_named(stopped)}", commands=commands)
            await asyncio.sleep(_POLL_S)
        if self.record is not None:
            self.record.clear()

    async def kill(self, limit_ns: int = LIMIT_NS) -> None:
        """SIGKILL all of it and wait until it is gone. Legal when it is. Raises InjectError when some will not go.

        It is stopped first, for a few milliseconds, so that no parent can fork or restart a child between two signals.
        """
        deadline_ns = time.monotonic_ns() + limit_ns
        known: dict[tuple[int, int], ProcessStat] = {}
        if self.root() is not None:
            try:
                known = {(one.pid, one.start_ticks): one for one in await self.freeze(limit_ns // 4)}
            except InjectError:
                # It ended meanwhile, or one sits in the kernel and stops late: SIGKILL below is what counts.
                known = {}
        while True:
            known |= {(one.pid, one.start_ticks): one for one in self.members()}
            running = [one for one in known.values() if alive(one.pid, one.start_ticks)]
            if not running:
                if self.record is not None:
                    self.record.clear()
                return
            for one in running:
                send(one.pid, one.start_ticks, signal.SIGKILL)
            if time.monotonic_ns() > deadline_ns:
                raise InjectError(f"will not go after SIGKILL: {_named(running)}")
            await asyncio.sleep(_POLL_S)
