"""Outages of the scripted server seen by the real load engine, each put on record as a run of its own and measured."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.history.events import Event, FaultEvent, LoadEvent, PhaseEvent, RunEvent
from harness.history.history import History
from harness.history.table import OpTable
from harness.load.engine import AsyncioEngine
from harness.measure.good import Bools
from harness.measure.measure import measure
from harness.model import chance
from harness.model.arrivals import arrival_json
from harness.model.experiment import SLO, ArrivalSpec, Experiment, LoadSpec, SteadyState
from harness.model.measured import Measures
from harness.model.plan import Plan, PlannedFault, Target
from harness.model.ports import LoadJob, LoadReport
from harness.model.predicate import MeasureRef, Predicate
from harness.model.stack import HostSpec, Instance, Stack

MS, S = 1_000_000, 1_000_000_000
SERVER = Path(__file__).with_name("server.py")
CALM_S = 2.5
PATIENCE_NS = 10 * S
SLOW = SLO(name="fast", target_ratio=0.99, window_ns=30 * 86400 * S, under_ns=100 * MS)


@dataclass(frozen=True, kw_only=True)
class Outage:
    """The server is `out` for `for_ns`, `times` in a row, each `every_ns` after the one before began."""

    out: str
    for_ns: int
    times: int = 1
    every_ns: int = 0

    def __str__(self) -> str:
        return f"{self.out} {self.for_ns / S:g} s"


@dataclass(frozen=True, kw_only=True)
class Client:
    """Who looks at it: one load engine with open-loop Poisson arrivals. `errors`: what the server always fails."""

    name: str
    timeout_ns: int = S
    rate_per_s: float = 200.0
    errors: float = 0.0
    slos: tuple[SLO, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Truth:
    """When the server was first out and last back, by its own log: each between two stamps, ns since the origin."""

    began: tuple[int, int]
    ended: tuple[int, int]

    @property
    def shortest_ns(self) -> int:
        return self.ended[0] - self.began[1]

    @property
    def longest_ns(self) -> int:
        return self.ended[1] - self.began[0]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of one outage, cut out of the engine's record. Both None for a stretch of calm."""

    client: Client
    outage: Outage | None
    truth: Truth | None
    history: History
    plan: Plan
    measures: Measures

    @property
    def late_p99_ns(self) -> int:
        """By how much the generator itself was late; what it dropped it was late for without end."""
        late = np.where(
            self._dropped, PATIENCE_NS, self.history.ops.ints("sent_ns") - self.history.ops.ints("intended_ns")
        )
        return int(np.quantile(late, 0.99, method="higher"))

    @property
    def _dropped(self) -> Bools:
        return self.history.ops.is_("outcome", "dropped")

    @property
    def holds_truth(self) -> bool:
        """Whether recovery was stated, as an interval, and the server's own outage lies inside."""
        interval = self.measures.recovery.interval
        if self.truth is None or self.measures.recovery.state != "recovered" or interval is None:
            return False
        assert interval.hi_ns is not None
        return interval.lo_ns <= self.truth.longest_ns and interval.hi_ns >= self.truth.shortest_ns

    def __str__(self) -> str:
        found = self.measures.recovery
        span = "-" if found.interval is None else f"[{_ms(found.interval.lo_ns)}, {_ms(found.interval.hi_ns)}] ms"
        truth = "none" if self.truth is None else f"{_ms(self.truth.longest_ns)} ms"
        name = f"{self.outage or 'calm'}, {self.client.name}"
        return f"{name}: {found.state} {span}, truth {truth}, late p99 {_ms(self.late_p99_ns)} ms"


def _ms(at_ns: int | None) -> str:
    return "?" if at_ns is None else f"{at_ns / MS:.1f}"


