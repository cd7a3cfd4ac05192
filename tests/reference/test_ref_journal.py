"""The log and the replication protocol, with real SQLite files and a peer that is called directly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.reference.channel import Lost, Refused, Unreachable, Wire
from harness.reference.database import Sqlite
from harness.reference.governor import JournalView, Limits, RegionView, Route, decide
from harness.reference.health import DOWN, UP
from harness.reference.journal import GENESIS, Config, Conflict, Draft, Entry, Journal
from harness.reference.metrics import Metrics
from harness.reference.replica import Replica, Timing

EU_ONLY = Config(epoch=1, primary="eu", sync=("eu",), mode="sync")
BOTH = Config(epoch=1, primary="eu", sync=("eu", "us"), mode="sync")
US_ONLY = Config(epoch=2, primary="us", sync=("us",), mode="sync")


def turn(number: int) -> Draft:
    return Draft(kind="turn", session="s", value=f"v{number}", idem=f"k{number}", body={"request_sha": str(number)})


def outcome(number: int, ref: int) -> Draft:
    return Draft(kind="outcome", idem=f"k{number}", ref=ref, body={"answer": "a", "answer_sha": f"sha{number}"})


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    log = Journal(Sqlite(tmp_path / "log.sqlite"), "eu")
    log.batch([lambda j: j.set_config(EU_ONLY)])
    return log


def test_the_log_is_a_hash_chain_and_survives_reopening(journal: Journal, tmp_path: Path) -> None:
    one, two = journal.batch([lambda j: j.append(turn(1)), lambda j: j.append(turn(2))])
    assert (one.seq, one.prev_hash, two.prev_hash) == (1, GENESIS, one.hash)
    journal.close()
    again = Journal(Sqlite(tmp_path / "log.sqlite"), "eu")
    assert (again.last_seq, again.last_hash, again.config, again.reign) == (2, two.hash, EU_ONLY, 1)
    with pytest.raises(ValueError, match="entry 1: hash does not fit"):
        Entry.parse(replace(one, value="other").row())


def test_a_refused_operation_leaves_the_rest_of_its_batch(journal: Journal) -> None:
    def refuse(_journal: Journal) -> None:
        raise Refused("no")

    results = journal.batch([lambda j: j.append(turn(1)), refuse, lambda j: j.append(turn(2))])
    assert [getattr(result, "seq", None) for result in results] == [1, None, 2]
    assert isinstance(results[1], Refused) and journal.last_seq == 2


def test_a_fenced_tail_goes_to_quarantine_and_late_pushes_change_nothing(journal: Journal, tmp_path: Path) -> None:
    other = Journal(Sqlite(tmp_path / "other.sqlite"), "us")
    common = journal.batch([lambda j: j.append(turn(1)), lambda j: j.append(turn(2))])
    assert other.batch([lambda j: j.extend((0, GENESIS), common, 1)]) == [2]
    tail = journal.batch([lambda j: j.append(turn(3)), lambda j: j.append(outcome(3, 3))])

    other.batch([lambda j: j.set_config(US_ONLY)])
    theirs = other.batch([lambda j: j.append(Draft(kind="epoch")), lambda j: j.append(turn(4))])
    prev = (2, common[-1].hash)
    far = (4, theirs[-1].hash)
    assert journal.batch([lambda j: j.extend(far, [], 2)]) == [Conflict(hint=0)]  # nothing of its epoch fits
    assert journal.batch([lambda j: j.extend(prev, theirs, 2)]) == [4]
    assert journal.last_hash == other.last_hash
    assert [(t["value"], t["answer_sha"], t["fenced_by"]) for t in journal.fenced()] == [("v3", "sha3", 2)]
    assert [t["value"] for t in journal.session("s", 99)] == ["v1", "v2", "v4"]

    assert journal.batch([lambda j: j.extend((0, GENESIS), common, 2)]) == [2]  # late: all known
    assert journal.last_hash == other.last_hash and journal.quarantined == 2
    broken = journal.batch([lambda j: j.extend((2, common[-1].hash), [tail[1]], 3)])[0]
    assert isinstance(broken, ValueError) and journal.last_hash == other.last_hash


class Wiretap:
    """A channel that calls the other replica directly, or does what the test says instead."""

    def __init__(self, target: Replica) -> None:
        self.target = target
        self.rule: Callable[[], str] = lambda: "open"
        self.kept: list[Wire] = []
        self.connected = True

    async def call(self, _op: str, body: Wire, within_s: float) -> Wire:
        rule = self.rule()
        self.connected = True
        body = json.loads(json.dumps(body))
        if rule == "cut":
            raise Unreachable("cut")
        if rule == "keep":  # swallowed now, delivered late
            self.kept.append(body)
            raise Lost("kept")
        try:
            async with asyncio.timeout(within_s):
                result: Wire = json.loads(json.dumps(await self.target.take_push(body)))
        except TimeoutError as exc:
            raise Lost("no answer") from exc
        if rule == "no-answer":
            raise Lost("delivered, but the answer was lost")
        return result

    def hang_up(self) -> None:
        self.connected = False


class Pair:
    """Two replicas, each pushing to the other when it is primary."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replicas: dict[str, Replica] = {}
        self.taps: dict[str, Wiretap] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._executors: dict[str, ThreadPoolExecutor] = {}
        for region in ("eu", "us"):
            self.boot(region)

    def boot(self, region: str) -> None:
        executor = ThreadPoolExecutor(max_workers=1)
        log = Journal(Sqlite(self.path / f"{region}.sqlite"), region)
        replica = Replica(log, executor, region, Metrics(), frozenset())
        replica.timing = Timing(commit_s=0.4, push_s=0.2, heartbeat_s=0.01, async_batch_s=0.005)
        self.replicas[region], self._executors[region] = replica, executor
        for tap in self.taps.values():
            if tap.target.region == region:
                tap.target = replica
        self.taps.setdefault(region, Wiretap(replica))
        if len(self.replicas) == 2:
            self._wire()

    def _wire(self) -> None:
        for region, other in (("eu", "us"), ("us", "eu")):
            if region in self._tasks:
                continue
            tap = self.taps[region]
            tap.target = self.replicas[other]
            replica = self.replicas[region]
            self._tasks[region] = [
                asyncio.create_task(replica.run_writer()),
                asyncio.create_task(replica.run_pusher(tap)),  # type: ignore[arg-type]
            ]

    async def crash(self, region: str) -> None:
        for task in self._tasks.pop(region):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._executors[region].shutdown()
        self.boot(region)
        await self.replicas[region].restore()

    async def close(self) -> None:
        for region in ("eu", "us"):
            for task in self._tasks.pop(region):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            self._executors[region].shutdown()


