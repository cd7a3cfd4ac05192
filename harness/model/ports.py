"""The seams: every protocol through which parts that may not import each other meet. Values that cross them live here too.

Instants are ns since the run's origin (`Clock`); wall time is noted once per run. Every call that leaves the process has
a deadline inside the implementation: none of these may hang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pydantic import Field

from harness.model.fields import JsonObject, Params
from harness.model.plan import Target
from harness.model.stack import Instance
from harness.model.wiring import Wiring

__all__ = [
    "Attachment",
    "Audited",
    "Clock",
    "Crashable",
    "Deadlined",
    "Engine",
    "Evidence",
    "FaultState",
    "FollowsLog",
    "Host",
    "HostFactory",
    "HostSettings",
    "Identity",
    "Injector",
    "Layered",
    "LinkControl",
    "LinkCounters",
    "LinkState",
    "LiveBatch",
    "LiveOp",
    "LoadControl",
    "LoadJob",
    "LoadReport",
    "Located",
    "Namespaced",
    "Networked",
    "Patient",
    "Probe",
    "ProbeSample",
    "Renderer",
    "Signals",
    "StackSignal",
    "Surging",
    "Toxic",
    "WorkerReport",
    "World",
]


class Clock(Protocol):
    """The run's one clock: CLOCK_MONOTONIC, ns since the run's origin."""

    @property
    def origin_ns(self) -> int:
        """CLOCK_MONOTONIC ns at the origin, for other processes on this machine."""
        ...

    def now_ns(self) -> int:
        """Ns since the origin."""
        ...

    async def sleep_until(self, at_ns: int) -> None:
        """Return at or just after `at_ns`; at once when it has passed."""
        ...


# ---- instances -------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """A toxic as Toxiproxy names it. `stream` is upstream (client to server) or downstream."""

    name: str
    type: str
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """A proxy as its server reports it now."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[Toxic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCounters:
    """Traffic through a link so far, our witnesses' own apart. None where the server cannot tell."""

    bytes_up: int
    bytes_down: int
    connections_open: int
    connections_total: int


class LinkControl(Protocol):
    """The fault proxy, ours or Shopify's. Every change is read back; foreign toxics raise UnsafeError and stay."""

    @property
    def url(self) -> str:
        """The control API's base URL."""
        ...

    @property
    def embedded(self) -> bool:
        """Whether it is our own server, with its additions (`partition` toxic, live counters)."""
        ...

    async def get(self, link: str) -> LinkState:
        """The link as it is now. Raises InjectError when the server has no such proxy or does not answer in time."""
        ...

    async def add(self, link: str, toxic: Toxic) -> None:
        """Add a toxic; a toxic of the same name is updated."""
        ...

    async def remove(self, link: str, toxic: str) -> None:
        """Remove one of our toxics. Legal when it is not there."""
        ...

    async def set_enabled(self, link: str, enabled: bool) -> None:
        """Open or close the link. Closing ends its connections."""
        ...

    async def counters(self, link: str) -> LinkCounters | None:
        """Traffic so far, or None where the server does not count live."""
        ...

    async def gone(self) -> bool:
        """Whether the server was a process of ours that is no more: then nothing that was put on it stands."""
        ...

    async def recreate(self, link: str) -> None:
        """Delete the proxy and make it again, with those of our toxics that should still stand. All its connections end.

        Raises UnsafeError when it is not ours to delete, or carries foreign toxics.
        """
        ...

    async def restart(self) -> None:
        """Kill the server and start it again, with all that should still stand; for the reaper, killing is all.

        Raises UnsafeError when this run did not start it.
        """
        ...

    def recipe(self) -> JsonObject:
        """What another process needs to build a control for the same server."""
        ...


# ---- faults ----------------------------------------------------------------------------------------------------------


class FaultState(Params):
    """Base of what an injector must know to undo itself; journaled as JSON before `apply`, read back by the reaper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One look at whether a fault's effect is there. `at_ns` is when it was seen; `what` one sentence for the report."""

    present: bool
    at_ns: int
    what: str


