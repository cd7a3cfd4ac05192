"""A closed loop against one URL, in this process: `python -m tests.bench.closed KIND URL USERS SECONDS`; one JSON line.

KIND: `lean` (the client alone, uvloop), `lean-recorded`, `aiohttp-recorded` (profile http, full records to Parquet).
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from harness.load.client import close_shared
from harness.load.lean import LeanClient
from harness.load.profile import load_profile
from harness.load.record import PART_ROWS, Recorder, warm_up, write_part
from harness.load.user import Desk, Place, User

WARM_S = 0.3


async def _bare(url: str, users: int, seconds: float) -> dict[str, float]:
    client, done, latencies = LeanClient(url, 2.0, {}), [0], list[int]()
    end = [float("inf")]

    async def user() -> None:
        while time.monotonic() < end[0]:
            began = time.perf_counter_ns()
            async with client.request("GET", "/") as reply:
                await reply.read()
            latencies.append(time.perf_counter_ns() - began)
            done[0] += 1

    return await _measured(user, users, seconds, (end, done))


async def _recorded(kind: str, url: str, users: int, seconds: float) -> dict[str, float]:
    warm_up()
    done, end = [0], [float("inf")]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(0, Path(folder))
        desk = Desk(
            recorder=recorder, origin_ns=time.monotonic_ns(), seed=1, timeout_s=2.0, tag="b", seed_tag="b",
            acknowledged=lambda *_: None,
        )  # fmt: skip
        profile = load_profile("http", {"client": kind.partition("-")[0]})
        made = [profile(desk, Place(index=index, session=f"s{index}", entry=url)) for index in range(users)]
        free: list[User] = list(made)

        async def user() -> None:
            one = free.pop()
            while time.monotonic() < end[0]:
                one._arrive(str(done[0]), one._now_ns())
                await one.run()
                done[0] += 1
                if recorder.waiting_count >= PART_ROWS:
                    write_part(*(recorder.take_part() or (Path(), ())))
                    recorder.take_live()

        measured = await _measured(user, users, seconds, (end, done))
        recorder.check()
        for one in made:
            await one._leave()
        await close_shared(desk.shared)
    return measured


async def _measured(user, users, seconds, state) -> dict[str, float]:  # type: ignore[no-untyped-def]
    end, done = state
    async with asyncio.TaskGroup() as group:
        for _ in range(users):
            group.create_task(user())
        await asyncio.sleep(WARM_S)
        cpu, count, begun = time.process_time(), done[0], time.monotonic()
        await asyncio.sleep(seconds)
        cpu, count, took = time.process_time() - cpu, done[0] - count, time.monotonic() - begun
        end[0] = 0.0
    return {"requests": count, "cpu_us": cpu / max(1, count) * 1e6, "per_s": count / took}


def main() -> None:
    kind, url, users, seconds = sys.argv[1:5]
    work = (
        _bare(url, int(users), float(seconds)) if kind == "lean" else _recorded(kind, url, int(users), float(seconds))
    )
    if kind.startswith("lean"):
        import uvloop

        found = uvloop.run(work)
    else:
        found = asyncio.run(work)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
