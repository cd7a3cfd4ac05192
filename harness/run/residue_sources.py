"""What the residue audit looks at on this machine: the fault proxy, kernel rules, queues, attached instances, our own processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.errors import StoreError, UnsafeError
from harness.model.ports import Audited, Host
from harness.proxy.client import OWN_PREFIX, Links
from harness.run.journal import REAPER, Journal, JournalView
from harness.run.process import is_alive
from harness.stacks.ending import marked_processes
from harness.stacks.launch import StateDir
from harness.stacks.procfs import program

__all__ = ["PLACES", "FaultProxyFacts", "InstanceFacts", "KernelFacts", "OwnProcesses", "QueueFacts", "said"]

_TOOL_LIMIT_S = 5.0
PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


@dataclass(frozen=True)
class FaultProxyFacts:
    """Proxies and toxics on a fault proxy that outlives the run. Ours: toxics of this run, and every link of the stack."""

    links: Links
    stack_links: frozenset[str]
    run_id: str
    name: str = "fault proxy"

    async def look(self) -> Mapping[str, str]:
        facts = {}
        for state in await self.links.all():
            facts[f"link {state.name}"] = f"{state.listen} to {state.upstream}, {'open' if state.enabled else 'closed'}"
            for toxic in state.toxics:
                told = json.dumps(dict(toxic.attributes), sort_keys=True)
                facts[f"toxic {toxic.name} on {state.name}"] = f"{toxic.type} {toxic.stream} {told}"
        return facts

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        sort, _, name = key.partition(" ")
        return name.startswith(f"{OWN_PREFIX}{self.run_id}-") if sort == "toxic" else name in self.stack_links


@dataclass(frozen=True)
class KernelFacts:
    """nftables tables and named network namespaces. Ours carry the run's id; namespaces of its stack, the `mark`."""

    run_id: str
    mark: str | None = None
    name: str = "kernel rules"

    async def look(self) -> Mapping[str, str]:
        facts = {}
        if os.geteuid() == 0 and shutil.which("nft", path=PLACES):
            for line in (await said("nft", "list", "tables")).splitlines():
                facts[line.strip()] = "there"
        with contextlib.suppress(FileNotFoundError):
            facts |= {f"namespace {name}": "there" for name in os.listdir("/run/netns")}
        return facts

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        if self.mark is not None and key.startswith(f"namespace {self.mark}"):
            return True
        words = re.sub(r"[^a-z0-9]+", "_", self.run_id.lower())
        return "blackstart" in key and words in re.sub(r"[^a-z0-9]+", "_", key.lower())


@dataclass(frozen=True)
class QueueFacts:
    """Queueing disciplines of this machine's own devices, on which no fault of ours puts any (`NetworkFacts` has the others)."""

    name: str = "network queues"

    async def look(self) -> Mapping[str, str]:
        if shutil.which("tc", path=PLACES) is None:
            return {}
        facts = {}
        for line in (await said("tc", "qdisc", "show")).splitlines():
            device = re.search(r" dev (\S+)", line)
            if device and not device[1].startswith(("veth", "br-", "docker")):
                facts[f"queue of {device[1]}, {' '.join(line.split()[1:3])}"] = line.strip()
        return facts

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        return False


@dataclass(frozen=True)
class InstanceFacts:
    """Attached instances: whether they run or are stopped, and what their host can tell. Ours: those that the plan breaks."""

    hosts: Mapping[str, Host]
    broken: frozenset[str]
    name: str = "attached instances"

    async def look(self) -> Mapping[str, str]:
        facts: dict[str, str] = {}
        for name, host in self.hosts.items():
            found = await host.find()
            state = "does not run" if found is None else "stopped" if await host.frozen(found) else "runs"
            facts[f"instance {name}"] = state
            if isinstance(host, Audited):
                facts |= {f"instance {name}, {what}": value for what, value in (await host.audit()).items()}
        return facts

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        return key.removeprefix("instance ").partition(", ")[0] in self.broken


@dataclass(frozen=True)
class OwnProcesses:
    """Processes and the folder of this run. Before, there are none; whatever is there afterwards is ours."""

    journal: Journal
    state_dir: Callable[[], str]
    name: str = "our own processes"

    async def look(self) -> Mapping[str, str]:
        facts = {}
        with contextlib.suppress(StoreError):
            for one in JournalView.read(self.journal.path).spawned:
                if one.order != REAPER and is_alive(one.pid, one.ticks):
                    facts[f"process {one.pid}"] = one.what
        folder = self.state_dir()
        if folder:
            for stat in marked_processes(StateDir.at(folder)):
                facts.setdefault(f"process {stat.pid}", program(stat.pid))
            with contextlib.suppress(FileNotFoundError):
                facts[f"folder {folder}"] = f"there, {len(os.listdir(folder))} files"
        return facts

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        return after is not None


async def said(*argv: str, keep: tuple[int, ...] = ()) -> str:
    """What a tool prints, that inherits the descriptors to keep. Raises UnsafeError when it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": PLACES},
        pass_fds=keep,
    )
    try:
        async with asyncio.timeout(_TOOL_LIMIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise UnsafeError(f"{' '.join(argv)}: {err.decode(errors='replace').strip()[:200]}")
    return out.decode(errors="replace")