class LoadControl(Protocol):
    """The load while it is offered, as a fault sees it. Rates count ops that were started, or due and dropped."""

    async def surge(self, name: str, factor: float, until_ns: int) -> None:
        """Offer `factor` times the planned rate from now on. Raises InjectError when the engine cannot."""
        ...

    async def calm(self, name: str) -> None:
        """End that surge now. Legal when there is none."""
        ...

    def offered_per_s(self, over_ns: int) -> float:
        """Ops offered in the last `over_ns`, as a rate."""
        ...

    def planned_per_s(self, over_ns: int) -> float:
        """Arrivals planned in the last `over_ns` without any surge, as a rate."""
        ...


class World(Protocol):
    """All that an injector may touch. Built by the conductor, and rebuilt from the journal by the reaper."""

    @property
    def run_id(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def wiring(self) -> Wiring: ...
    def host(self, instance: str) -> Host:
        """The host of one instance. Raises HarnessBug for a name outside the plan."""
        ...

    @property
    def links(self) -> LinkControl:
        """The fault proxy. Raises InjectError when the stack has no link."""
        ...

    @property
    def load(self) -> LoadControl:
        """The load. Raises InjectError when none is offered: before it begins, and in the reaper, which ends it."""
        ...


class Injector(Protocol):
    """Carries out one fault on one target. Made by calling a FaultKind's code with its params: `code(params)`.

    A cut-short `apply` leaves at most what `revert(state)` undoes. `witness` and `verify` look from outside.
    """

    state_type: type[FaultState]

    async def prepare(self, target: Target, world: World) -> Any:
        """The target's state before anything is touched (a `state_type`). Raises InjectError or UnsafeError to refuse."""
        ...

    async def apply(self, state: Any, world: World) -> None:
        """Break it. Raises InjectError when that fails; `revert` follows in any case."""
        ...

    async def witness(self, state: Any, world: World) -> Evidence:
        """Whether the effect is there now; polls for a short bounded time until it is, then says no."""
        ...

    async def revert(self, state: Any, world: World) -> None:
        """Put it back. Idempotent, legal when nothing was applied, tolerant of a vanished or replaced target."""
        ...

    async def verify(self, state: Any, world: World) -> Evidence:
        """Whether the effect is *gone* and the target is as `prepare` found it: `present=False` is the good answer."""
        ...


@runtime_checkable
class Layered(Protocol):
    """An injector of which several, with different parameters, may stand on one target: each adds its layer to the original."""

    def over(self, below: Any) -> Any:
        """This fault's state when it stands on another of its kind: the same original, seen with its own parameters."""
        ...

    async def compose(self, state: Any, layers: Sequence[Any], world: World) -> None:
        """Bring about what `layers` (all of this kind, at least one, oldest first) do together to the original in `state`."""
        ...


@runtime_checkable
class Deadlined(Protocol):
    """An injector whose effect ends by itself at the fault's deadline, even when all of Blackstart is dead."""

    def with_deadline(self, state: Any, deadline_ns: int) -> Any:
        """The state with the deadline in it (ns since the run's origin), as it is journaled and then applied."""
        ...


@runtime_checkable
class Patient(Protocol):
    """An injector that runs other people's code, which may take longer than ours is given."""

    @property
    def patience_ns(self) -> int:
        """How long one call of it may take, where that is more than the usual limit."""
        ...


# ---- probes, signals -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSample:
    """One answer. `ok` False is a failed sample: no sample, for measures. `value` is None when the answer has no number."""

    ok: bool
    value: float | None = None
    text: str | None = None
    error: str | None = None


class Probe(Protocol):
    """Asks one question, bounded in time."""

    async def sample(self, timeout_ns: int) -> ProbeSample:
        """The answer now. Never raises for a stack that misbehaves: that is a sample with `ok=False`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSignal:
    """An authoritative event of the stack: a promotion, a route change. `at_ns` is when we learned of it."""

    at_ns: int
    source: str
    event: str
    fields: Mapping[str, str]


class Signals(Protocol):
    """Follows one declared source of stack events."""

    async def follow(self, sink: Callable[[StackSignal], None]) -> None:
        """Report events until cancelled."""
        ...


# ---- load ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOp:
    """An op as the conductor sees it while the run goes on: enough for steady state, abort rules and progress."""

    intended_ns: int
    done_ns: int
    first_ns: int | None
    outcome: str
    f: str
    group: str | None
    region: str | None
    served_by: str | None
    phase: str
    wrong: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBatch:
    """What one worker reports every 100 ms: ops that ended, ops still open (f, intended_ns), and its own lateness.

    `dropped` are the intended instants of arrivals it could not start.
    """

    worker: int
    at_ns: int
    ended: tuple[LiveOp, ...]
    open: tuple[tuple[str, int], ...]
    dropped: tuple[int, ...]
    started_count: int
    late_p99_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob:
    """All that an engine needs. `entry` is the stack's entry URL, `regions` region -> its entry URL.

    Ops are due from `start_at_ns` on (since the origin) until `stop_arrivals`. `out_dir` gets `*.parquet`. There must be
    users for `surge_factor` times the planned rate.
    """

    profile: str
    options: JsonObject
    arrival: JsonObject
    timeout_ns: int
    seed: int
    entry: str
    regions: Mapping[str, str]
    groups: Mapping[str, float]
    users: int
    users_max: int | None
    deadline_ns: int | None
    prober_every_ns: int | None
    prober_timeout_ns: int | None
    workers: int
    origin_ns: int
    start_at_ns: int
    out_dir: str
    surge_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """One worker's own account, for validity. `exit_code` is None while it lives; anything but 0 makes a run unprovable.

    Lateness is of starts against intended times, over all phases; `run_delay_ns` is time spent waiting for a CPU.
    `stalls` are the longest halts of the generator itself, (begin since the run's origin, length, "gc" or "cpu"), in ns.
    """

    worker: int
    exit_code: int | None
    started_count: int
    ended_count: int
    dropped_count: int
    late_p50_ns: int | None
    late_p99_ns: int | None
    late_max_ns: int | None
    run_delay_ns: int | None
    cpu_ratio: float | None
    gc_pause_max_ns: int | None
    error: str | None = None
    stalls: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What the engine did. `model` is the profile's declared model (None: its ops are not checked).

    `unread` lists "session@region" whose final read never succeeded. `closed_loop` engines cannot keep offering load.
    """

    engine: str
    profile: str
    model: str | None
    closed_loop: bool
    workers: tuple[WorkerReport, ...]
    unread: tuple[str, ...] = ()


class Engine(Protocol):
    """Offers load from its own processes. Calls come in this order; `close` may come at any time and always."""

    async def start(self, job: LoadJob, sink: Callable[[LiveBatch], None]) -> None:
        """Spawn workers, return once all are connected and armed. Raises SpecError for a bad profile, UnsafeError else."""
        ...

    async def stop_arrivals(self) -> None:
        """No arrival (nor prober op) is due from now on."""
        ...

    async def drain(self, limit_ns: int) -> None:
        """Return when nothing is in flight; what still is after `limit_ns` is cut and recorded so."""
        ...

    async def final(self, regions: Mapping[str, str], within_ns: int) -> None:
        """Final reads of every session with an acknowledged write, at each region's entry, retried until `within_ns`."""
        ...

    async def close(self) -> LoadReport:
        """End the workers, records flushed and closed. Idempotent."""
        ...

    def dead(self) -> Sequence[int]:
        """Workers that died on their own so far."""
        ...


@runtime_checkable
class Surging(Protocol):
    """An engine that can offer more than was planned, for a while."""

    async def surge(self, name: str, factor: float, begin_ns: int, until_ns: int) -> None:
        """Offer `factor` times the planned rate in [begin_ns, until_ns). Raises InjectError when a worker does not take it."""
        ...

    async def calm(self, name: str) -> None:
        """End that surge now. Legal when there is none. Raises InjectError when a living worker does not answer."""
        ...


# ---- outputs ---------------------------------------------------------------------------------------------------------


@runtime_checkable
class Renderer(Protocol):
    """Turns a result into one file's text. Pure."""

    def __call__(self, result: Any) -> str: ...