@asynccontextmanager
async def pair_at(path: Path) -> AsyncIterator[Pair]:
    pair = Pair(path)
    try:
        yield pair
    finally:
        await pair.close()


async def until(holds: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.005)


async def refusal(awaitable: Any) -> str:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value.code


async def test_an_entry_counts_once_the_standby_has_it(tmp_path: Path) -> None:
    async with pair_at(tmp_path) as pair:
        eu, us = pair.replicas["eu"], pair.replicas["us"]
        assert await refusal(eu.begin(turn(0))) == "not_primary"
        await eu.adopt(BOTH)
        place = await eu.begin(turn(1))
        assert place["state"] == "new" and us.status()["seq"] >= place["seq"] and us.confirmed()
        pair.taps["eu"].rule = lambda: "cut"
        assert await refusal(eu.begin(turn(2))) == "commit_timeout"
        assert [t["value"] for t in await us.read(lambda j: j.session("s", 99))] == ["v1"]
        assert await eu.read(lambda j: j.session("s", eu.committed())) == await us.read(lambda j: j.session("s", 99))
        waiting = asyncio.create_task(eu.begin(turn(3)))
        await eu.adopt(replace(EU_ONLY, epoch=2))  # the edge lets it go on alone
        assert (await waiting)["degraded"] and (await eu.begin(turn(2)))["state"] == "pending"


