"""What journals push to each other when there is a root: taken from the peer, once, as its regions signed it; from nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.reference.channel import Refused, Wire
from harness.reference.database import Sqlite
from harness.reference.frames import Frames
from harness.reference.journal import Draft, Journal
from harness.reference.metrics import Metrics
from harness.reference.mutants import TAKES_ANY_FRAME
from harness.reference.replica import Replica
from harness.reference.seal import Seals
from tests.reference.test_ref_journal import BOTH, EU_ONLY, Wiretap, outcome, refusal, turn, until

SEALS = Seals("root")
HEALTHY: frozenset[str] = frozenset()


def test_a_region_s_signature_is_its_own_and_every_key_comes_from_the_root() -> None:
    signature = SEALS.sign("eu", "a digest")
    assert SEALS.signed("eu", "a digest", signature)
    assert not SEALS.signed("us", "a digest", signature) and not SEALS.signed("eu", "another", signature)
    assert not any(SEALS.signed("eu", "a digest", bad) for bad in ("", "no hex", signature[:-2]))
    assert Seals("root").key("eu") == SEALS.key("eu") != Seals("other").key("eu") != SEALS.key("us")


@contextlib.asynccontextmanager
async def standby(path: Path, mutants: frozenset[str] = HEALTHY) -> AsyncIterator[tuple[Replica, Journal, Frames]]:
    """A standby, its primary's log with three entries, and the primary's end of the frames."""
    replica = Replica(Journal(Sqlite(path / "us"), "us", SEALS), ThreadPoolExecutor(1), "us", Metrics(), mutants)
    log = Journal(Sqlite(path / "eu"), "eu", SEALS)
    log.batch([lambda j: j.set_config(BOTH), lambda j: j.append(Draft(kind="epoch")), lambda j: j.append(turn(1))])
    writer = asyncio.create_task(replica.run_writer())
    sender = Frames(SEALS, Metrics(), HEALTHY)
    try:
        yield replica, log, sender
    finally:
        writer.cancel()
        log.close()


def frame(log: Journal, sender: Frames, **more: Any) -> Wire:
    entries = [entry.row() for entry in log.entries(0, log.last_seq)]
    body = {"config": BOTH.wire(), "prev_seq": 0, "prev_hash": log.hash_at(0), "entries": entries, "head": len(entries)}
    sealed: Wire = json.loads(json.dumps(sender.seal(body | more)))
    return sealed


async def acquainted(replica: Replica, log: Journal, sender: Frames) -> None:
    with pytest.raises(Refused) as caught:
        await replica.take_push(frame(log, sender))
    assert caught.value.code == "unacquainted" and sender.meet(caught.value)
    assert replica.frames.refused.total() == 0  # that is how a peer begins


async def test_a_frame_is_taken_once(tmp_path: Path) -> None:
    async with standby(tmp_path) as (replica, log, sender):
        await acquainted(replica, log, sender)
        first = frame(log, sender)
        assert await replica.take_push(first) == {"match": 2} and replica.confirmed()
        assert await refusal(replica.take_push(first)) == "forged"
        assert await replica.take_push(frame(log, sender)) == {"match": 2}
        assert replica.frames.refused == {"replayed": 1} and replica.status()["frames"]["refused"]["all"] == 1


async def test_nothing_of_a_forged_frame_is_taken(tmp_path: Path) -> None:
    async with standby(tmp_path) as (replica, log, sender):
        await acquainted(replica, log, sender)
        await replica.take_push(frame(log, sender))
        higher = replace(EU_ONLY, epoch=7).wire()
        unsigned = [*frame(log, sender)["entries"][0][:-1], ""]
        others = [*unsigned[:-1], SEALS.sign("us", unsigned[-2])]
        altered = [*unsigned[:2], "us", *frame(log, sender)["entries"][0][3:]]
        earlier = Frames(SEALS, Metrics(), HEALTHY)
        earlier.meet(Refused("unacquainted", life="that before", number=0))
        lower = Wire(replace(BOTH, epoch=0).wire())
        for why, bad in (
            ("no-key", frame(log, sender) | {"mac": "", "config": higher}),
            ("no-key", frame(log, sender) | {"config": higher}),  # sealed, then changed
            ("no-key", frame(log, Frames(Seals("other"), Metrics(), HEALTHY))),
            ("bad-entry", frame(log, sender, entries=[unsigned], config=higher)),
            ("bad-entry", frame(log, sender, entries=[others], config=higher)),
            ("bad-entry", frame(log, sender, entries=[altered], config=higher)),
            ("bad-entry", frame(log, sender, entries=[[1, 2]], config=higher)),
            ("fenced", frame(log, sender, config=lower)),
            ("replayed", frame(log, earlier)),
        ):
            before = replica.frames.refused[why]
            assert await refusal(replica.take_push(bad)) == ("fenced" if why == "fenced" else "forged")
            assert replica.frames.refused[why] == before + 1
            assert replica.config == BOTH and replica.status()["seq"] == 2
        assert await replica.take_push(frame(log, sender)) == {"match": 2}  # the peer is not put out by any of it


async def test_the_mutant_takes_any_frame(tmp_path: Path) -> None:
    async with standby(tmp_path, frozenset({TAKES_ANY_FRAME})) as (replica, log, sender):
        bare = {name: value for name, value in frame(log, sender).items() if name not in ("to", "number", "mac")}
        assert await replica.take_push(bare) == {"match": 2}


async def test_two_sealed_replicas_find_each_other_again_after_losses_and_restarts(tmp_path: Path) -> None:
    def boot(region: str) -> Replica:
        journal = Journal(Sqlite(tmp_path / region), region, SEALS)
        return Replica(journal, ThreadPoolExecutor(1), region, Metrics(), HEALTHY)

    eu, us = boot("eu"), boot("us")
    tap = Wiretap(us)
    tasks = [asyncio.create_task(job) for job in (eu.run_writer(), eu.run_pusher(tap), us.run_writer())]  # type: ignore[arg-type]
    await eu.adopt(BOTH)
    place = await eu.begin(turn(1))
    tap.rule = lambda: "no-answer"
    finishing = asyncio.create_task(eu.finish(outcome(1, place["seq"])))
    await until(lambda: us.status()["seq"] == 3)
    tap.rule = lambda: "open"
    await finishing
    tasks.pop().cancel()
    us = boot("us")
    await us.restore()
    tap.target, tap.connected = us, False
    tasks.append(asyncio.create_task(us.run_writer()))
    await eu.begin(turn(2))
    assert us.status()["seq"] == 4 and us.confirmed()
    assert all(entry.signed(SEALS) for entry in await us.read(lambda j: j.entries(0, 9)))
    for task in tasks:
        task.cancel()
