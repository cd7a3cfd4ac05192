"""Hosts: what starts, finds, breaks and mends an instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import Field

from harness.model.fields import JsonObject, Params
from harness.model.stack import Instance
from harness.model.wiring import Wiring

__all__ = [
    "Attachment",
    "Audited",
    "Crashable",
    "FollowsLog",
    "Host",
    "HostFactory",
    "HostSettings",
    "Identity",
    "Located",
    "Namespaced",
    "Networked",
    "Powered",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which process (or container) it is, beyond reuse of its number: pid with its start time in clock ticks since boot.

    A container's id outlives a restart, so `started` (when it last started, as its engine writes it) is part of who it is.
    `pid` and `start_ticks` are those of its first process where that runs on this machine, else None.
    """

    pid: int | None = None
    start_ticks: int | None = None
    container: str | None = None
    started: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What every host of one run shares. `state_dir` holds sockets and pid files; `log_dir` one log per instance."""

    run_id: str
    state_dir: str
    log_dir: str
    base_dir: str


class Host(Protocol):
    """Controls one instance, whatever it runs on. The *tree* is the process and every descendant."""

    @property
    def instance(self) -> str:
        """The instance's name."""
        ...

    async def find(self) -> Identity | None:
        """Who runs now; None when nothing does (a zombie counts as nothing)."""
        ...

    async def start(self) -> Identity:
        """Bring it up as the stack file says; readiness is not awaited. Legal when it runs already (returns who does).

        Raises UnsafeError when it cannot be started (port in use, no such program), naming what and why.
        """
        ...

    async def stop(self, grace_ns: int) -> bool:
        """Ask it to end, wait `grace_ns`, then kill. Whether it ended by itself. Legal when nothing runs."""
        ...

    async def kill(self, identity: Identity) -> None:
        """SIGKILL the tree, if it still is `identity`; wait until it is gone. Raises InjectError when it will not go."""
        ...

    async def freeze(self, identity: Identity) -> None:
        """SIGSTOP the tree, parent first, until nothing new appears. Raises InjectError when it is not `identity`."""
        ...

    async def thaw(self, identity: Identity) -> None:
        """SIGCONT the whole tree. Legal when it is gone or was never frozen."""
        ...

    async def frozen(self, identity: Identity) -> bool:
        """Whether all of the tree is stopped. False when it is gone or any of it runs."""
        ...

    def recipe(self) -> JsonObject:
        """What `HostFactory.revive` needs to control the same instance from another process, after this one died."""
        ...

    async def close(self) -> None:
        """Let go of connections; ends nothing that runs."""
        ...


class HostFactory(Protocol):
    """What a HostKind's `code` is: a class with these."""

    def __call__(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> Host:
        """A host for the instance. Touches nothing yet."""
        ...

    def revive(self, recipe: JsonObject) -> Host:
        """The host that made this recipe, in another process (the reaper, `recover`)."""
        ...


# ---- what only some hosts can do ---------------------------------------------------------------------------------------


@runtime_checkable
class Located(Protocol):
    """A host that knows better than the stack file where its instance serves."""

    async def locate(self, instance: Instance) -> tuple[str, Mapping[str, int]]:
        """Address and port numbers at which we reach the instance's named ports. Raises UnsafeError when nothing is found there."""
        ...


@runtime_checkable
class Audited(Protocol):
    """A host that can tell what of its instance a run might leave changed, beyond whether it runs."""

    async def audit(self) -> Mapping[str, str]:
        """What -> its state now, such as networks -> "back, front". Raises HarnessError when it cannot be told."""
        ...


@runtime_checkable
class FollowsLog(Protocol):
    """A host whose instance writes its log elsewhere."""

    async def follow_log(self) -> None:
        """Copy what it writes from now on to our log of it, until cancelled."""
        ...


@runtime_checkable
class Crashable(Protocol):
    """A host that can end its instance behind the back of whatever supervises it."""

    async def crash(self, identity: Identity) -> None:
        """SIGKILL its first process, so that its supervisor sees a crash and acts. Raises InjectError when it is not `identity`."""
        ...


@runtime_checkable
class Powered(Protocol):
    """A host that can take its instance's power: whatever had not reached its disk by then is gone."""

    async def cut_power(self, identity: Identity) -> None:
        """SIGKILL the tree and let its disk forget what was not synced. Cut half-way it is dead, and `start` mends the disk.

        Raises InjectError when it declares no `disk:`, or the cut did not bite.
        """
        ...

    def power_took(self, identity: Identity) -> str | None:
        """In words what the cut that ended `identity` took; None when no cut did, or it was not carried through."""
        ...


class Attachment(Params):
    """An instance's place on one network: enough to put it back where it was. Journaled.

    `pinned`: its address is laid down, so that it has the same one whenever it starts.
    """

    network: str
    name: str
    pinned: bool = False
    address: str | None = None
    address6: str | None = None
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    options: Mapping[str, str] = Field(default_factory=dict)


@runtime_checkable
class Networked(Protocol):
    """A host that can take its instance off a network, and put it back under the same address."""

    async def attachments(self, container: str) -> tuple[Attachment, ...] | None:
        """The networks that it is on now, by name; None when that container does not exist any more."""
        ...

    async def unpinnable(self, identity: Identity, attachment: Attachment) -> str | None:
        """Why it could not return under the same address; None when it can. Changes nothing."""
        ...

    async def detach(self, identity: Identity, attachment: Attachment) -> None:
        """Take it off the network. Raises InjectError when it is not `identity`. Legal when it is not on it."""
        ...

    async def attach(self, container: str, attachment: Attachment) -> None:
        """Put it back as it was. Legal when it is there already, and when the container or the network is gone."""
        ...


@runtime_checkable
class Namespaced(Protocol):
    """A host whose instance has a network namespace of its own on this machine."""

    def network_namespace(self, identity: Identity) -> int | None:
        """A descriptor of it, for the caller to close; None when it is gone with that process.

        Raises InjectError without the right to enter it, and when it has none of its own.
        """
        ...


# ---- links -----------------------------------------------------------------------------------------------------------
