"""Host `container`: a container of a Docker engine that exists already, found by name or label; started when stopped."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field

from harness.errors import InjectError, UnsafeError
from harness.model.catalog import HostKind
from harness.model.fields import JsonObject, Params
from harness.model.ports import Attachment, HostFactory, HostSettings, Identity
from harness.model.stack import Instance
from harness.model.wiring import Wiring
from harness.stacks.container_facts import ContainerFacts, attachments_of, fingerprint, identity_of, name_of, place_of
from harness.stacks.container_log import LogCopy
from harness.stacks.engine import CALL_LIMIT_S, ContainerEngine, EngineError, engine_recipe
from harness.stacks.procfs import alive

__all__ = ["FACTORY", "KIND", "ContainerHost", "ContainerParams", "Labelled"]

NOWHERE = "203.0.113.1"
"""An address that no network has (RFC 5737)."""
_COULD_BE_PINNED = ("already exists in network", "no configured subnet")
_POLL_S = 0.02
_LOG_POLL_S = 0.25


class Labelled(Params):
    """Found by its labels: `key=value`, or `key` alone; every one must fit, and one container only."""

    label: str | tuple[str, ...] = Field(min_length=1)


class ContainerParams(Params):
    """The container: `container: shop-db`, its name or id, or `container: {label: [app=shop, role=db]}`.

    `engine`: the engine's address when it is not the one of DOCKER_HOST, such as unix:///run/other.sock.
    """

    container: str | Labelled
    engine: str | None = None

    @property
    def can_start(self) -> bool:
        """Whether a dead one can be brought back: its engine can, as it was made."""
        return True


class ContainerHost:
    """Controls one container. The one that is found first is meant from then on, not another that takes its name later."""

    kind = "container"

    def __init__(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> None:
        params = ContainerParams.model_validate(instance.host.params)
        named = params.container if isinstance(params.container, str) else None
        labels = params.container.label if isinstance(params.container, Labelled) else ()
        labels = (labels,) if isinstance(labels, str) else labels

        def text(template: str) -> str:
            return wiring.text(template, instance=instance.name)

        self._set(
            {
                "kind": self.kind,
                "instance": instance.name,
                "engine": engine_recipe(text(params.engine) if params.engine else None),
                "name": text(named) if named is not None else None,
                "labels": [text(label) for label in labels],
                "id": None,
                "local": False,
                "log_dir": os.path.abspath(settings.log_dir),
            }
        )

    def _set(self, recipe: JsonObject) -> None:
        self._recipe = recipe
        self._engine = ContainerEngine(recipe["engine"])
        self._log: LogCopy | None = None

    @classmethod
    def revive(cls, recipe: JsonObject) -> Self:
        """The host that made this recipe, in another process."""
        host = cls.__new__(cls)
        host._set(dict(recipe))
        return host

    def recipe(self) -> JsonObject:
        return dict(self._recipe)

    @property
    def instance(self) -> str:
        return str(self._recipe["instance"])

    @property
    def log_path(self) -> str:
        """Where `follow_log` copies what the container writes."""
        return os.path.join(self._recipe["log_dir"], f"{self.instance}.log")

    @property
    def _sought(self) -> str:
        if self._recipe["name"] is not None:
            return f"container {self._recipe['name']}"
        return f"container with {', '.join(self._recipe['labels'])}"

    # ---- who

    async def _inspect(self) -> JsonObject | None:
        """The container as it is: the one found first while it exists, else what fits now. None when there is none."""
        found = await self._own()
        if found is not None:
            return found
        found = await self._seek()
        if found is not None and self._recipe["id"] is None:
            self._recipe["id"] = str(found["Id"])
        return found

    async def _own(self) -> JsonObject | None:
        own = self._recipe["id"]
        return await self._engine.inspect(own) if own is not None else None

    async def _seek(self) -> JsonObject | None:
        if self._recipe["name"] is not None:
            return await self._engine.inspect(self._recipe["name"])
        labels = self._recipe["labels"]
        listed: list[JsonObject] = await self._engine.call(
            f"list {', '.join(labels)}", lambda client: client.containers(all=True, filters={"label": labels})
        )
        if len(listed) > 1:
            names = ", ".join(sorted(one["Names"][0].lstrip("/") for one in listed))
            raise UnsafeError(
                f"instance {self.instance}: {len(listed)} containers have {', '.join(labels)}: {names}",
                remedy="add a label that only one has, or name it",
            )
        return await self._engine.inspect(listed[0]["Id"]) if listed else None

    async def find(self) -> Identity | None:
        found = await self._inspect()
        return self._runs(found) if found is not None else None

    def _runs(self, found: JsonObject) -> Identity | None:
        """Who runs in it. On an engine of this machine that is never a process that is dead already: for an instant after
        a crash the engine still says "running", with the number of what has just died.
        """
        identity = identity_of(found)
        if identity is not None and identity.pid is not None:
            self._recipe["local"] = True
        elif self._recipe.get("local"):
            return None
        return identity

    async def locate(self, instance: Instance) -> tuple[str, Mapping[str, int]]:
        ports = {name: number for name, number in instance.ports.items() if number is not None}
        found = await self._inspect()
        if found is None:
            raise UnsafeError(f"instance {self.instance}: {self._absent()}", remedy="create it, or correct its name")
        if instance.address != "127.0.0.1":
            return instance.address, ports
        try:
            return place_of(found, ports)
        except UnsafeError as exc:
            raise UnsafeError(f"instance {self.instance}: {exc.message}", remedy=exc.remedy) from exc

    def _absent(self) -> str:
        return f"there is no {self._sought} on engine {self._engine.url}"

    # ---- up and down

    async def start(self) -> Identity:
        found = await self._inspect()
        if found is None:
            raise UnsafeError(f"instance {self.instance}: {self._absent()}, and nothing says how to make one")
        running = self._runs(found)
        if running is not None:
            return running
        if found["State"]["Running"] and not found["State"].get("Restarting"):
            await self._noticed(str(found["Id"]), found["State"]["Pid"])
        if str(found["Id"]) != self._recipe["id"]:
            raise UnsafeError(
                f"instance {self.instance}: the container was removed; another called {name_of(found)} stands in its place"
                " and is not ours to start",
                remedy=f"docker start {name_of(found)}",
            )
        container = str(found["Id"])
        try:
            await self._engine.call(f"start {name_of(found)}", lambda client: client.start(container), change=True)
            return await self._appeared(container)
        except EngineError as exc:
            raise UnsafeError(f"instance {self.instance}: {exc}") from exc

    async def _noticed(self, container: str, dead: int) -> None:
        """Wait until the engine knows of the end of process `dead`: until then it would start nothing."""
        deadline_ns = time.monotonic_ns() + int(CALL_LIMIT_S * 1e9)
        while (found := await self._engine.inspect(container)) is not None and found["State"]["Pid"] == dead:
            if time.monotonic_ns() > deadline_ns:
                raise UnsafeError(
                    f"instance {self.instance}: {name_of(found)}: the engine does not notice that it has died"
                )
            await asyncio.sleep(_POLL_S)

    async def _appeared(self, container: str) -> Identity:
        deadline_ns = time.monotonic_ns() + int(CALL_LIMIT_S * 1e9)
        while True:
            found = await self._engine.inspect(container)
            running = self._runs(found) if found is not None else None
            if running is not None:
                return running
            over = found is None or found["State"]["Status"] in ("exited", "dead")
            if over or time.monotonic_ns() > deadline_ns:
                state = found["State"] if found is not None else {"Status": "removed", "ExitCode": None}
                raise EngineError(f"it was started, but is {state['Status']} (exit code {state['ExitCode']})")
            await asyncio.sleep(_POLL_S)

    async def stop(self, grace_ns: int) -> bool:
        found = await self._inspect()
        if found is None or self._runs(found) is None:
            return True
        container, grace_s = str(found["Id"]), math.ceil(grace_ns / 1e9)
        if found["State"]["Paused"]:  # a paused one cannot end
            await self._engine.call("unpause", lambda client: client.unpause(container), change=True)
        began_ns = time.monotonic_ns()
        await self._engine.call(
            f"stop {name_of(found)}",
            lambda client: client.stop(container, timeout=grace_s),
            change=True,
            more_s=grace_s,
        )
        took_ns = time.monotonic_ns() - began_ns
        return took_ns < grace_s * 1_000_000_000

    async def kill(self, identity: Identity) -> None:
        if await self._is(identity):
            await self._engine.call(
                f"kill {identity.container}", lambda client: client.kill(identity.container), change=True
            )
            await self._gone(identity)

    async def crash(self, identity: Identity) -> None:
        if identity.pid is None or identity.start_ticks is None:
            raise InjectError(
                f"instance {self.instance}: its process is not on this machine, only its engine can kill it"
            )
        try:
            handle = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            handle = None
        try:
            # The number is held by the handle now: if the start time fits, it is that process and no later one.
            if handle is None or alive(identity.pid, identity.start_ticks) is None:
                raise InjectError(f"instance {self.instance}: pid {identity.pid} does not run any more")
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except PermissionError as exc:
            raise InjectError(f"instance {self.instance}: not allowed to kill pid {identity.pid}: needs root") from exc
        finally:
            if handle is not None:
                os.close(handle)
        await self._gone(identity)

    async def _is(self, identity: Identity) -> bool:
        """Whether that very run of that very container goes on."""
        found = await self._engine.inspect(identity.container) if identity.container is not None else None
        return found is not None and self._runs(found) == identity

    async def _gone(self, identity: Identity) -> None:
        deadline_ns = time.monotonic_ns() + int(CALL_LIMIT_S * 1e9)
        while await self._is(identity):
            if time.monotonic_ns() > deadline_ns:
                raise InjectError(f"instance {self.instance}: container {identity.container} will not go")
            await asyncio.sleep(_POLL_S)

    # ---- freeze and thaw

    async def freeze(self, identity: Identity) -> None:
        if not await self._is(identity):
            raise InjectError(f"instance {self.instance}: container {identity.container} does not run as it did")
        if not await self.frozen(identity):
            await self._engine.call("pause", lambda client: client.pause(identity.container), change=True)

    async def thaw(self, identity: Identity) -> None:
        if await self.frozen(identity):
            await self._engine.call("unpause", lambda client: client.unpause(identity.container), change=True)

    async def frozen(self, identity: Identity) -> bool:
        found = await self._engine.inspect(identity.container) if identity.container is not None else None
        return found is not None and self._runs(found) == identity and bool(found["State"]["Paused"])

    async def audit(self) -> Mapping[str, str]:
        """The engine's state of it, and its networks."""
        found = await self._inspect()
        if found is None:
            return {}
        networks = ", ".join(sorted(one.name for one in attachments_of(found)))
        return {"engine's state": str(found["State"]["Status"]), "networks": networks or "none"}

    # ---- networks

    async def attachments(self, container: str) -> tuple[Attachment, ...] | None:
        found = await self._engine.inspect(container)
        return attachments_of(found) if found is not None else None

    async def unpinnable(self, identity: Identity, attachment: Attachment) -> str | None:
        """Asked of the engine itself, by a request that it must refuse: to connect what is connected, under an address that
        no network has. It refuses for another reason where no address can be laid down; nothing in its account of a network
        tells the two kinds apart.
        """
        try:
            await self._connect(str(identity.container), attachment, NOWHERE, None)
        except EngineError as exc:
            return None if any(reason in str(exc) for reason in _COULD_BE_PINNED) else str(exc)
        raise InjectError(f"network {attachment.name} accepted address {NOWHERE}, which cannot be its own")

    async def detach(self, identity: Identity, attachment: Attachment) -> None:
        if not await self._is(identity):
            raise InjectError(f"instance {self.instance}: container {identity.container} does not run as it did")
        if any(one.network == attachment.network for one in await self.attachments(str(identity.container)) or ()):
            await self._engine.call(
                f"disconnect from network {attachment.name}",
                lambda client: client.disconnect_container_from_network(identity.container, attachment.network),
                change=True,
            )

    async def attach(self, container: str, attachment: Attachment) -> None:
        there = await self.attachments(container)
        if there is None or any(one.network == attachment.network for one in there):
            return
        try:
            await self._connect(container, attachment, attachment.address, attachment.address6)
        except EngineError as exc:
            if exc.status != 404:  # the network is gone
                raise

    async def _connect(self, container: str, to: Attachment, address: str | None, address6: str | None) -> None:
        def connect(client: Any) -> None:
            client.connect_container_to_network(
                container,
                to.network,
                ipv4_address=address,
                ipv6_address=address6,
                aliases=list(to.aliases) or None,
                links=[tuple(link.split(":", 1)) for link in to.links] or None,
                driver_opt=dict(to.options) or None,
            )

        await self._engine.call(f"connect to network {to.name}", connect, change=True)

    def network_namespace(self, identity: Identity) -> int | None:
        pid, ticks = identity.pid, identity.start_ticks
        if pid is None or ticks is None:
            raise InjectError(
                f"instance {self.instance}: its process is not on this machine, so its network cannot be entered"
            )
        try:
            handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except PermissionError as exc:
            raise InjectError(f"instance {self.instance}: not allowed to enter its network: needs root") from exc
        if alive(pid, ticks) is not None:
            return handle
        os.close(handle)
        return None

    # ---- what it says

    async def facts(self) -> tuple[ContainerFacts, ...]:
        """Its fingerprint, for comparison before and after; empty when it does not exist."""
        found = await self._inspect()
        return fingerprint([found] if found is not None else [])

    async def follow_log(self) -> None:
        """By asking again and again: it outlives restarts of the container and of the engine. A silent engine is asked again."""
        copy = self._log = self._log or LogCopy(self._engine, self.log_path)
        while True:
            with contextlib.suppress(EngineError, UnsafeError):
                found = await self._inspect()
                if found is not None:
                    await copy.go_on(str(found["Id"]))
            await asyncio.sleep(_LOG_POLL_S)

    async def close(self) -> None:
        await self._engine.close()


FACTORY: HostFactory = ContainerHost

KIND = HostKind(
    name="container",
    doc="a container that exists already, by name, id or label; attached to, started when stopped",
    params=ContainerParams,
    code="harness.stacks.container:ContainerHost",
    example="{container: shop-db-eu}",
    modules=("docker",),
    started_by_run=False,
    located=True,
)