async def test_promotion_fences_commits_under_way(tmp_path: Path) -> None:
    async with pair_at(tmp_path) as pair:
        eu, us = pair.replicas["eu"], pair.replicas["us"]
        await eu.adopt(BOTH)
        first = await eu.begin(turn(1))
        pair.taps["eu"].rule = lambda: "cut"
        under_way = asyncio.create_task(eu.begin(turn(2)))
        await until(lambda: eu.status()["seq"] > us.status()["seq"])
        await us.adopt(US_ONLY)
        again = await us.begin(turn(1))  # resent through the failover: continued, not accepted again
        assert (again["state"], again["seq"]) == ("pending", first["seq"])
        done = await us.finish(outcome(1, again["seq"]))
        pair.taps["eu"].rule = lambda: "open"
        assert await refusal(under_way) == "fenced"
        await until(lambda: eu.confirmed() and eu.status()["seq"] == us.status()["seq"])
        assert [t["value"] for t in await eu.read(lambda j: j.fenced())] == ["v2"]
        assert await eu.read(lambda j: j.last_hash) == await us.read(lambda j: j.last_hash)
        assert await refusal(eu.adopt(BOTH)) == "fenced"
        resent = await us.begin(turn(1))
        assert resent["state"] == "done" and resent["outcome"] == done["outcome"]
        mismatch = replace(turn(1), body={"request_sha": "another"})
        assert await refusal(us.begin(mismatch)) == "idempotency_mismatch"


async def test_a_primary_that_restarts_ships_its_tail_before_it_counts(tmp_path: Path) -> None:
    async with pair_at(tmp_path) as pair:
        eu = pair.replicas["eu"]
        await eu.adopt(BOTH)
        await eu.begin(turn(1))
        pair.taps["eu"].rule = lambda: "cut"
        assert await refusal(eu.begin(turn(2))) == "commit_timeout"
        await pair.crash("eu")
        eu, us = pair.replicas["eu"], pair.replicas["us"]
        assert eu.primary and not eu.confirmed()
        pair.taps["eu"].rule = lambda: "open"
        await until(eu.confirmed)
        assert (await eu.begin(turn(2)))["state"] == "pending"
        assert [t["value"] for t in await us.read(lambda j: j.session("s", 99))] == ["v1", "v2"]


async def test_a_push_delivered_after_the_promotion_is_refused(tmp_path: Path) -> None:
    async with pair_at(tmp_path) as pair:
        eu, us = pair.replicas["eu"], pair.replicas["us"]
        await eu.adopt(BOTH)
        await eu.begin(turn(1))
        pair.taps["eu"].rule = lambda: "keep"
        assert await refusal(eu.begin(turn(2))) == "commit_timeout"
        late = next(body for body in pair.taps["eu"].kept if body["entries"])
        await us.adopt(US_ONLY)
        assert await refusal(us.take_push(late)) == "fenced"
        assert [t["value"] for t in await us.read(lambda j: j.session("s", 99))] == ["v1"]


async def test_an_asynchronous_primary_counts_nothing_without_a_lease(tmp_path: Path) -> None:
    async with pair_at(tmp_path) as pair:
        eu = pair.replicas["eu"]
        await eu.adopt(replace(BOTH, mode="async"))
        pair.taps["eu"].rule = lambda: "cut"
        assert await refusal(eu.begin(turn(1))) == "commit_timeout"
        waiting = asyncio.create_task(eu.begin(turn(2)))
        await until(lambda: eu.status()["seq"] >= 3)
        eu.grant(1, eu.status()["clock_ns"] - 5_000_000_000, 1_400)  # delivered late: over before it came
        assert not waiting.done()
        eu.grant(1, eu.status()["clock_ns"], 60_000)
        assert (await waiting)["state"] == "new"


def view(replica: Replica, state: str, now_ns: int) -> RegionView:
    status = replica.status()
    return RegionView(
        region=replica.region,
        state=state,
        heard_ns=now_ns,
        journal=JournalView(
            config=replica.config,
            joined=status["joined"],
            peer_silent_ns=None if status["peer_silent_ms"] is None else status["peer_silent_ms"] * 1_000_000,
            peer_lag=status["peer_lag"],
            config_age_ns=status["config_age_ms"] * 1_000_000,
        ),
    )


