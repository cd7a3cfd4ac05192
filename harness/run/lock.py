"""Who drills what, on this machine: a lock per shared stack, a list of live runs, both in the user's state directory.

A stack that a run starts whole, on ports of its own, is shared with nobody and needs no lock. One attached instance or one
fixed port makes it shared: then a second run is refused and told who holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import UnsafeError
from harness.model.catalog import Catalog
from harness.model.stack import Stack
from harness.run.process import is_alive, start_ticks

__all__ = [
    "HOSTED",
    "LiveRun",
    "forget",
    "hold",
    "is_shared",
    "live_runs",
    "register",
    "stack_home",
    "stack_key",
    "stack_lock",
    "state_home",
]

HOSTED = "hosted.json"
"""The file in a stack's home that says that `stack up` hosts it."""


def state_home() -> Path:
    """BLACKSTART_STATE, else blackstart/ in XDG_STATE_HOME (~/.local/state); made when missing."""
    named = os.environ.get("BLACKSTART_STATE")
    base = (
        Path(named)
        if named
        else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "blackstart"
    )
    (base / "runs").mkdir(parents=True, exist_ok=True)
    (base / "locks").mkdir(exist_ok=True)
    (base / "stacks").mkdir(mode=0o700, exist_ok=True)
    return base


def stack_key(name: str, base_dir: str) -> str:
    """What tells a stack from every other on this machine: its name and the folder of its document."""
    digest = hashlib.sha256(f"{base_dir}:{name}".encode()).hexdigest()[:16]
    return f"{name}-{digest}"


def stack_home(stack: Stack) -> Path:
    """Where `stack up` keeps what it hosts of this stack. Not made here."""
    return state_home() / "stacks" / stack_key(stack.name, stack.base_dir)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """A run that began and has not been seen to end. `pid`, `ticks` are its conductor's."""

    run_id: str
    run_dir: str
    stack: str
    pid: int
    ticks: int | None

    @property
    def alive(self) -> bool:
        return is_alive(self.pid, self.ticks)


@contextlib.contextmanager
def register(run_id: str, run_dir: Path, stack: str) -> Iterator[None]:
    """List this process's run as live. Taken off at the end unless an exception says that it may not be clean."""
    entry = state_home() / "runs" / f"{run_id}.json"
    own = LiveRun(run_id=run_id, run_dir=str(run_dir), stack=stack, pid=os.getpid(), ticks=start_ticks(os.getpid()))
    entry.write_text(json.dumps(asdict(own)))
    yield
    entry.unlink(missing_ok=True)


def live_runs() -> tuple[LiveRun, ...]:
    """Every listed run, oldest first; those whose conductor died without taking itself off are among them."""
    runs = []
    for entry in sorted((state_home() / "runs").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            runs.append(LiveRun(**json.loads(entry.read_text())))
    return tuple(runs)


def forget(run_id: str) -> None:
    """Take a run off the list: it was finished by someone else."""
    (state_home() / "runs" / f"{run_id}.json").unlink(missing_ok=True)


def is_shared(stack: Stack, catalog: Catalog) -> bool:
    """Whether another run could meet this stack: an attached instance, a fixed port or a named fault proxy."""
    attached = any(not catalog.host(instance.host.kind).started_by_run for instance in stack.instances.values())
    fixed = any(number is not None for instance in stack.instances.values() for number in instance.ports.values())
    listening = any(link.listen is not None for link in stack.links.values())
    return attached or fixed or listening or stack.fault_proxy != "embedded"


@contextlib.contextmanager
def stack_lock(stack: Stack, run_id: str, catalog: Catalog) -> Iterator[None]:
    """Hold the stack's lock if the stack is shared, or hosted by `stack up`. Raises UnsafeError naming the holder."""
    if not is_shared(stack, catalog) and not (stack_home(stack) / HOSTED).exists():
        yield
        return
    with hold(stack.name, stack.base_dir, f"run {run_id}"):
        yield


@contextlib.contextmanager
def hold(name: str, base_dir: str, who: str) -> Iterator[None]:
    """Hold the lock of the stack of that name and folder; it falls with the process.

    Raises UnsafeError naming the holder when it is taken.
    """
    path = state_home() / "locks" / f"{stack_key(name, base_dir)}.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            holder = file.read().strip() or "another run"
            raise UnsafeError(
                f"stack {name!r} is being used by {holder}", remedy="wait for it, or `blackstart halt` a run"
            ) from exc
        file.truncate(0)
        file.write(f"{who} (pid {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)
