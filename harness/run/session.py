"""The stack while a run lasts: its wiring, hosts, fault proxy, probes and reaper, from start to the last of them ended."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError, InjectError, RevertError, UnsafeError
from harness.history.events import NoteEvent, ProbeEvent, SignalEvent
from harness.model.catalog import Catalog
from harness.model.fields import JsonObject
from harness.model.plan import Plan
from harness.model.ports import Clock, FollowsLog, Host, HostSettings, Probe, Signals, StackSignal
from harness.model.stack import Instance, ProbeSpec
from harness.model.wiring import Wiring
from harness.probe.loop import watch
from harness.probe.signals import follow_source
from harness.proxy.client import Links, ToxiproxyLinks
from harness.proxy.launch import StartedProxy, create_links, start_embedded, start_toxiproxy
from harness.run.alerting import Alerting
from harness.run.conductor import LiveView
from harness.run.equip import equipped
from harness.run.exporting import take_exports
from harness.run.guard import Guard
from harness.run.hosted import HostedStack, find_hosted, fits, revive_hosts
from harness.run.journal import PROXY, Began, Journal, JournalView, Linked, Made, Opened, Placed, Spawned
from harness.run.premises import Premises
from harness.run.process import end_process, start_ticks
from harness.run.recorder import Recorder
from harness.run.residue import Audit, Source
from harness.run.residue_networks import NetworkFacts
from harness.run.residue_sources import FaultProxyFacts, InstanceFacts, KernelFacts, OwnProcesses, QueueFacts
from harness.run.traffic import LinkTraffic
from harness.run.world import RunWorld
from harness.stacks.bring_up import bring_up
from harness.stacks.claims import Claims
from harness.stacks.client import end_stack
from harness.stacks.launch import StateDir
from harness.stacks.locate import located_hosts, with_places
from harness.stacks.procfs import MARKER
from harness.stacks.wire import allocate, upstream
from harness.store.rundir import RunDir

__all__ = ["StackSession"]

_READY_LIMIT_NS = 1_000_000_000
_STOP_GRACE_NS = 3_000_000_000


class StackSession:
    """A `conductor.Session` over real parts. Starts what does not run, attaches to what does, ends only what it started."""

    def __init__(
        self, plan: Plan, run_dir: RunDir, catalog: Catalog, renew_locks: Callable[[], None] = lambda: None
    ) -> None:
        self._plan = plan
        self._renew_locks = renew_locks
        self._stack = plan.experiment.stack
        self._run_dir = run_dir
        self._catalog = catalog
        self._hosted: HostedStack | None = None
        self._state_dir = ""
        self._log_starts: Mapping[str, int] = {}
        self._wiring = Wiring()
        self._claims = Claims()
        self._hosts: Mapping[str, Host] = {}
        self._followers: list[Signals] = []
        self._began: list[str] = []
        self._place: Callable[[], Awaitable[None]]
        self._premises = Premises()
        self._proxy: StartedProxy | None = None
        self._links: Links | None = None
        self._made_links: tuple[str, ...] = ()
        self._guard: Guard | None = None
        self._audit: Audit | None = None
        self._clock: Clock | None = None
        self._alerting = Alerting(self._stack)

    @property
    def entries(self) -> tuple[str, Mapping[str, str]]:
        """The stack's entry URL, and each region's, resolved."""
        regions = {
            name: self._wiring.text(region.entry) for name, region in self._stack.regions.items() if region.entry
        }
        return self._wiring.text(self._stack.entry or ""), regions

    async def start(self, journal: Journal, recorder: Recorder, clock: Clock) -> RunWorld:
        """Bring everything up, the journal opened and the reaper armed first. Raises UnsafeError; `stop` cleans up."""
        self._clock = clock
        mutant = self._stack.params.get("mutant")
        if mutant:
            text = f"{mutant}: a deliberate defect is switched on in this stack"
            recorder.emit(
                NoteEvent(at_ns=clock.now_ns(), code="mutant", text=text, level="warning", data={"mutant": mutant})
            )
        self._hosted = find_hosted(self._stack)
        if self._hosted is not None:
            self._attach(self._hosted, recorder, clock)
        else:
            await self._own()
        self._open(journal, clock)
        self._audit = Audit(self._sources(journal), recorder, clock)
        await self._audit.begin()
        if self._state_dir:
            os.makedirs(self._state_dir, exist_ok=True)
            os.chmod(self._state_dir, 0o711)  # instances of other users pass through it to their own directories
        self._guard = await Guard.arm(journal)
        await self._alerting.begin(self._wiring.alerts, recorder, clock)
        if self._hosted is None:
            if await self._premises.bring_up(journal):  # only now can it be told where that is
                await self._place()
                journal.append(Placed(wiring=self._wiring, hosts=self._recipes()))
            await self._premises.connect(self._wiring.networks)
        await self._link(journal)

        def beginning(name: str) -> None:
            if not self._catalog.host(self._stack.instances[name].host.kind).started_by_run:
                journal.append(Began(instance=name))
                self._began.append(name)

        await bring_up(self._stack, self._wiring, self._hosts, self._probe, recorder.emit, clock, beginning)
        self.traffic = LinkTraffic(self._plan.faults, self._links, clock)
        return RunWorld(self._run_dir.run_id, clock, self._wiring, self._hosts, self._links)

    def _sources(self, journal: Journal) -> tuple[Source, ...]:
        """What this run could leave something in."""
        attached = {
            name: host
            for name, host in self._hosts.items()
            if self._hosted is not None
            or (
                not self._catalog.host(self._stack.instances[name].host.kind).started_by_run
                and self._stack.instances[name].host.kind != "external"
            )
        }
        targets = [target for fault in self._plan.faults for target in fault.targets]
        broken = frozenset(name for target in targets for name in (target.name, *target.candidates, *target.cut_off))
        sources: list[Source] = [
            KernelFacts(self._run_dir.run_id, self._own_mark),
            QueueFacts(),
            InstanceFacts(attached, broken),
            NetworkFacts(attached, self._run_dir.run_id),
            OwnProcesses(journal, lambda: self._state_dir if self._guard is not None else ""),  # none before we begin
        ]
        if self._links is not None:  # one that was there before us
            sources.append(FaultProxyFacts(self._links, frozenset(self._stack.links), self._run_dir.run_id))
        return tuple(sources)

    @property
    def _own_mark(self) -> str | None:
        """What the names of this run's own network namespaces begin with."""
        return None if self._hosted is not None or self._wiring.networks is None else self._wiring.networks.mark

    def _attach(self, hosted: HostedStack, recorder: Recorder, clock: Clock) -> None:
        """Use what `stack up` brought up, its fault proxy too. Raises UnsafeError when it is not whole, or another."""
        fits(hosted, self._stack)
        text = f"attached to stack {hosted.name}, up since {hosted.since_utc}"
        recorder.emit(NoteEvent(at_ns=clock.now_ns(), code="hosted", text=text))
        self._wiring = replace(hosted.wiring, run_dir=str(self._run_dir.path))
        self._log_starts = hosted.log_sizes()
        if hosted.links is not None:
            self._links = ToxiproxyLinks(hosted.links["url"], embedded=hosted.links["embedded"])
        self._hosts = revive_hosts(hosted, self._catalog)

    async def _own(self) -> None:
        """Choose addresses and make hosts for what this run will start. Nothing runs yet."""
        # Socket paths have at most 108 bytes: the run directory's own would be too long. Made once it is journaled.
        self._state_dir = os.path.join(tempfile.gettempdir(), f"blackstart-{secrets.token_hex(6)}")
        if self._stack.links and "://" in self._stack.fault_proxy:
            self._links = ToxiproxyLinks(self._stack.fault_proxy, embedded=False)
        elif self._stack.links:
            self._refuse_to_strand()
        self._wiring = replace(allocate(self._stack, self._state_dir, self._claims), run_dir=str(self._run_dir.path))
        settings = HostSettings(
            run_id=self._run_dir.run_id,
            state_dir=self._state_dir,
            log_dir=str(self._run_dir.logs),
            base_dir=self._stack.base_dir,
        )

        def make(plain: Instance) -> Host:
            instance = equipped(plain, self._plan, self._catalog, self._wiring)
            made: Host = self._catalog.host(instance.host.kind).load()(instance, self._wiring, settings)
            return made

        located = self._hosts = located_hosts(self._stack, self._catalog, make)

        async def place() -> None:
            self._wiring = await with_places(self._stack, self._wiring, located)
            self._hosts = {name: located.get(name) or make(each) for name, each in self._stack.instances.items()}

        self._place = place
        if not await self._premises.lack(located):
            await place()

    def _recipes(self) -> dict[str, JsonObject]:
        return {
            name: {"kind": self._stack.instances[name].host.kind, "recipe": host.recipe()}
            for name, host in self._hosts.items()
        }

    async def _link(self, journal: Journal) -> None:
        """Start the run's own fault proxy unless there is one, and put the stack's links on it; those there are adopted."""
        if not self._stack.links:
            return
        if self._links is None:
            self._links = await self._start_proxy(journal)

        def announce(name: str, listen: str, upstream: str) -> None:
            if self._proxy is None:  # a proxy of our own ends with its links
                journal.append(Made(link=name, listen=listen, upstream=upstream))

        self._made_links = tuple(self._stack.links)
        upstreams = {name: upstream(self._stack, self._wiring, link) for name, link in self._stack.links.items()}
        listening = await create_links(self._links, self._stack, self._wiring, upstreams, announce)
        for name, where in listening.items():
            if where.rpartition(":")[2] != self._wiring.links[name].rpartition(":")[2]:
                raise UnsafeError(f"link {name}: told to listen at {self._wiring.links[name]}, it does at {where}")
        journal.append(Linked(recipe=self._links.recipe()))

    async def _start_proxy(self, journal: Journal) -> Links:
        log = self._run_dir.logs / "fault-proxy.log"
        # By its mark it is found although we die before it is journaled.
        env = {MARKER: StateDir.at(self._state_dir).marker("fault proxy")}
        if self._stack.fault_proxy == "embedded":
            self._proxy = await start_embedded(self._plan.experiment.seed, log, env)
        else:
            self._proxy = await start_toxiproxy(log, env)

        def spawned(pid: int) -> None:
            journal.append(Spawned(what="fault proxy", pid=pid, ticks=start_ticks(pid), order=PROXY))

        spawned(self._proxy.pid)
        self._proxy.on_restart = spawned
        return self._proxy.links

    def _refuse_to_strand(self) -> None:
        """Raise UnsafeError when a fault proxy of this run would end under a client that lives on.

        A link that the load enters through has the load for its client.
        """
        entries = " ".join((self._stack.entry or "", *(one.entry or "" for one in self._stack.regions.values())))
        for link in self._stack.links.values():
            client = self._stack.instances.get(link.source)
            if client is None:  # `from: clients`
                continue
            kind = self._catalog.host(client.host.kind)
            if not kind.started_by_run and kind.name != "external" and f"${{link:{link.name}}}" not in entries:
                raise UnsafeError(
                    f"link {link.name}: its client {client.name} runs already and would lose its path with this run's fault proxy",
                    remedy=f"`blackstart stack up {self._stack.name}` first: its fault proxy stays, and runs attach to it",
                )

    def _open(self, journal: Journal, clock: Clock) -> None:
        journal.append(
            Opened(
                run_id=self._run_dir.run_id,
                pid=os.getpid(),
                ticks=start_ticks(os.getpid()),
                origin_ns=clock.origin_ns,
                stack=self._stack.name,
                wiring=self._wiring,
                hosts=self._recipes(),
                links=self._links.recipe() if self._links else None,
                state_dir=None if self._hosted is not None else self._state_dir,
            )
        )

    def _probe(self, spec: ProbeSpec, instance: str | None = None) -> Probe:
        kind = self._catalog.probe(spec.kind)
        probe: Probe = kind.load()(
            kind.params.model_validate(spec.params), self._wiring, self._stack.base_dir, instance
        )
        return probe

    async def watch(self, live: LiveView, recorder: Recorder) -> None:
        """Probe, and count traffic on the links that will be broken, until cancelled."""

        def sample(event: ProbeEvent) -> None:
            recorder.emit(event)
            live.feed_probe(event.name, event.at_ns, event.value if event.ok else None)

        assert self._clock is not None
        async with asyncio.TaskGroup() as group:
            for spec in self._stack.probes.values():
                group.create_task(watch(spec, self._probe(spec), self._clock, sample))
            group.create_task(self.traffic.count())

    async def listen(self, recorder: Recorder) -> None:
        """Follow the stack's signals until cancelled; called again, go on where that was."""

        def signal(seen: StackSignal) -> None:
            recorder.emit(SignalEvent(at_ns=seen.at_ns, source=seen.source, event=seen.event, fields=seen.fields))

        assert self._clock is not None
        log_dir = str(self._run_dir.logs) if self._hosted is None else self._hosted.log_dir
        if not self._followers:
            self._followers = [
                follow_source(source, log_dir, self._wiring, self._clock) for source in self._stack.signals
            ]
        sources = {source.source for source in self._stack.signals}
        async with asyncio.TaskGroup() as group:
            for host in self._hosts.values():
                if isinstance(host, FollowsLog) and host.instance in sources:
                    group.create_task(host.follow_log())
            for follower in self._followers:
                group.create_task(follower.follow(signal))

    async def export(self, recorder: Recorder) -> None:
        """Take the journals that the stack exports into the run directory; what came of each is noted."""
        assert self._clock is not None
        await take_exports(self._plan, self._wiring, self._run_dir.path, recorder, self._clock)

    def assure(self) -> None:
        """Tell the reaper, and whoever waits for our locks, that we live; nothing before it is armed or after it was dismissed."""
        if self._guard is not None:
            self._guard.assure()
            self._renew_locks()

    async def guarded(self) -> str:
        """What is wrong with the reaper, when it guards us no more before we dismiss it."""
        assert self._guard is not None
        return await self._guard.failed()

    async def all_ready(self) -> bool:
        """Whether every instance with a `ready` probe answers it now."""
        specs = [(name, instance.ready.probe) for name, instance in self._stack.instances.items() if instance.ready]
        samples = await asyncio.gather(*(self._probe(spec, name).sample(_READY_LIMIT_NS) for name, spec in specs))
        return all(sample.ok for sample in samples)

    async def role_holder(self, role: str) -> str:
        """Who holds a role now. Raises InjectError when the role's probe names nobody."""
        declared = self._stack.roles[role]
        spec = ProbeSpec(name=role, kind=declared.kind, params=declared.params)
        sample = await self._probe(spec).sample(5 * _READY_LIMIT_NS)
        if not sample.ok or not sample.text:
            raise InjectError(f"role {role!r}: cannot tell who holds it: {sample.error or 'no name'}")
        return sample.text.strip()

    async def stop(self) -> tuple[str, ...]:
        """End what was started, the reaper last; what could not be ended. Idempotent."""
        await self._alerting.end()
        left = await self._end_began()
        for name, host in self._hosts.items():
            if self._hosted is None and self._catalog.host(self._stack.instances[name].host.kind).started_by_run:
                await host.close()
        if self._hosted is not None:
            self._keep_logs(self._hosted)
        elif self._state_dir:
            try:
                await end_stack(self._state_dir)
                shutil.rmtree(self._state_dir, ignore_errors=True)
            except HarnessError as exc:
                left.append(f"stack {self._stack.name}: {exc}")
        left += await self._stop_proxy()
        left += await self._premises.remove()
        if self._audit is not None:
            left += await self._audit.end()
            self._audit = None
        for host in self._hosts.values():
            await host.close()
        self._claims.close()
        guard, self._guard = self._guard, None
        if guard is not None:
            if left or JournalView.read(self._run_dir.undo).unresolved:
                await guard.hand_over()
            else:
                await guard.dismiss()
        return tuple(left)

    def _keep_logs(self, hosted: HostedStack) -> None:
        """Copy what a hosted stack logged during the run into the run's own logs."""
        for path in sorted(Path(hosted.log_dir).glob("*.log")):
            with path.open("rb") as log:
                log.seek(self._log_starts.get(path.name, 0))
                (self._run_dir.logs / path.name).write_bytes(log.read())

    async def _end_began(self) -> list[str]:
        """End what was attached to and did not run when we came; what would not end."""
        left = []
        while self._began:
            name = self._began.pop()
            try:
                await self._hosts[name].stop(_STOP_GRACE_NS)
            except HarnessError as exc:
                left.append(f"instance {name}: {exc}")
        return left

    async def _stop_proxy(self) -> list[str]:
        if self._proxy is not None:
            gone = await end_process(self._proxy.pid, start_ticks(self._proxy.pid))
            await self._proxy.process.wait()
            self._proxy = None
            return [] if gone else ["the fault proxy would not end"]
        left = []
        if self._links is not None:
            for link in self._made_links:
                try:
                    await self._links.delete(link)
                except (InjectError, RevertError) as exc:
                    left.append(f"link {link}: {exc}")
        self._made_links = ()
        return left