class Chaos:
    """Clients, faults and the edge's real decisions over a pair, all from one seed."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair = pair
        self.chance = random.Random(seed)
        self.route: Route | None = None
        self.state = {"eu": UP, "us": UP}
        self.acked: list[str] = []
        self.promotions = 0

    async def client(self, number: int) -> None:
        """One turn, resent with its key until it is acknowledged or patience ends; sometimes to the wrong region."""
        for _ in range(40):
            primary = self.route.config.primary if self.route else "eu"
            target = self.pair.replicas[self.chance.choice(["eu", "us", primary, primary])]
            try:
                async with asyncio.timeout(1):  # a replica that crashes never answers
                    place = await target.begin(turn(number))
                    if place["state"] != "done":
                        await target.finish(outcome(number, place["seq"]))
            except (Refused, TimeoutError):
                await asyncio.sleep(0.005)
                continue
            self.acked.append(f"v{number}")
            return

    async def govern(self, *, quiet: bool) -> None:
        """One round of the edge; unless quiet, health lies and what it decides may never be delivered."""
        now = 10**15
        one, two = (view(self.pair.replicas[name], UP if quiet else self.state[name], now) for name in ("eu", "us"))
        step = decide(self.route, (one, two), now, Limits(peer_silent_ns=30_000_000), "sync")
        if step is not None:
            self.route = step.route
            self.promotions += step.event == "promoted"
        assert self.route is not None
        primary = self.pair.replicas[self.route.config.primary]
        if primary.config != self.route.config and (quiet or self.chance.random() < 0.6):
            await primary.adopt(self.route.config)

    async def fault(self) -> None:
        """Perhaps change the network, what health says, or crash a replica, or deliver what was kept back."""
        event, name = self.chance.random(), self.chance.choice(["eu", "us"])
        if event < 0.10:
            rule = self.chance.choice(["open", "open", "cut", "keep", "no-answer"])
            self.pair.taps[name].rule = lambda: rule
        elif event < 0.25:
            self.state[name] = self.chance.choice([UP, UP, DOWN])
        elif event < 0.28:
            await self.pair.crash(name)
        elif event < 0.34:
            tap, other = self.pair.taps[name], self.pair.replicas["us" if name == "eu" else "eu"]
            late, tap.kept = tap.kept, []
            for body in late:
                with contextlib.suppress(Refused):
                    await other.take_push(body)

    async def quieten(self, clients: list[asyncio.Task[None]]) -> None:
        """End all faults; return when every client is done and both logs are equal."""
        for tap in self.pair.taps.values():
            tap.rule = lambda: "open"
        async with asyncio.timeout(30):
            while True:
                await self.govern(quiet=True)
                digests = [await replica.read(lambda j: j.last_hash) for replica in self.pair.replicas.values()]
                settled = digests[0] == digests[1] and self.route is not None and len(self.route.promotable) == 2
                if settled and all(task.done() for task in clients):
                    return
                await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_no_acknowledged_turn_is_lost_or_doubled_under_random_faults(tmp_path: Path, seed: int) -> None:
    async with pair_at(tmp_path) as pair:
        chaos = Chaos(pair, seed)
        clients: list[asyncio.Task[None]] = []
        for number in range(120):
            await chaos.fault()
            await chaos.govern(quiet=False)
            clients.append(asyncio.create_task(chaos.client(number)))
            await asyncio.sleep(chaos.chance.random() * 0.02)
        await chaos.quieten(clients)
        for replica in pair.replicas.values():
            values = [t["value"] for t in await replica.read(lambda j: j.session("s", 10**9))]
            assert len(values) == len(set(values)), "a turn was accepted twice"
            assert set(chaos.acked) <= set(values), f"lost: {sorted(set(chaos.acked) - set(values))}"
        assert len(chaos.acked) > 10