def plan_of(client: Client, broken: bool) -> Plan:
    window_ns = chance.window_ns(S, client.rate_per_s)
    good = Predicate(
        measure=MeasureRef(name="good"), op=">=", value=0.99, unit="ratio", for_ns=S, text="good >= 99% for 1s"
    )
    experiment = Experiment(
        name="truth",
        title="truth",
        hypothesis="the interval holds the truth",
        source="truth.yaml",
        base_dir="/",
        stack=Stack(
            name="truth",
            base_dir="/",
            instances={"scripted": Instance(name="scripted", host=HostSpec(kind="process", params={}))},
        ),
        seed=1,
        load=LoadSpec(profile="http", arrival=ArrivalSpec(rate_per_s=client.rate_per_s), timeout_ns=client.timeout_ns),
        slos=client.slos,
        steady_state=SteadyState(for_ns=int(CALM_S * S), require=()),
        recovered_when=good,
    )
    faults = (
        PlannedFault(
            id="out",
            entry="out",
            kind="scripted",
            params={},
            targets=(Target(kind="instance", name="scripted"),),
            at_ns=0,
            for_ns=None,
            ends_itself=True,
            what="",
            clients_see="",
            on_revert="",
        ),
    )
    return Plan(experiment=experiment, faults=faults if broken else (), window_ns=window_ns, longest_ns=60 * S)


