"""Stacks that `stack up` hosts between runs: brought up once, found by every run after that, ended by `stack down`.

All that is known of one is in its home in the user's state directory, so that any later command finds it: the record, the
process host's own directory, the logs. The fault proxy is a child of that process host and ends with it. A run attaches:
it starts nothing that runs, ends nothing, and leaves the fault proxy as it found it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

import harness
from harness.errors import InjectError, StoreError, UnsafeError
from harness.history.events import InstanceEvent
from harness.model.catalog import Catalog
from harness.model.fields import JsonObject
from harness.model.ports import Host, HostSettings, Probe
from harness.model.stack import Instance, ProbeSpec, Stack
from harness.model.wiring import Wiring
from harness.proxy.client import Links, ToxiproxyLinks, revive_links
from harness.proxy.launch import create_links, proxy_command, wait_for_proxy
from harness.run.clock import MonotonicClock
from harness.run.lock import HOSTED, stack_home, state_home
from harness.run.undo import finish
from harness.stacks.bring_up import bring_up
from harness.stacks.claims import Claims
from harness.stacks.client import HostdClient, end_stack, ensure_hostd
from harness.stacks.compose_project import Project, absent_projects, bring_down, bring_project_up
from harness.stacks.launch import Launch, StateDir
from harness.stacks.locate import located_hosts, with_places
from harness.stacks.netns import make_networks, remove_networks
from harness.stacks.wire import allocate, upstream
from harness.store.whole import write_whole

__all__ = ["PROXY_NAME", "HostedStack", "find_hosted", "fits", "hosted_stacks", "revive_hosts", "take_down", "take_up"]

PROXY_NAME = "fault proxy"
"""How the process host calls it: no instance can have a name with a space."""

_STOP_GRACE_NS = 5_000_000_000
_DOWN_LIMIT_NS = 60_000_000_000
_START_LIMIT_NS = 20_000_000_000
_WHAT_RUNS = ("instances", "regions", "links", "fault_proxy", "params")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedStack:
    """What `up` brought up. `started` are the instances that it started, the others ran before and stay.

    `made_links` are links that it put on a fault proxy of someone else, `raised` Compose projects that were absent.
    `print_` is of all that decides what runs:
    another version of the document, other params or another profile have another.
    """

    name: str
    base_dir: str
    document: str
    since_utc: str
    state: Literal["starting", "up"]
    print_: str
    home: str
    state_dir: str
    wiring: Wiring = field(default_factory=Wiring)
    hosts: dict[str, JsonObject] = field(default_factory=dict)
    started: tuple[str, ...] = ()
    links: JsonObject | None = None
    made_links: tuple[str, ...] = ()
    raised: tuple[Project, ...] = ()

    @property
    def log_dir(self) -> str:
        """Where instances and the fault proxy log."""
        return str(Path(self.home, "logs"))

    def log_sizes(self) -> dict[str, int]:
        """How long each log is now, in bytes."""
        return {path.name: path.stat().st_size for path in Path(self.log_dir).glob("*.log")}

    @property
    def serving(self) -> bool:
        """Whether its process host runs, without which nothing of it can be started again."""
        return self.state == "up" and StateDir.at(self.state_dir).hostd() is not None


@cache
def _adapter() -> TypeAdapter[HostedStack]:
    return TypeAdapter(HostedStack)


def _read(path: Path) -> HostedStack | None:
    try:
        return _adapter().validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise StoreError(f"{path}: not the record of a hosted stack: {exc}") from exc


def _write(hosted: HostedStack) -> None:
    home = Path(hosted.home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(hosted.log_dir).mkdir(exist_ok=True)
    write_whole(home / HOSTED, _adapter().dump_json(hosted, indent=1).decode())


def hosted_stacks() -> tuple[HostedStack, ...]:
    """Every stack that is hosted, or whose `up` died half-way, by name. Raises StoreError for a damaged record."""
    found = (_read(path) for path in sorted((state_home() / "stacks").glob(f"*/{HOSTED}")))
    return tuple(hosted for hosted in found if hosted is not None)


def find_hosted(stack: Stack) -> HostedStack | None:
    """The record of this stack; None when nothing hosts it."""
    return _read(stack_home(stack) / HOSTED)


def _print_of(stack: Stack) -> str:
    raw: Mapping[str, Any] = TypeAdapter(Stack).dump_python(stack, mode="json")
    text = json.dumps({key: raw[key] for key in _WHAT_RUNS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fits(hosted: HostedStack, stack: Stack) -> None:
    """Raise UnsafeError when what is hosted is not whole, or not what this stack's document says."""
    remedy = f"`blackstart stack down {stack.name}`, then `stack up` again"
    if not hosted.serving:
        half = "was left half-way up" if hosted.state == "starting" else "is hosted, but its process host is gone"
        raise UnsafeError(f"stack {stack.name!r} {half}", remedy=remedy)
    if hosted.print_ != _print_of(stack):
        raise UnsafeError(
            f"stack {stack.name!r} is up since {hosted.since_utc} from another version of its document, or with other params",
            remedy=f"{remedy}, or give the same params",
        )


