"""A log that is damaged on disk: cut at the gate it fails, sent anew by the peer, never served short of it."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.reference.channel import Refused
from harness.reference.database import Sqlite
from harness.reference.governor import Limits, RegionView, Route, decide
from harness.reference.health import DOWN, UP
from harness.reference.journal import Draft, Journal
from harness.reference.metrics import Metrics
from harness.reference.mutants import TRUSTS_ITS_DISK
from harness.reference.replica import Replica
from harness.reference.seal import Seals
from tests.reference.test_ref_journal import BOTH, EU_ONLY, US_ONLY, outcome, pair_at, refusal, turn, until
from tests.reference.test_ref_pure import JOURNAL

Damage = Callable[[sqlite3.Connection], object]
SEALS = Seals("root")


def filled(path: Path, seals: Seals | None = SEALS, *extra: Draft) -> None:
    """A log of an epoch, a record (2), and three turns (3, 5, 7) with their outcomes."""
    log = Journal(Sqlite(path), "eu", seals)
    log.batch([lambda j: j.set_config(EU_ONLY)])
    drafts = [Draft(kind="epoch"), Draft(kind="record", value="template", body={"value": "tmpl.r2"})]
    for number in (1, 2, 3):
        drafts += [turn(number), outcome(number, 2 * number + 1)]
    log.batch([partial(Journal.append, draft=draft) for draft in (*drafts, *extra)])
    log.close()


def _nothing(_db: sqlite3.Connection) -> None:
    return


async def restored(
    path: Path, damage: Damage = _nothing, seals: Seals | None = SEALS, accept_cut: bool = False, **more: Any
) -> Replica:
    with sqlite3.connect(path) as db:
        damage(db)
    db.close()
    mutants = more.get("mutants", frozenset())
    replica = Replica(Journal(Sqlite(path), "eu", seals), ThreadPoolExecutor(max_workers=1), "eu", Metrics(), mutants)
    assert not replica.confirmed() and replica.stage == "keys"
    await replica.restore(accept_cut)
    return replica


def told(replica: Replica) -> tuple[str | None, int, int]:
    """The stage, the end of the log, and how many entries are in quarantine."""
    status = replica.status()
    return status["restore"]["stage"], status["seq"], status["quarantined"]


async def test_a_whole_log_passes_all_gates_in_order(tmp_path: Path) -> None:
    filled(tmp_path / "log")
    replica = await restored(tmp_path / "log")
    assert told(replica) == (None, 8, 0) and replica.confirmed()
    passed = [one["stage"] for one in replica.status()["restore"]["passed"]]
    assert passed == ["keys", "registry", "ledger", "sessions", "traffic"]
    assert not replica.status()["damaged"]


@pytest.mark.parametrize(
    ("damage", "seq", "why"),
    [
        ('UPDATE log SET body = \'{"value":"tmpl.r3"}\' WHERE seq = 2', 2, "registry: cut before entry 2 of 8"),
        ("UPDATE log SET body = '{\"val' WHERE seq = 2", 2, "registry: cut before entry 2 of 8"),
        ("UPDATE log SET value = 'v4' WHERE seq = 5", 5, "ledger: cut before entry 5 of 8: entry 5: hash does not fit"),
        ("UPDATE log SET value = CAST(x'ff76' AS TEXT) WHERE seq = 5", 5, "ledger: cut before entry 5 of 8"),
        ("UPDATE log SET sig = '' WHERE seq = 8", 8, "ledger: cut before entry 8 of 8: it is not signed by eu"),
        ("UPDATE log SET body = '{\"answer' WHERE seq = 8", 8, "ledger: cut before entry 8 of 8"),
        ("DELETE FROM log WHERE seq = 4", 5, "ledger: cut before entry 5 of 8: it does not follow entry 3"),
    ],
)
async def test_damage_is_cut_off_into_quarantine(tmp_path: Path, damage: str, seq: int, why: str) -> None:
    filled(tmp_path / "log")
    replica = await restored(tmp_path / "log", lambda db: db.execute(damage))
    kept = seq - 1 - ("DELETE" in damage)
    assert told(replica) == ("traffic", kept, 9 - seq)
    assert replica.status()["restore"]["why"].startswith(why)
    assert replica.status()["damaged"] and not replica.confirmed() and replica.status()["cut"] == 9 - seq
    assert {turn["value"] for turn in await replica.read(lambda j: j.fenced())} <= {"v1", "v2", "v3"}
    again = await restored(tmp_path / "log")  # a second start does not forget it
    assert told(again) == ("traffic", kept, 9 - seq) and not again.confirmed()


async def test_an_outcome_of_no_turn_or_a_second_one_fails_the_gate_of_sessions(tmp_path: Path) -> None:
    filled(tmp_path / "second", SEALS, outcome(3, 7))
    assert told(await restored(tmp_path / "second")) == ("traffic", 8, 1)
    filled(tmp_path / "stray", SEALS, outcome(9, 2))
    assert told(await restored(tmp_path / "stray")) == ("traffic", 8, 1)


async def test_the_wrong_keys_cut_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "log")
    for seals in (Seals("another"), None):
        assert told(await restored(tmp_path / "log", seals=seals)) == ("keys", 8, 0)
    assert told(await restored(tmp_path / "log")) == (None, 8, 0)


async def test_a_database_that_does_not_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.reference.restore._RETRY_S", 0.0)
    filled(tmp_path / "log")
    replica = Replica(
        Journal(Sqlite(tmp_path / "log"), "eu", SEALS), ThreadPoolExecutor(1), "eu", Metrics(), frozenset()
    )
    assert replica.restoration is not None
    answers, stood = iter([True, True, False]), []

    async def read(question: Callable[[Journal], Any]) -> Any:
        if next(answers, True):
            return await replica.read(question)
        assert replica.restoration is not None
        stood.append(replica.restoration.stage)
        raise Refused("journal_failed", why="down")

    await replica.restoration.run(read)
    assert stood == ["ledger"] and told(replica) == (None, 8, 0)
    assert len(replica.restoration.passed) == 5


async def test_without_a_root_nothing_is_signed_and_the_chain_alone_is_verified(tmp_path: Path) -> None:
    filled(tmp_path / "log", None)
    assert told(await restored(tmp_path / "log", seals=None)) == (None, 8, 0)
    bad = await restored(tmp_path / "log", lambda db: db.execute("UPDATE log SET value = 'x' WHERE seq = 5"), None)
    assert told(bad) == ("traffic", 4, 4)


async def test_the_mutant_trusts_its_disk(tmp_path: Path) -> None:
    filled(tmp_path / "log")
    mutants = frozenset({TRUSTS_ITS_DISK})
    flip = "UPDATE log SET value = 'v4' WHERE seq = 5"
    replica = await restored(tmp_path / "log", lambda db: db.execute(flip), mutants=mutants)
    assert told(replica) == (None, 8, 0) and replica.confirmed()


async def test_a_damaged_log_is_no_primary_until_people_accept_it(tmp_path: Path) -> None:
    filled(tmp_path / "log")
    replica = await restored(tmp_path / "log", lambda db: db.execute("UPDATE log SET value = 'v4' WHERE seq = 5"))
    journal = replica._journal
    for operation in (replica.begin(turn(9)), replica.adopt(EU_ONLY), replica.adopt(replace(EU_ONLY, epoch=2))):
        assert await refused(replica, operation) == "damaged"
    assert journal.last_seq == 4
    accepted = await restored(tmp_path / "log", accept_cut=True)
    assert told(accepted) == (None, 4, 4) and accepted.confirmed()
    assert told(await restored(tmp_path / "log")) == (None, 4, 4)


async def refused(replica: Replica, operation: Awaitable[Any]) -> str:
    import asyncio

    writer = asyncio.create_task(replica.run_writer())
    try:
        return await refusal(operation)
    finally:
        writer.cancel()


async def test_a_damaged_standby_is_sent_what_it_lacks_and_only_then_whole(tmp_path: Path) -> None:
    async with pair_at(tmp_path) as pair:
        eu = pair.replicas["eu"]
        await eu.adopt(BOTH)
        for number in range(5):
            place = await eu.begin(turn(number))
            await eu.finish(outcome(number, place["seq"]))
        pair.taps["eu"].rule = lambda: "cut"
        await pair.crash("us")
        with sqlite3.connect(tmp_path / "us.sqlite") as db:
            db.execute("UPDATE log SET value = 'v9' WHERE seq = 4")
        db.close()
        await pair.crash("us")
        us = pair.replicas["us"]
        assert told(us) == ("traffic", 3, 8)
        assert await refusal(us.adopt(US_ONLY)) == "damaged"
        pair.taps["eu"].rule = lambda: "open"
        await until(lambda: us.status()["restore"]["stage"] is None)
        assert us.confirmed() and await us.read(lambda j: j.last_hash) == await eu.read(lambda j: j.last_hash)
        assert (await us.adopt(US_ONLY))["primary"]


def test_who_serves_when_a_log_is_damaged() -> None:
    def step(promotable: tuple[str, ...], eu: bool, us: bool, state: str = UP, mode: str = "sync") -> str | None:
        config = replace(BOTH, sync=promotable, mode=mode)
        views = (
            RegionView(region="eu", state=state, heard_ns=10**9, journal=replace(JOURNAL, config=config, damaged=eu)),
            RegionView(region="us", state=UP, heard_ns=10**9, journal=replace(JOURNAL, config=config, damaged=us)),
        )
        found = decide(Route(config=config, promotable=promotable), views, 10**9, Limits(), mode)
        return None if found is None else f"{found.event} {found.route.config.primary}: {found.reason}"

    both, alone = ("eu", "us"), ("eu",)
    assert step(both, False, False) is None
    assert step(both, True, False) == "promoted us: eu is damaged"  # at once: it serves nobody by itself
    assert step(both, True, False, mode="async") == "promoted us: eu is damaged"
    assert step(both, True, True) is None
    assert step(both, False, True, DOWN) is None  # it lacks entries that count until it was sent them
    assert step(alone, True, False) is None  # nobody else has what counted


async def test_a_lone_primary_with_a_damaged_log_serves_nobody(make_stack: Any) -> None:
    extra = {f"journal-{short}": ["--seal-root", "r"] for short in ("eu", "us")}
    stack = await make_stack(extra=extra)
    stack.signal(stack.region("us"), signal.SIGKILL)
    await stack.until(stack.url("edge") + "/v1/about", lambda _, body: body["promotable"] == ["eu-west"])
    for number in range(3):
        assert (await stack.turn("s", f"v{number}")).acked
    stack.signal(["journal-eu"], signal.SIGKILL)
    with sqlite3.connect(stack.path / "journal-eu" / "journal.sqlite") as db:
        db.execute("UPDATE log SET value = 'v7' WHERE value = 'v1'")
    db.close()
    stack.spawn("journal-eu")
    status, body = 0, None
    await stack.until(stack.url("journal-eu") + "/readyz", lambda status, body: status == 503 and body.get("damaged"))
    for name in stack.region("us"):
        stack.spawn(name)  # it lacks what the other acknowledged alone: no help
    await stack.until(stack.url("edge") + "/events", lambda _, body: "damaged" in [event["event"] for event in body])
    refused = await stack.turn("s", "v8")
    assert refused.status in (409, 503) and not refused.acked
    status, body = await stack.get(stack.url("gateway-eu") + "/v1/sessions/s")
    assert status == 503 and body["error"]["code"] == "unconfirmed"
    _, about = await stack.get(stack.url("edge") + "/v1/about")
    assert (about["primary"], about["promotable"]) == ("eu-west", ["eu-west"])

    stack.signal(["journal-eu"], signal.SIGKILL)
    stack.extra["journal-eu"] = [*extra["journal-eu"], "--accept-cut"]
    stack.spawn("journal-eu")
    await stack.ready()
    assert await stack.values("eu", "s") == ["v0"] and (await stack.turn("s", "v9")).acked
    assert (await stack.converged())["seq"] > 0
    _, keys = await stack.get(stack.url("journal-us") + "/v1/journal/keys")
    assert keys == {"keys": {region: Seals("r").key(region) for region in ("eu-west", "us-east")}}
    assert "sig" in json.loads(next(iter((await exported(stack, "us")).splitlines())))


async def exported(stack: Any, short: str) -> str:
    async with stack.http.get(stack.url(f"journal-{short}") + "/v1/journal/export") as reply:
        return str(await reply.text())
