"""How one instance is started, and the files about it that outlive every process of ours. Standard library only.

A state directory holds, per instance: `NAME.launch.json` (how to start it), `NAME.pid.json` (who was started last),
`NAME.prepared` (its `prepare:` commands have run), `NAME.frozen.json` (whom we stopped and have not continued),
`NAME.power.json` (the last cut of its power); and the process host's own socket, locks and identity.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from harness.stacks.procfs import ProcessStat, alive

__all__ = ["HOSTD_PID", "FrozenRecord", "Launch", "Started", "StateDir", "user_ids"]

HOSTD_PID = "process-host.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything resolved: absolute paths, no placeholder. `argv` is a command line, or with `entry` ("pkg.mod:main")
    the arguments of a Python function run in a fork of the zygote that imported `preload`. `netns` is the name of the network
    namespace that it lives in; None: ours.
    """

    instance: str
    argv: tuple[str, ...]
    entry: str | None = None
    preload: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str
    user: str | None = None
    log: str
    prepare: tuple[tuple[str, ...], ...] = ()
    address: str = "127.0.0.1"
    netns: str | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    dir: str | None = None
    files: tuple[str, ...] = ()
    disk_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "env": dict(self.env), "ports": dict(self.ports)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Launch:
        """The launch that `to_json` gave."""
        known = {name.name for name in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in raw.items() if key in known
        }
        values["prepare"] = tuple(tuple(argv) for argv in raw["prepare"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Who was started last as an instance."""

    pid: int
    start_ticks: int

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return alive(self.pid, self.start_ticks) is not None


@dataclass(frozen=True, slots=True)
class StateDir:
    """A state directory. Only its owner may list it, and read launches: those hold environments, and environments hold
    secrets. Others may pass through to the directory that is theirs.
    """

    path: str

    @classmethod
    def at(cls, path: str) -> StateDir:
        """The state directory at a path, which may be relative."""
        return cls(os.path.abspath(path))

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return os.path.isdir(self.path)

    @property
    def prefix(self) -> str:
        """What the marker of everything started from here begins with."""
        return hashlib.sha256(os.path.realpath(self.path).encode()).hexdigest()[:16]

    def marker(self, instance: str) -> str:
        """The marker of one instance's processes: always 33 characters."""
        return f"{self.prefix}-{hashlib.sha256(instance.encode()).hexdigest()[:16]}"

    def make(self) -> None:
        """Create it."""
        os.makedirs(self.path, mode=0o711, exist_ok=True)

    def _file(self, instance: str, ending: str) -> Path:
        return Path(self.path, f"{instance.replace('/', '%2F')}.{ending}")

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Put a JSON document in place, whole or not at all."""
        self.make()
        half = Path(self.path, f".{name}.{os.getpid()}")
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(document, file)
        half.rename(Path(self.path, name))

    def read(self, name: str) -> dict[str, Any] | None:
        """The JSON document of that name; None when there is none."""
        try:
            document = json.loads(Path(self.path, name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return dict(document)

    def write_launch(self, launch: Launch) -> None:
        """Keep how the instance is started, for whoever must do it after us."""
        self.write(self._file(launch.instance, "launch.json").name, launch.to_json())

    def launch(self, instance: str) -> Launch | None:
        """How the instance is started; None when it never was from here."""
        raw = self.read(self._file(instance, "launch.json").name)
        return None if raw is None else Launch.from_json(raw)

    def launches(self) -> tuple[Launch, ...]:
        """Every instance ever started from here, by name."""
        documents = (self.read(path.name) for path in sorted(Path(self.path).glob("*.launch.json")))
        return tuple(Launch.from_json(raw) for raw in documents if raw is not None)

    def write_started(self, instance: str, started: Started) -> None:
        """Record who runs as the instance."""
        self.write(self._file(instance, "pid.json").name, asdict(started))

    def started(self, instance: str) -> Started | None:
        """Who was started last as the instance, running or not; None when nobody was."""
        raw = self.read(self._file(instance, "pid.json").name)
        return None if raw is None else Started(**raw)

    def hostd(self) -> Started | None:
        """The process host while it runs."""
        raw = self.read(HOSTD_PID)
        started = None if raw is None else Started(**raw)
        return started if started is not None and started.running else None

    def frozen(self, instance: str) -> FrozenRecord:
        """The record of whom we stopped of an instance, ours or one that was attached to."""
        return FrozenRecord(self, self._file(instance, "frozen.json").name)

    def all_frozen(self) -> tuple[FrozenRecord, ...]:
        """Every such record that holds something."""
        return tuple(FrozenRecord(self, path.name) for path in sorted(Path(self.path).glob("*.frozen.json")))

    def is_prepared(self, instance: str) -> bool:
        """Whether its `prepare:` commands have run."""
        return self._file(instance, "prepared").exists()

    def set_prepared(self, instance: str) -> None:
        """Note that its `prepare:` commands have run."""
        self._file(instance, "prepared").touch()

    def write_power(self, instance: str, document: Mapping[str, Any]) -> None:
        """Record how far a cut of the instance's power is: before it begins, and with what it took once it is done."""
        self.write(self._file(instance, "power.json").name, document)

    def power(self, instance: str) -> dict[str, Any] | None:
        """The record of the last cut of the instance's power; None when it never was cut."""
        return self.read(self._file(instance, "power.json").name)

    def forget(self) -> None:
        """Remove what is known of every instance; their logs and directories are elsewhere."""
        for ending in ("launch.json", "pid.json", "prepared", "frozen.json", "power.json"):
            for path in Path(self.path).glob(f"*.{ending}"):
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    """Whom we stopped, written before the signal is sent. When a stopped parent dies its stopped children belong to nobody:
    nothing but this record leads to them.
    """

    state: StateDir
    name: str

    def add(self, processes: Iterable[ProcessStat]) -> None:
        """Add them."""
        known = {*self._pairs(), *((one.pid, one.start_ticks) for one in processes)}
        self.state.write(self.name, {"processes": sorted(known)})

    def clear(self) -> None:
        """Nobody is stopped by us any more."""
        Path(self.state.path, self.name).unlink(missing_ok=True)

    def running(self) -> list[ProcessStat]:
        """Those of them that still are there, stopped or not."""
        return [stat for pid, ticks in self._pairs() if (stat := alive(pid, ticks)) is not None]

    def _pairs(self) -> list[tuple[int, int]]:
        document = self.state.read(self.name)
        return [] if document is None else [(pid, ticks) for pid, ticks in document["processes"]]


def user_ids(user: str) -> tuple[int, int]:
    """The uid and gid of a user given by name or number; a number without an account is its own group.

    Raises ValueError for a name that nobody has.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if user.isdigit():
            return int(user), int(user)
        raise ValueError(f"no such user {user!r}") from None
    return entry.pw_uid, entry.pw_gid