def revive_hosts(hosted: HostedStack, catalog: Catalog) -> dict[str, Host]:
    """A host for every instance. They start it as `up` did, whatever has become of the document and the environment."""
    return {name: catalog.host(made["kind"]).load().revive(made["recipe"]) for name, made in hosted.hosts.items()}


async def take_up(stack: Stack, document: str, catalog: Catalog, tell: Callable[[InstanceEvent], None]) -> HostedStack:
    """Bring the stack up to stay. Raises UnsafeError, nothing left running, when it is up already or does not come up."""
    known = find_hosted(stack)
    if known is not None:
        raise UnsafeError(
            f"stack {stack.name!r} is up already, since {known.since_utc}"
            if known.serving
            else f"stack {stack.name!r} was brought up at {known.since_utc} and is not whole any more",
            remedy=f"`blackstart stack status {stack.name}` shows it, `blackstart stack down {stack.name}` ends it",
        )
    home = stack_home(stack)
    # Not below the home: instances of other users pass through it to their own directories.
    state_dir = os.path.join(tempfile.gettempdir(), f"blackstart-{secrets.token_hex(6)}")
    claims = Claims()
    wiring = replace(allocate(stack, state_dir, claims), run_dir=str(home))
    hosted = HostedStack(
        name=stack.name,
        base_dir=stack.base_dir,
        document=document,
        since_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        state="starting",
        print_=_print_of(stack),
        home=str(home),
        state_dir=state_dir,
        wiring=wiring,
    )
    _write(hosted)  # before anything runs: whoever finds it half-way can take it down
    effort = _Up(hosted, stack, catalog)
    try:
        return await effort.bring(tell)
    except BaseException:
        await take_down(effort.hosted, catalog)
        raise
    finally:
        claims.close()  # they are taken now


