"""Who drills what, on this machine: a list of live runs, and a lock on each thing that two runs could meet at.

A stack that a run starts whole, on ports of its own, is shared with nobody and needs no lock. An attached instance, a fixed
port or a link at someone's fault proxy is shared, whatever stack file names it: then a second run is refused and told who
holds it. A lock is an flock, which falls with its process; the claim written in it stays, so that whoever comes next after a
death knows whose journal has to be finished first. Lock files are a user's own: what other users of the machine drill is held
against them by `tenancy`; what a dead run of theirs left is for them to recover.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from harness.errors import StoreError, UnsafeError
from harness.model.catalog import Catalog
from harness.model.fields import JsonObject
from harness.model.stack import Stack
from harness.run.journal import JournalView
from harness.run.process import is_alive, start_ticks
from harness.run.tenancy import occupy

__all__ = [
    "HOSTED",
    "LEASE_S",
    "LiveRun",
    "Locks",
    "forget",
    "hold",
    "is_finished",
    "live_runs",
    "lock_keys",
    "locked",
    "register",
    "stack_home",
    "stack_key",
    "state_home",
]

HOSTED = "hosted.json"
"""The file in a stack's home that says that `stack up` hosts it."""

LEASE_S = 30.0
"""A claim is renewed every second or so by its run; older than this, its run lives but does not answer."""
_RENEW_S = 5.0


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
    """List this process's run as live. Taken off at the end unless something of it may be left: then `recover` finds it."""
    entry = state_home() / "runs" / f"{run_id}.json"
    own = LiveRun(run_id=run_id, run_dir=str(run_dir), stack=stack, pid=os.getpid(), ticks=start_ticks(os.getpid()))
    entry.write_text(json.dumps(asdict(own)))
    yield
    if is_finished(run_dir):
        entry.unlink(missing_ok=True)


def is_finished(run_dir: Path) -> bool:
    """Whether a run left nothing to undo: its journal was closed, or never begun. One that cannot be read says no."""
    journal = run_dir / "undo.jsonl"
    try:
        view = JournalView.read(journal) if journal.exists() else None
    except StoreError:
        return False
    return view is None or view.opened is None or view.closed


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


def _stack_lock(name: str, base_dir: str) -> str:
    return f"stack {name} in {base_dir}"


def lock_keys(stack: Stack, catalog: Catalog) -> tuple[str, ...]:
    """What a run of this stack must have for itself, in words, sorted; empty for a stack that it starts whole and apart.

    An external endpoint is not locked: it is not broken itself, only a link to it.
    """
    keys = set()
    for instance in stack.instances.values():
        if not catalog.host(instance.host.kind).started_by_run and instance.host.kind != "external":
            keys.add(f"{instance.host.kind} {_identifying(instance.host.params, stack.base_dir)}")
        if stack.isolated(instance.name) is None:  # else its ports are those of a host of its own, made for this run
            keys |= {f"port {instance.address}:{number}" for number in instance.ports.values() if number is not None}
    for link in stack.links.values():
        if "://" in stack.fault_proxy:
            keys.add(f"link {link.name} at {stack.fault_proxy.rstrip('/')}")
        if link.listen is not None:
            keys.add(f"port {link.listen}")
    if keys or (stack_home(stack) / HOSTED).exists():
        keys.add(_stack_lock(stack.name, stack.base_dir))
    return tuple(sorted(keys))


