"""Ends all that was started from one state directory, and exactly that. Works with the process host alive, dead or being us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal

from harness.errors import HarnessError, InjectError
from harness.stacks.disk import unmount_disk
from harness.stacks.launch import Launch, Started, StateDir
from harness.stacks.procfs import ProcessStat, all_pids, children_lister, is_marked, read_stat
from harness.stacks.tree import Tree, send, wait_gone

__all__ = ["end_instances", "marked_processes", "tree_of"]


def tree_of(state: StateDir, instance: str, started: Started) -> Tree:
    """The tree of an instance started from here. With the process host dead its orphans may be anyone's children."""
    hostd = state.hostd()
    parents = None if hostd is None else (hostd.pid, 1)
    return Tree(
        pid=started.pid,
        start_ticks=started.start_ticks,
        marker=state.marker(instance),
        parents=parents,
        record=state.frozen(instance),
    )


def marked_processes(state: StateDir, *, but: int | None = None) -> tuple[ProcessStat, ...]:
    """Every running process on this machine that carries the state directory's mark, but one."""
    marked = (pid for pid in all_pids() if pid != but and is_marked(pid, state.prefix))
    return tuple(stat for pid in marked if (stat := read_stat(pid)) is not None and not stat.ended)


async def end_instances(state: StateDir, grace_ns: int, *, own_pid: int | None = None) -> tuple[str, ...]:
    """End every instance: ask, wait `grace_ns`, force, confirm. The names of those that ran. Idempotent.

    `own_pid` is given by the process host itself, whose every descendant goes. Raises InjectError when some will not go.
    """
    launches = state.launches()
    running = [
        (launch, started)
        for launch in launches
        if (started := state.started(launch.instance)) is not None and started.running
    ]
    results = await asyncio.gather(
        *(_end(tree_of(state, launch.instance, started), grace_ns) for launch, started in running),
        return_exceptions=True,
    )
    await _end_strays(state, own_pid)
    failures = [str(result) for result in results if isinstance(result, HarnessError)]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, HarnessError):
            raise result
    if failures:
        raise InjectError("; ".join(failures))
    await _continue_the_frozen(state)
    _clean(state, launches)
    return tuple(launch.instance for launch, _ in running)


async def _end(tree: Tree, grace_ns: int) -> None:
    root = tree.root()
    if root is not None and tree.send(signal.SIGTERM):
        await tree.thaw()  # a stopped process cannot end
        await wait_gone([root], grace_ns)
    await tree.kill()


async def _end_strays(state: StateDir, own_pid: int | None) -> None:
    """Kill what no instance's tree held: orphans of an earlier life, zygotes, and (for the host) every child it adopted."""
    for _ in range(20):
        strays = {stat.pid: stat for stat in marked_processes(state, but=own_pid)}
        if own_pid is not None:
            children = children_lister()
            queue = children(own_pid)
            while queue:
                stat = read_stat(queue.pop())
                if stat is not None and not stat.ended and stat.pid not in strays:
                    strays[stat.pid] = stat
                    queue += children(stat.pid)
        if not strays:
            return
        for stat in strays.values():
            send(stat.pid, stat.start_ticks, signal.SIGKILL)
        await wait_gone(strays.values(), 250_000_000)
    raise InjectError(f"will not go after SIGKILL: {', '.join(map(str, strays))}")


async def _continue_the_frozen(state: StateDir) -> None:
    """Continue whoever we stopped and nobody continued: attached instances are not ended, and must not stay stopped."""
    for record in state.all_frozen():
        await Tree(pid=0, start_ticks=0, record=record).thaw()


def _clean(state: StateDir, launches: tuple[Launch, ...]) -> None:
    for launch in launches:
        if launch.dir is not None:
            unmount_disk(launch.dir)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(launch.dir)
            with contextlib.suppress(OSError):  # others' folders may still be there
                os.rmdir(os.path.dirname(launch.dir))
    state.forget()
