"""Conducts one run from plan to seal. Records everything, judges nothing: P5, record then judge.

Every way out goes through heal: normal end, abort rule, Ctrl-C, a fault that could not be applied, our own exception.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from harness import __version__
from harness.errors import HarnessBug, InjectError, UnsafeError
from harness.history.events import AbortEvent, LoadEvent, NoteEvent, PhaseEvent, PhaseName, RunEvent
from harness.model.arrivals import arrival_json
from harness.model.catalog import Catalog
from harness.model.plan import Plan, PlannedFault, Target
from harness.model.ports import Engine, LiveBatch, LoadJob
from harness.model.predicate import Predicate
from harness.model.wiring import Wiring
from harness.run.abort import AbortTripped, Interrupts
from harness.run.clock import MonotonicClock, WallWatch
from harness.run.faultlife import FaultLife
from harness.run.holds import Holds
from harness.run.journal import Closed, Journal, JournalView
from harness.run.offered import OfferedLoad, surge_factor
from harness.run.recorder import Recorder
from harness.run.roles import resolve
from harness.run.steady import not_steady, refused_unsteady, starved_ratio
from harness.run.timeline import Timeline, placed
from harness.run.traffic import LinkTraffic
from harness.run.world import RunWorld
from harness.store.rundir import RunDir

__all__ = ["Conductor", "LiveView", "Parts", "Session"]

SECOND_NS = 1_000_000_000
SETTLED_FOR_NS = 3 * SECOND_NS
FINAL_AGAIN_NS = 2 * SECOND_NS
_LAST_WORDS_NS = SECOND_NS // 2
_TICK_S = 0.1
_BEAT_S = 1.0
E = TypeVar("E", bound=BaseException)


class LiveView(Protocol):
    """The run so far, as steady state, abort rules and settling see it."""

    def feed(self, batch: LiveBatch) -> None: ...
    def feed_probe(self, name: str, at_ns: int, value: float | None) -> None: ...
    def observed(self, predicate: Predicate, now_ns: int, over_ns: int) -> float | None:
        """What it limits, over the trailing `over_ns`; None without data."""
        ...

    def holds(self, predicate: Predicate, now_ns: int, over_ns: int) -> bool | None:
        """Whether it holds over the trailing `over_ns`; None without data."""
        ...


class Session(Protocol):
    """The stack while the run lasts: hosts, links, probes, and the processes behind them."""

    async def start(self, journal: Journal, recorder: Recorder, clock: MonotonicClock) -> RunWorld:
        """Bring up or attach to everything and wait until it is ready. Raises UnsafeError, nothing left running."""
        ...

    async def watch(self, live: LiveView, recorder: Recorder) -> None:
        """Probe until cancelled."""
        ...

    async def listen(self, recorder: Recorder) -> None:
        """Follow the stack's signals until cancelled; called again, go on where that was."""
        ...

    async def export(self, recorder: Recorder) -> None:
        """Take the journals that the stack exports into the run directory; what came of each is noted."""
        ...

    def assure(self) -> None:
        """Tell the reaper that we live. Legal at any time; called every second from the beginning to the very end."""
        ...

    async def guarded(self) -> str:
        """Returns what is wrong with the reaper ("is stopped"), when it guards us no more."""
        ...

    async def all_ready(self) -> bool:
        """Whether every instance with a `ready` probe answers it now."""
        ...

    async def role_holder(self, role: str) -> str:
        """Who holds a role now. Raises InjectError when nobody can be named."""
        ...

    @property
    def traffic(self) -> LinkTraffic:
        """The counters of the links that will be broken. Legal once started."""
        ...

    @property
    def entries(self) -> tuple[str, Mapping[str, str]]:
        """The stack's entry URL, and each region's, resolved."""
        ...

    async def stop(self) -> tuple[str, ...]:
        """End what the run started and the reaper; what could not be ended. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a conductor conducts: the stack, the load, and the view of the run so far."""

    session: Session
    engine: Engine
    live: LiveView