def _identifying(params: JsonObject, base_dir: str) -> str:
    """The part of a host's parameters that says which one it is; files as absolute paths, how to start and stop it left out."""
    kept = {key: value for key, value in params.items() if key not in ("start", "stop", "file") and value is not None}
    if isinstance(kept.get("pid"), dict):
        kept["pid"] = {**kept["pid"], "file": os.path.join(base_dir, kept["pid"]["file"])}
    return json.dumps(kept, sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a lock file says: which run holds it, whose process, since when, and when it last said that it is alive."""

    key: str
    who: str
    run_id: str | None
    run_dir: str | None
    owner: str
    pid: int
    since_s: float
    renewed_s: float

    @classmethod
    def read(cls, file: TextIO) -> _Claim | None:
        file.seek(0)
        try:
            return cls(**json.loads(file.read()))
        except (ValueError, TypeError):
            return None

    def write(self, file: TextIO) -> None:
        file.seek(0)
        file.truncate(0)
        file.write(json.dumps(asdict(self)))
        file.flush()


class Locks:
    """The locks that one run holds. `renew` is cheap to call often."""

    def __init__(self, held: list[tuple[TextIO, _Claim]]) -> None:
        self._held = held
        self._renewed_s = time.time()

    @property
    def keys(self) -> tuple[str, ...]:
        """What is locked, in words."""
        return tuple(claim.key for _, claim in self._held)

    def renew(self) -> None:
        """Say that the run is alive."""
        now_s = time.time()
        if abs(now_s - self._renewed_s) >= _RENEW_S:
            self._renewed_s = now_s
            for file, claim in self._held:
                replace(claim, renewed_s=now_s).write(file)


@contextlib.contextmanager
def hold(name: str, base_dir: str, who: str) -> Iterator[None]:
    """Hold the lock of the stack of that name and folder, for what is no run. Raises UnsafeError naming the holder."""
    now_s = time.time()
    key = _stack_lock(name, base_dir)
    with contextlib.ExitStack() as held:
        file = held.enter_context(_file_of(key))
        _take(file, key)
        held.enter_context(occupy(key))
        left = _Claim.read(file)
        claim = _Claim(
            key=key, who=who, run_id=None, run_dir=None, owner=_owner(), pid=os.getpid(), since_s=now_s, renewed_s=now_s
        )
        claim.write(file)
        yield
        if left is None:
            file.truncate(0)
        else:
            left.write(file)


@contextlib.contextmanager
def locked(keys: tuple[str, ...], run_id: str, run_dir: Path, finish: Callable[[Path], None]) -> Iterator[Locks]:
    """Hold every lock or none; they fall with the process.

    `finish` is called with the run directory of a dead run that claims one of them and left something: it puts that back
    or raises. Raises UnsafeError naming the holder when a lock is taken. A claim of a run that is not clean at the end
    stays written.
    """
    held: list[tuple[TextIO, _Claim]] = []
    with contextlib.ExitStack() as files:
        for key in keys:
            file = files.enter_context(_file_of(key))
            _take(file, key)
            files.enter_context(occupy(key))
            dead = _Claim.read(file)
            if dead is not None and dead.run_dir is not None and not is_finished(Path(dead.run_dir)):
                finish(Path(dead.run_dir))
            now_s = time.time()
            claim = _Claim(
                key=key,
                who=f"run {run_id}",
                run_id=run_id,
                run_dir=str(run_dir),
                owner=_owner(),
                pid=os.getpid(),
                since_s=now_s,
                renewed_s=now_s,
            )
            claim.write(file)
            held.append((file, claim))
        yield Locks(held)
        if is_finished(run_dir):
            for file, _ in held:
                file.truncate(0)


def _file_of(key: str) -> TextIO:
    digest = hashlib.sha256(key.encode()).hexdigest()[:24]
    return (state_home() / "locks" / f"{digest}.lock").open("a+")


def _owner() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _take(file: TextIO, key: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = _Claim.read(file)
        if holder is None:
            raise UnsafeError(f"{key} is being used by another run", remedy="see `blackstart status`") from exc
        age_s = time.time() - holder.renewed_s
        said = "alive" if age_s <= LEASE_S else "its lease ran out: it may hang"
        raise UnsafeError(
            f"{key} is being used by {holder.who} of {holder.owner} (pid {holder.pid}, "
            f"last heard of {max(age_s, 0):.0f} s ago, {said})",
            remedy="wait for it" + (f", or `blackstart halt {holder.run_id}`" if holder.run_id else ""),
        ) from exc