class _Up:
    """One `up`. `hosted` grows as things come into being, and is on disk before the next of them does."""

    def __init__(self, hosted: HostedStack, stack: Stack, catalog: Catalog) -> None:
        self.hosted = hosted
        self._stack = stack
        self._catalog = catalog

    def _know(self, **changes: Any) -> None:
        self.hosted = replace(self.hosted, **changes)
        _write(self.hosted)

    async def bring(self, tell: Callable[[InstanceEvent], None]) -> HostedStack:
        await ensure_hostd(self.hosted.state_dir, self.hosted.log_dir, orphan_grace_ns=None)
        os.chmod(self.hosted.state_dir, 0o711)
        settings = HostSettings(
            run_id=f"stack-{self._stack.name}",
            state_dir=self.hosted.state_dir,
            log_dir=self.hosted.log_dir,
            base_dir=self._stack.base_dir,
        )

        def make(instance: Instance) -> Host:
            made: Host = self._catalog.host(instance.host.kind).load()(instance, self.hosted.wiring, settings)
            return made

        located = located_hosts(self._stack, self._catalog, make)
        absent = await absent_projects(located)
        self._know(raised=absent)
        for project in absent:
            await bring_project_up(project)
        self._know(wiring=await with_places(self._stack, self.hosted.wiring, located))
        await make_networks(self.hosted.wiring.networks)
        if self._stack.links:
            await self._links()
        hosts = {name: located.get(name) or make(instance) for name, instance in self._stack.instances.items()}
        kinds = {name: instance.host.kind for name, instance in self._stack.instances.items()}
        self._know(hosts={name: {"kind": kinds[name], "recipe": host.recipe()} for name, host in hosts.items()})

        def told(event: InstanceEvent) -> None:
            if event.what == "started":
                self._know(started=(*self.hosted.started, event.instance))
            tell(event)

        try:
            await bring_up(self._stack, self.hosted.wiring, hosts, self._probe, told, MonotonicClock())
        finally:
            for host in hosts.values():
                await host.close()
        self._know(state="up")
        return self.hosted

    async def _links(self) -> None:
        kind = self._stack.fault_proxy
        if kind in ("embedded", "toxiproxy"):
            links = await self._own_proxy(kind)
        else:
            links = ToxiproxyLinks(kind, embedded=False)
        self._know(links=links.recipe())
        upstreams = {name: upstream(self._stack, self.hosted.wiring, link) for name, link in self._stack.links.items()}
        try:
            listening = await create_links(links, self._stack, self.hosted.wiring, upstreams)
        finally:
            self._know(made_links=tuple(sorted(links.created)) if kind not in ("embedded", "toxiproxy") else ())
        self._know(wiring=replace(self.hosted.wiring, links=listening))

    async def _own_proxy(self, kind: str) -> ToxiproxyLinks:
        argv, links = proxy_command(kind, seed=0)
        log = Path(self.hosted.log_dir, "fault-proxy.log")
        launch = Launch(instance=PROXY_NAME, argv=argv, cwd=str(Path(harness.__file__).parents[1]), log=str(log))
        client = HostdClient(StateDir.at(self.hosted.state_dir))
        try:
            await client.request({"do": "start", "launch": launch.to_json()}, _START_LIMIT_NS)
        finally:
            await client.close()
        await wait_for_proxy(links, log)
        return links

    def _probe(self, spec: ProbeSpec, instance: str) -> Probe:
        kind = self._catalog.probe(spec.kind)
        probe: Probe = kind.load()(
            kind.params.model_validate(spec.params), self.hosted.wiring, self._stack.base_dir, instance
        )
        return probe


def _forget(hosted: HostedStack) -> None:
    Path(hosted.home, HOSTED).unlink(missing_ok=True)
    shutil.rmtree(hosted.state_dir, ignore_errors=True)
    shutil.rmtree(hosted.home, ignore_errors=True)


async def take_down(hosted: HostedStack, catalog: Catalog) -> tuple[str, ...]:
    """End what `up` started, the fault proxy with it; the names of what ended. Idempotent; a cancel waits for it.

    Raises RevertError when something will not go: the record then stays, for another try.
    """
    ended: list[str] = []

    async def end() -> None:
        hosts = revive_hosts(hosted, catalog)
        for name in hosted.started:
            if not catalog.host(hosted.hosts[name]["kind"]).started_by_run and await hosts[name].find() is not None:
                await hosts[name].stop(_STOP_GRACE_NS)
                ended.append(name)
        if hosted.links is not None and hosted.made_links:
            links: Links = revive_links(hosted.links)
            links.claim(hosted.made_links)
            for link in hosted.made_links:
                try:
                    await links.delete(link)
                except InjectError as exc:
                    raise UnsafeError(f"link {link}: {exc}", remedy="remove it from that fault proxy by hand") from exc
        ended.extend(await end_stack(hosted.state_dir, _STOP_GRACE_NS))
        await remove_networks(hosted.wiring.networks)
        for project in hosted.raised:
            await bring_down(project)
        _forget(hosted)

    await finish(end, _DOWN_LIMIT_NS, f"stack {hosted.name}")
    return tuple(ended)
