"""The engine and its workers, whole: real processes, real servers, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessBug, SpecError, UnsafeError
from harness.history.table import OpTable
from harness.load.capacity import draw_groups
from harness.load.worker import EXIT_TERMINATED
from harness.model.arrivals import arrival_json, arrivals
from harness.model.experiment import ArrivalSpec

pytestmark = [pytest.mark.live, pytest.mark.slow]

S, MS = 1_000_000_000, 1_000_000

SHOP = """
from __future__ import annotations
from harness.load import HttpUser

class Shop(HttpUser):
    model = "set"
    where: str = "/items"
    async def run(self) -> None:
        async with self.op("add", value=self.unique()) as op:
            async with self.client.post("/add", params={"item": op.value}) as reply:
                reply.raise_for_status()
    async def final(self) -> None:
        async with self.op("read") as op:
            async with self.client.get(self.where) as reply:
                reply.raise_for_status()
                op.result = await reply.json()
"""


def even(rate_per_s: float) -> dict[str, Any]:
    return arrival_json(ArrivalSpec(rate_per_s=rate_per_s, shape="even"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(runner: Any) -> list[int]:
    return [link.process.pid for link in runner.engine._links]


def iter_until(spec: ArrivalSpec, start_ns: int, end_ns: int) -> list[int]:
    instants = []
    for at in arrivals(spec, 7, start_ns):
        if at > end_ns:
            break
        instants.append(at)
    return instants


async def test_a_frozen_and_a_dead_server_get_the_full_load(target: Any, runner: Any) -> None:
    server = target()
    run = runner(server.url, timeout_ns=300 * MS)
    await run.start()
    await run.until(lambda: run.ended_count >= 30)
    server.process.send_signal(signal.SIGSTOP)
    frozen_ns = run.now_ns()
    await asyncio.sleep(1.5)
    server.process.send_signal(signal.SIGCONT)
    thawed_ns = run.now_ns()
    await run.until(lambda: any(o.outcome == "ok" and o.intended_ns > thawed_ns for b in run.batches for o in b.ended))
    server.process.kill()
    dead_ns = run.now_ns()
    await asyncio.sleep(0.7)
    await run.engine.stop_arrivals()
    stopped_ns = run.now_ns()
    await run.engine.drain(2 * S)
    report = await run.close()

    ops = run.ops()
    assert all(not op.later for op in ops)
    instants = [op.intended_ns for op in ops]
    assert instants == iter_until(
        ArrivalSpec(rate_per_s=100, shape="even"), instants[0], instants[-1]
    )  # not one missing
    assert instants[-1] >= dead_ns + 600 * MS and instants[-1] <= stopped_ns
    inside = [op for op in ops if frozen_ns + 100 * MS <= op.intended_ns < thawed_ns - 400 * MS]
    assert len(inside) >= 90
    assert {(op.outcome, op.error) for op in inside} == {("fail", "timeout")}  # a GET: surely without effect
    refused = Counter(op.error for op in ops if op.intended_ns > dead_ns + 100 * MS)
    assert set(refused) == {"refused"} and refused["refused"] >= 50
    (account,) = report.workers
    assert (account.exit_code, account.error, account.dropped_count) == (0, None, 0)
    assert account.started_count == account.ended_count == len(ops)
    assert account.late_p99_ns is not None and account.run_delay_ns is not None and account.cpu_ratio is not None
    assert run.ended_count == len(ops)
    assert run.engine.dead() == ()


async def test_too_few_users_drop_and_the_drops_are_counted(target: Any, runner: Any) -> None:
    run = runner(
        target().url, options={"path": "/slow"}, users_max=3, timeout_ns=400 * MS, prober_every_ns=50 * MS,
        prober_timeout_ns=100 * MS,
    )  # fmt: skip
    await run.start()
    await run.until(lambda: sum(len(batch.dropped) for batch in run.batches) >= 50)
    await run.engine.stop_arrivals()
    await run.engine.drain(1 * S)
    report = await run.close()
    load = [op for op in run.ops() if op.phase == "load"]
    outcomes = Counter(op.outcome for op in load)
    assert outcomes["dropped"] == report.workers[0].dropped_count == sum(len(b.dropped) for b in run.batches)
    assert len({op.user for op in load if op.outcome != "dropped"}) == 3
    instants = [op.intended_ns for op in load]
    assert instants == iter_until(ArrivalSpec(rate_per_s=100, shape="even"), instants[0], instants[-1])
    dropped = next(op for op in load if op.outcome == "dropped")
    assert (dropped.sent_ns, dropped.done_ns, dropped.f) == (None, None, "get")
    probes = [op for op in run.ops() if op.phase == "probe"]
    assert {(op.outcome, op.region) for op in probes} == {("fail", None)}
    assert all(op.done_ns is not None and op.done_ns - op.intended_ns < 5 * S for op in probes)


async def test_a_killed_worker_is_told_and_its_ops_are_kept(target: Any, runner: Any) -> None:
    run = runner(target().url, workers=2)
    await run.start()
    folder = Path(run.job.out_dir)
    await run.until(lambda: len(list(folder.glob("w1-*.parquet"))) >= 1 and len(list(folder.glob("w0-*.parquet"))) >= 1)
    os.kill(pids(run)[1], signal.SIGKILL)
    await run.until(lambda: list(run.engine.dead()) == [1])
    seen = run.ended_count
    await run.until(lambda: run.ended_count > seen)  # the other goes on
    await run.engine.stop_arrivals()
    await run.engine.drain(1 * S)
    await run.engine.final({"eu": run.job.entry}, 1 * S)
    report = await run.close()
    kept, lost = report.workers
    assert (kept.exit_code, kept.error) == (0, None)
    assert lost.exit_code == -signal.SIGKILL
    assert lost.started_count > 0 and lost.error is not None
    ops = run.ops()
    by_worker = Counter(op.op >> 40 for op in ops)
    assert by_worker[0] == kept.ended_count
    assert 0 < by_worker[1] <= lost.started_count
    assert len({op.op for op in ops}) == len(ops)


async def test_sigterm_ends_a_worker_by_itself_with_all_its_ops(target: Any, runner: Any) -> None:
    run = runner(target().url, options={"path": "/slow"}, timeout_ns=20 * S)
    await run.start()
    await run.until(lambda: bool(run.batches) and len(run.batches[-1].open) >= 20)
    os.kill(pids(run)[0], signal.SIGTERM)
    await run.until(lambda: list(run.engine.dead()) == [0])
    report = await run.close()
    assert report.workers[0].exit_code == EXIT_TERMINATED
    assert {(op.outcome, op.cut) for op in run.ops()} == {("info", True)}
    assert len(run.ops()) >= 20


async def test_final_reads_are_retried_per_region_until_they_answer(target: Any, runner: Any, profile: Any) -> None:
    server = target()
    run = runner(server.url, profile=profile(SHOP), users=4)
    await run.start()
    await run.until(lambda: run.ended_count >= 20)
    await run.engine.stop_arrivals()
    await run.engine.drain(2 * S)
    nobody = "http://127.0.0.1:1"
    await run.engine.final({"eu": server.url, "down": nobody}, 1 * S)
    added = {op.value for op in run.ops() if op.outcome == "ok" and op.f == "add"}
    reads = [op for op in run.ops() if op.phase == "final" and op.outcome == "ok"]
    # Where arrivals find all four users busy, there are more sessions than four.
    sessions = sorted({op.session for op in run.ops() if op.phase == "load" and op.outcome == "ok"})
    assert len(sessions) >= 4 and sorted(op.session for op in reads) == sessions
    assert {op.region for op in reads} == {"eu"}
    for op in reads:
        assert op.result is not None and set(json.loads(op.result)) == added
    unread = (await run.close()).unread
    assert unread == (await run.close()).unread
    assert sorted(unread) == sorted(f"{session}@down" for session in sessions)


async def test_a_region_that_is_not_ready_is_asked_again(target: Any, runner: Any, profile: Any) -> None:
    server = target(FLAKY="3")
    run = runner(server.url, profile=profile(SHOP), options={"where": "/flaky"})
    await run.start()
    await run.until(lambda: run.ended_count >= 1)
    await run.engine.stop_arrivals()
    await run.engine.drain(2 * S)
    await run.engine.final({"eu": server.url}, 10 * S)
    report = await run.close()
    sessions = {op.session for op in run.ops() if op.phase == "load" and op.outcome == "ok"}
    finals = [op for op in run.ops() if op.phase == "final"]
    assert Counter(op.outcome for op in finals) == {"fail": 3, "ok": len(sessions)}
    assert report.unread == () and report.model == "set"


async def test_the_drain_cuts_what_does_not_end(target: Any, runner: Any) -> None:
    run = runner(target().url, options={"path": "/slow"}, timeout_ns=30 * S, users_max=500)
    await run.start()
    await run.until(lambda: bool(run.batches) and len(run.batches[-1].open) >= 10)
    await run.engine.stop_arrivals()
    began = time.monotonic()
    await run.engine.drain(200 * MS)
    assert time.monotonic() - began < 10
    cut = run.ops()
    assert {(op.outcome, op.cut, op.error) for op in cut} == {("info", True, "cut")}
    assert len({op.done_ns for op in cut}) == 1
    report = await run.close()
    assert report.workers[0].ended_count == len(cut) == len(run.ops())


@pytest.mark.parametrize("workers", [1, 2])
async def test_arrivals_groups_and_values_come_from_the_seed(
    target: Any, runner: Any, profile: Any, workers: int
) -> None:
    groups = {"sticky": 0.5, "follow": 0.5}
    spec = ArrivalSpec(rate_per_s=150, shape="poisson")
    run = runner(
        target().url,
        profile=profile(SHOP),
        workers=workers,
        groups=groups,
        arrival=arrival_json(spec),
        seed=11,
        users=20,
    )
    await run.start()
    await run.until(lambda: run.ended_count >= 90)
    await run.engine.stop_arrivals()
    await run.engine.drain(2 * S)
    await run.close()
    ops = run.ops()[:80]
    numbers = [int(str(op.value).split("-")[1]) for op in ops]
    assert numbers == list(range(80))
    first = ops[0].intended_ns - next(arrivals(spec, 11))
    assert [op.intended_ns for op in ops] == [at for at, _ in zip(arrivals(spec, 11, first), range(80), strict=False)]
    drawn = draw_groups(groups, 11)
    assert [op.group for op in ops] == [next(drawn) for _ in ops]
    assert {str(op.value).split("-")[0] for op in ops} == {str(ops[0].value).split("-")[0]}
    assert {op.op >> 40 for op in ops} == set(range(workers))
    sessions = {(op.session, op.group) for op in ops}
    assert len({session for session, _ in sessions}) == len(sessions)  # a user has one group


async def test_probers_ask_each_region_and_group(target: Any, runner: Any) -> None:
    server = target()
    run = runner(
        server.url,
        regions={"eu": server.url, "us": "http://127.0.0.1:1"},
        groups={"a": 0.5, "b": 0.5},
        arrival=even(5),
        prober_every_ns=100 * MS,
        prober_timeout_ns=300 * MS,
        workers=2,
    )
    await run.start()
    await run.until(lambda: sum(op.phase == "probe" for batch in run.batches for op in batch.ended) >= 40)
    await run.engine.stop_arrivals()
    await run.engine.drain(1 * S)
    await run.close()
    probes = [op for op in run.ops() if op.phase == "probe"]
    seen = Counter((op.region, op.group, op.outcome) for op in probes)
    want = {(None, "ok"), ("eu", "ok"), ("us", "fail")}
    assert set(seen) == {(region, group, outcome) for region, outcome in want for group in "ab"}
    one = sorted(op.intended_ns for op in probes if (op.region, op.group) == ("eu", "a"))
    assert {later - earlier for earlier, later in pairwise(one)} == {100 * MS}
    assert not {op.user for op in probes} & {op.user for op in run.ops() if op.phase == "load"}


async def test_a_closed_loop_is_told_as_one(target: Any, runner: Any) -> None:
    run = runner(target().url, arrival=arrival_json(ArrivalSpec(users=3)))
    await run.start()
    await run.until(lambda: run.ended_count >= 100)
    report = await run.close()
    assert report.closed_loop
    assert len({op.user for op in run.ops()}) == 3


async def test_wrong_jobs_spawn_nothing(target: Any, runner: Any, monkeypatch: Any) -> None:
    for changes, said in [
        ({"profile": "chta"}, "did you mean 'chat'"),
        ({"options": {"pth": "/"}}, "did you mean 'path'"),
        ({"arrival": {"rate_per_s": 5, "users": 4}}, "exactly one of"),
        ({"arrival": {"trace": "/none.csv"}}, "cannot read"),
    ]:
        run = runner("http://127.0.0.1:1", **changes)
        with pytest.raises(SpecError, match=said):
            await run.start()
        assert run.engine._links == []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    run = runner("http://127.0.0.1:1", users_max=5000)
    with pytest.raises(UnsafeError, match=r"5128 open files per worker, the hard limit is 64; raise it"):
        await run.start()


async def test_a_profile_that_fails_outside_its_ops_is_told(target: Any, runner: Any, profile: Any) -> None:
    body = SHOP.replace("    async def final", "        raise KeyError('oops')\n    async def final")
    run = runner(target().url, profile=profile(body))
    await run.start()
    await run.until(lambda: run.ended_count >= 5)
    report = await run.close()
    assert report.workers[0].exit_code == 0
    assert "KeyError: 'oops'" in str(report.workers[0].error)
    assert {op.outcome for op in run.ops() if not op.cut} == {"ok"}


async def test_arrivals_without_an_op_have_a_record(target: Any, runner: Any, profile: Any) -> None:
    body = SHOP.replace(
        '        async with self.op("add"',
        '        if self.random.random() < 2:\n            return\n        async with self.op("add"',
    )
    run = runner(target().url, profile=profile(body))
    await run.start()
    await run.until(lambda: run.ended_count >= 5)
    await run.close()
    assert {(op.outcome, op.error) for op in run.ops()} == {("fail", "run() made no op")}


async def test_a_sink_that_fails_is_not_hidden(target: Any, runner: Any) -> None:
    def broken(_: object) -> None:
        raise ValueError("no room")

    run = runner(target().url)
    await run.engine.start(run.job, broken)
    await run.until(lambda: run.engine._links[0].sink_error is not None)
    with pytest.raises(HarnessBug, match="no room"):
        await run.engine.stop_arrivals()
    assert (await run.close()).workers[0].exit_code == 0


CONDUCTOR = """
import asyncio, json, sys
from harness.load.engine import AsyncioEngine
from harness.model.ports import LoadJob

async def main():
    engine = AsyncioEngine()
    await engine.start(LoadJob(**json.loads(sys.argv[1])), lambda batch: None)
    print(*(link.process.pid for link in engine._links), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_workers_end_with_their_conductor(target: Any, runner: Any) -> None:
    job = runner(target().url, options={"path": "/slow"}, timeout_ns=20 * S, workers=2).job
    conductor = subprocess.Popen(
        [sys.executable, "-c", CONDUCTOR, json.dumps(asdict(job))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert conductor.stdout is not None
        workers = [int(pid) for pid in (await asyncio.to_thread(conductor.stdout.readline)).split()]
        assert len(workers) == 2 and all(map(alive, workers))
        await asyncio.sleep(0.3)
    finally:
        conductor.kill()
        conductor.communicate()
    async with asyncio.timeout(15):
        while any(map(alive, workers)):
            await asyncio.sleep(0.02)
    ops = list(OpTable.read(Path(job.out_dir)).ops())
    assert ops and all(op.cut for op in ops)