@asynccontextmanager
async def scripted(seed: int, errors: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """The server as a process of its own; it ends with its stdin."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", str(SERVER), "--seed", str(seed), "--errors", str(errors)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def said(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = await process.stdout.readline()
    assert line, "the scripted server ended"
    return json.loads(line)  # type: ignore[no-any-return]


async def watch(client: Client, outages: Sequence[Outage], seed: int, folder: Path, calm_s: float = 0) -> list[Seen]:
    """Offer load to a server that goes out again and again, and measure each outage by itself.

    Between two outages there is calm: the end of one is watched in it, and the steady state before the next. With
    `calm_s`, a last stretch of so many seconds in which nothing is broken is measured too.
    """
    origin_ns = time.monotonic_ns()
    chance = random.Random(seed)
    told: list[_Told] = []
    engine = AsyncioEngine()
    async with scripted(seed, client.errors) as server:
        port = (await said(server))["port"]
        try:
            await engine.start(_job(client, seed, f"http://127.0.0.1:{port}", (origin_ns, folder)), lambda _: None)
            await asyncio.sleep(0.5)
            for outage in outages:
                began_ns = time.monotonic_ns() - origin_ns
                await asyncio.sleep(CALM_S + chance.uniform(0, 0.3))
                told.append(await _order(outage, server, (origin_ns, began_ns)))
            calm_ns = time.monotonic_ns() - origin_ns
            await asyncio.sleep(calm_s or CALM_S)
            ended_ns = time.monotonic_ns() - origin_ns
            await engine.stop_arrivals()
            await engine.drain(2 * S)
        finally:
            report = await engine.close()
    ops = OpTable.read(folder)
    ends = [*(following.effect[0] for following in told[1:]), ended_ns][: len(told)]
    found = [_seen(client, one, ops, (one.steady_ns, end_ns), report) for one, end_ns in zip(told, ends, strict=True)]
    return [*found, _seen(client, None, ops, (calm_ns, ended_ns), report)] if calm_s else found


@dataclass(frozen=True, kw_only=True)
class _Told:
    """An outage that was ordered: when its steady state began, its effect as the client can bound it, and the truth."""

    outage: Outage
    steady_ns: int
    effect: tuple[int, int]
    truth: Truth


async def _order(outage: Outage, server: asyncio.subprocess.Process, since: tuple[int, int]) -> _Told:
    """Tell the server to be out and wait until it is back. The effect lies between the order and the server's word."""
    origin_ns, steady_ns = since
    assert server.stdin is not None
    order = {"out": outage.out, "for_ns": outage.for_ns, "times": outage.times, "every_ns": outage.every_ns}
    applying_ns = time.monotonic_ns()
    server.stdin.write(json.dumps(order).encode() + b"\n")
    log = [await said(server)]
    witnessed_ns = time.monotonic_ns()
    log += [await said(server) for _ in range(2 * outage.times - 1)]
    began, ended = ([stamp - origin_ns for stamp in stamps] for stamps in (log[0]["began"], log[-1]["ended"]))
    return _Told(
        outage=outage,
        steady_ns=steady_ns,
        effect=(applying_ns - origin_ns, witnessed_ns - origin_ns),
        truth=Truth(began=(began[0], began[1]), ended=(ended[0], ended[1])),
    )


def _seen(client: Client, told: _Told | None, ops: OpTable, span: tuple[int, int], report: LoadReport) -> Seen:
    """The stretch of the record around one outage, as the record of a run of its own."""
    begin_ns, end_ns = span
    inject_ns = told.effect[0] if told else begin_ns + (end_ns - begin_ns) // 2
    observe_ns = told.truth.ended[1] if told else inject_ns + 1
    events: list[Event] = [
        RunEvent(
            at_ns=0,
            run_id="truth",
            name="truth",
            wall_utc="2026-01-01T00:00:00Z",
            origin_ns=0,
            seed=0,
            plan_hash="",
            version="0",
        ),
        PhaseEvent(at_ns=begin_ns, phase="steady"),
        PhaseEvent(at_ns=inject_ns, phase="inject"),
    ]
    for stage, at_ns in (("applying", 0), ("applied", 1), ("witnessed", 1)) if told else ():
        at_ns = told.effect[at_ns] if told else 0
        events.append(FaultEvent(at_ns=at_ns, id="out", kind="scripted", target="scripted", stage=stage))  # type: ignore[arg-type]
    events += [
        PhaseEvent(at_ns=observe_ns, phase="observe"),
        PhaseEvent(at_ns=end_ns, phase="drain"),
        PhaseEvent(at_ns=end_ns, phase="final"),
        LoadEvent(at_ns=end_ns, report=asdict(report)),
        PhaseEvent(at_ns=end_ns, phase="seal"),
    ]
    intended = ops.ints("intended_ns")
    history = History(ops=ops.where((intended >= begin_ns) & (intended < end_ns)), events=tuple(events))
    plan = plan_of(client, told is not None)
    return Seen(
        client=client,
        outage=told.outage if told else None,
        truth=told.truth if told else None,
        history=history,
        plan=plan,
        measures=measure(history, plan),
    )


def _job(client: Client, seed: int, entry: str, place: tuple[int, Path]) -> LoadJob:
    return LoadJob(
        profile="http",
        options={"served_by_header": "x-instance"},
        arrival=arrival_json(ArrivalSpec(rate_per_s=client.rate_per_s)),
        timeout_ns=client.timeout_ns,
        seed=seed,
        entry=entry,
        regions={},
        groups={},
        users=1,
        users_max=1500,
        deadline_ns=None,
        prober_every_ns=None,
        prober_timeout_ns=None,
        workers=1,
        origin_ns=place[0],
        start_at_ns=0,
        out_dir=str(place[1]),
    )


async def side_by_side(
    wanted: Sequence[tuple[Client, Sequence[Outage]]], seed: int, folder: Path, calm_s: float = 0
) -> list[Seen]:
    """Each client with a server and an engine of its own, all at once; what each saw, in their order."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(watch(client, told, seed, folder / f"{place}", calm_s))
            for place, (client, told) in enumerate(wanted)
        ]
    return [seen for task in tasks for seen in task.result()]


def outages() -> list[tuple[Client, tuple[Outage, ...]]]:
    """Every sort of outage of 0.3, 1 and 3 s, by who can see it. What clients wait out shows in a latency SLO alone."""

    def lasting(*kinds: str) -> tuple[Outage, ...]:
        return tuple(Outage(out=out, for_ns=int(length_s * S)) for length_s in (0.3, 1, 3) for out in kinds)

    return [
        (Client(name="timeout 1 s"), lasting("refuse", "reset")),
        (Client(name="timeout 1 s"), lasting("half")),
        (Client(name="given up after 150 ms", timeout_ns=150 * MS), lasting("freeze")),
        (Client(name="waited out", timeout_ns=10 * S, slos=(SLOW,)), lasting("freeze")),
    ]


def calm_clients() -> list[Client]:
    """Clients of a server that is never out, and fails no request, one in 1000, one in 100."""
    return [Client(name=f"calm, {share:.1%} errors", errors=share) for share in (0.0, 0.001, 0.01)]


def without_slos(seen: Seen) -> Measures:
    """The same history measured by a plan that states no latency limit."""
    experiment = replace(seen.plan.experiment, slos=())
    return measure(seen.history, replace(seen.plan, experiment=experiment))