class Conductor:
    """One run. `conduct` never raises for what the stack does: that is in the record; `interrupts` cuts it short."""

    def __init__(self, plan: Plan, run_dir: RunDir, catalog: Catalog, parts: Parts) -> None:
        self.plan = plan
        self.run_dir = run_dir
        self.clock = MonotonicClock()
        self._wall = WallWatch(self.clock)
        self.recorder = Recorder(run_dir.events, plan.experiment.origin.secrets)
        self.interrupts = Interrupts()
        self._catalog = catalog
        self._session = parts.session
        self._engine = parts.engine
        self._live = parts.live
        self._journal = Journal(run_dir.undo)
        self._timeline: Timeline | None = None
        self._aborted: AbortTripped | None = None
        self._wiring = Wiring()
        self._loading = False
        self._t0_ns: int | None = None
        self._offered = OfferedLoad(parts.engine, plan.experiment.load.arrival, self.clock)

    async def conduct(self, facts: tuple[NoteEvent, ...] = ()) -> None:
        """From `plan` to `seal`. Afterwards the run directory holds all that there is to know, `facts` known before included."""
        self._begin()
        self._phase("preflight")
        for fact in facts:
            self.recorder.emit(replace(fact, at_ns=self.clock.now_ns()))
        self._assure()
        try:
            try:
                await self._watched(self._stages)
            finally:
                await self._heal()
            if self._loading:
                await self._after()
        except UnsafeError as exc:
            self._note("refused", str(exc), "refused")
        except Exception as exc:  # ours: recorded, the verdict void, the stack whole
            cause = _innermost(exc)
            self._abort(AbortTripped("error", f"{type(cause).__name__}: {cause}"))
        finally:
            try:
                await self._close()
            finally:
                self._beat.cancel()

    def _assure(self) -> None:
        """Beat, and again in a second: a slow start or a slow final read must not look like our death to the reaper."""
        self._session.assure()
        self._beat = asyncio.get_running_loop().call_later(_BEAT_S, self._assure)

    def _begin(self) -> None:
        plan = self.plan
        self.recorder.emit(
            RunEvent(
                at_ns=0,
                run_id=self.run_dir.run_id,
                name=plan.experiment.name,
                wall_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
                origin_ns=self.clock.origin_ns,
                seed=plan.experiment.seed,
                plan_hash=plan.hash,
                version=__version__,
            )
        )
        self._phase("plan")

    async def _watched(self, body: Callable[[], Awaitable[None]]) -> None:
        """Run `body` under every watcher; an abort is kept, a failed fault noted, anything else raised."""
        try:
            async with asyncio.TaskGroup() as group:
                watchers = [group.create_task(watcher()) for watcher in (self.interrupts.tripped, self._rules)]
                await body()
                for watcher in watchers:
                    watcher.cancel()
        except* AbortTripped as tripped:
            self._abort(_first(tripped, AbortTripped))
        except* InjectError as failed:
            self._note("inject", str(_first(failed, InjectError)), "unprovable")
        except* UnsafeError as refused:
            raise _first(refused, UnsafeError) from None

    async def _stages(self) -> None:
        self._phase("start")
        world = await self._session.start(self._journal, self.recorder, self.clock)
        self._wiring = world.wiring
        world.offered = self._offered
        records, holds = (self._journal, self.recorder), Holds()
        lives = [FaultLife(fault, world, self._catalog.fault(fault.kind), records, holds) for fault in self.plan.faults]
        steps = [placed(step, world.wiring) for step in self.plan.steps]
        self._timeline = Timeline(lives, steps, self.clock, self.recorder, self)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self._session.watch(self._live, self.recorder)),
                group.create_task(self._session.listen(self.recorder)),
                group.create_task(self._guarded()),
            ]
            await self._scenario()
            for task in background:
                task.cancel()

    async def _scenario(self) -> None:
        experiment = self.plan.experiment
        await self._session.traffic.rest()
        job = self._job()
        await self._engine.start(job, self._feed)
        self.recorder.listen(self._offered.heard)
        self._offered.began(max(job.start_at_ns, self.clock.now_ns()))
        self._loading = True
        self._phase("warmup")
        await self._wait(experiment.load.warmup_ns)
        self._phase("steady")
        await self._wait(experiment.steady_state.for_ns)
        self._steady_or_refuse()
        self._phase("inject")
        self._t0_ns = self.clock.now_ns()
        assert self._timeline is not None
        await self._timeline.run(self._t0_ns, experiment.observe_ns)
        self._phase("observe")
        await self._wait(experiment.observe_ns)
        self._phase("heal")
        await self._timeline.heal()
        self._phase("settle")
        await self._settle()

    def _feed(self, batch: LiveBatch) -> None:
        self._live.feed(batch)
        self._offered.feed(batch)

    def _job(self) -> LoadJob:
        load = self.plan.experiment.load
        entry, regions = self._session.entries
        return LoadJob(
            profile=load.profile,
            options=self._wiring.filled(load.options),
            arrival=arrival_json(load.arrival),
            timeout_ns=load.timeout_ns,
            seed=self.plan.experiment.seed,
            entry=entry,
            regions=regions,
            groups=load.groups,
            users=load.users,
            users_max=load.users_max,
            deadline_ns=load.deadline_ns,
            prober_every_ns=load.prober.every_ns if load.prober else None,
            prober_timeout_ns=load.prober.timeout_ns if load.prober else None,
            workers=load.workers,
            origin_ns=self.clock.origin_ns,
            start_at_ns=self.clock.now_ns(),  # at once when all are armed: the warm-up is as long as it says
            out_dir=str(self.run_dir.ops),
            surge_factor=surge_factor(self.plan.faults),
            crew=load.crew,
        )

    def _steady_or_refuse(self) -> None:
        steady = self.plan.experiment.steady_state
        now_ns = self.clock.now_ns()
        missed = not_steady(steady, self._live, now_ns)
        self._note("steady", f"steady state not met: {missed}" if missed else "steady state met", "info")
        if missed:
            raise refused_unsteady(missed, starved_ratio())

    async def _settle(self) -> None:
        """Return when all is ready and the rules have held long enough to see a window of calm, or time is up."""
        begin_ns = self.clock.now_ns()
        need_ns = max(SETTLED_FOR_NS, self.plan.window_ns + SECOND_NS)
        good_since_ns: int | None = None
        # For the record: the last look at which it was not so, and the first at which it was for good.
        seen: dict[str, int] = {}
        while (
            now_ns := self.clock.now_ns()
        ) < begin_ns + self.plan.experiment.settle_ns and not self.interrupts.second.is_set():
            rules = self.plan.experiment.settled_when
            held = all(self._live.holds(rule, now_ns, SETTLED_FOR_NS) is True for rule in rules)
            if not held or not await self._session.all_ready():
                good_since_ns = None
                seen = {"not_yet_ns": now_ns}
            elif good_since_ns is None:
                good_since_ns = now_ns
                seen["since_ns"] = self.clock.now_ns()
            elif now_ns - good_since_ns >= need_ns:
                text = "every instance ready, every settling rule held"
                self.recorder.emit(NoteEvent(at_ns=self.clock.now_ns(), code="settled", text=text, data=seen))
                return
            await asyncio.sleep(_TICK_S)
        self._note("settled", "not settled within the time given", "warning")

    async def _heal(self) -> None:
        if self._timeline is not None and any(life.stands for life in self._timeline.lives):
            try:
                self._phase("heal")
            finally:  # on a full disk, too
                await self._timeline.heal()

    async def _after(self) -> None:
        """Drain and, unless a person stopped the run, final reads; a rule's abort settles first."""
        by_person = self._aborted is not None and self._aborted.by != "rule"
        if self._aborted is not None and not by_person:
            self._phase("settle")
            await self._watched(self._settle)
        async with asyncio.TaskGroup() as group:
            heard = group.create_task(self._session.listen(self.recorder))
            try:
                await self._drain_and_read(by_person)
            finally:
                heard.cancel()

    async def _drain_and_read(self, by_person: bool) -> None:
        self._phase("drain")
        await self._engine.stop_arrivals()
        load = self.plan.experiment.load
        await self._engine.drain(0 if self.interrupts.second.is_set() else load.deadline_ns or 4 * load.timeout_ns)
        if by_person:
            return
        self._phase("final")
        await self._watched(self._final)
        if self.plan.experiment.stack.signals:
            await self._wait(_LAST_WORDS_NS)  # what ran last is told last

    async def _final(self) -> None:
        experiment = self.plan.experiment
        _, entries = self._session.entries
        asked = experiment.final.regions or tuple(entries)
        regions = {name: entries[name] for name in (*asked, *experiment.final.evidence) if name in entries}
        await self._engine.final(regions, experiment.final.within_ns)
        if any(check.kind == "converged" for check in experiment.checks):
            await self._wait(FINAL_AGAIN_NS)  # equal once may be luck; equal again is convergence
            await self._engine.final(regions, experiment.final.within_ns)
        if experiment.stack.exports:
            await self._session.export(self.recorder)

    async def _close(self) -> None:
        """Stop the load, then the stack; seal the record. Runs on every way out."""
        try:
            try:
                report = await self._engine.close()
                self.recorder.emit(LoadEvent(at_ns=self.clock.now_ns(), report=asdict(report)))
            finally:
                left = await self._session.stop()
            for what in left:
                self._note("residue", what, "dirty")
            if not left and not JournalView.read(self.run_dir.undo).unresolved:
                self._journal.append(Closed(by="conductor"))
            stepped = self._wall.stepped()
            if stepped:
                self._note("wall-clock", stepped, "warning")
            self._phase("seal")
        finally:
            self._journal.close()
            self.recorder.seal()

    def exposed(self, fault: PlannedFault) -> None:
        """Record how much crossed a fault's links before it, where somebody counts: the proof that load reaches them."""
        note = self._session.traffic.noted(fault)
        if note is not None:
            self.recorder.emit(note)

    async def resolve(self, target: Target) -> Target:
        """The target with every role replaced by who holds it now, which is recorded. Raises InjectError."""
        return await resolve(target, self.plan.experiment.stack, self._holder)

    async def _holder(self, role: str) -> str:
        name = await self._session.role_holder(role)
        self._note("role", f"{role} is held by {name}", "info")
        return name

    async def _rules(self) -> None:
        """Abort rules, every 100 ms, over ops by completion, from T0 on."""
        rules = self.plan.experiment.abort_when
        while True:
            await asyncio.sleep(_TICK_S)
            if self._t0_ns is None or self._aborted is not None:
                continue
            now_ns = self.clock.now_ns()
            for rule in rules:
                if self._live.holds(rule, now_ns, rule.for_ns or SECOND_NS) is True:
                    raise AbortTripped("rule", f"abort rule held: {rule}")

    async def _guarded(self) -> None:
        wrong = await self._session.guarded()
        raise AbortTripped("reaper", f"the reaper {wrong}: nothing may stand unguarded")

    async def _wait(self, length_ns: int) -> None:
        """Wait, unless told to hurry."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(length_ns / 1e9):
                await self.interrupts.second.wait()

    def _phase(self, name: PhaseName) -> None:
        self.recorder.emit(PhaseEvent(at_ns=self.clock.now_ns(), phase=name))

    def _note(self, code: str, text: str, level: str) -> None:
        self.recorder.emit(NoteEvent(at_ns=self.clock.now_ns(), code=code, text=text, level=level))  # type: ignore[arg-type]

    def _abort(self, why: AbortTripped) -> None:
        if self._aborted is None:
            self._aborted = why
            self.recorder.emit(AbortEvent(at_ns=self.clock.now_ns(), by=why.by, reason=why.reason))


def _first(group: BaseExceptionGroup[E], kind: type[E]) -> E:
    """The first exception of a kind in a possibly nested group that holds only that kind."""
    for exc in group.exceptions:
        return _first(exc, kind) if isinstance(exc, BaseExceptionGroup) else exc
    raise HarnessBug("an exception group is never empty")


def _innermost(exc: Exception) -> BaseException:
    """What really went wrong, out of groups that hold it alone."""
    while isinstance(exc, ExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc
