"""A conductor cut to its dangerous middle: two links of a real fault proxy broken, the reaper armed, then it just stands.

Run as a program: argv are the run directory and the upstream's port. Prints one JSON line when both faults stand.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from harness.model.plan import PlannedFault, Target
from harness.model.wiring import Wiring
from harness.proxy.launch import start_embedded
from harness.registry import catalog
from harness.run.clock import MonotonicClock
from harness.run.faultlife import FaultLife
from harness.run.guard import Guard
from harness.run.holds import Holds
from harness.run.journal import PROXY, Journal, Opened, Spawned
from harness.run.process import start_ticks
from harness.run.recorder import Recorder
from harness.run.world import RunWorld


def fault(kind: str, link: str) -> PlannedFault:
    return PlannedFault(
        id=f"{kind}-it",
        entry=f"{kind}-it",
        kind=kind,
        params={},
        targets=(Target(kind="link", name=link),),
        at_ns=0,
        for_ns=None,
        what="",
        clients_see="",
        on_revert="",
    )


async def main(run_dir: Path, upstream_port: str, deadline_s: float) -> None:
    for folder in ("logs", "ops"):
        (run_dir / folder).mkdir()
    clock = MonotonicClock()
    recorder = Recorder(run_dir / "events.jsonl")
    journal = Journal(run_dir / "undo.jsonl")
    proxy = await start_embedded(1, run_dir / "logs" / "proxy.log")
    ticks = start_ticks(os.getpid())
    journal.append(
        Opened(
            run_id=run_dir.name,
            pid=os.getpid(),
            ticks=ticks,
            origin_ns=clock.origin_ns,
            stack="toy",
            wiring=Wiring(),
            links=proxy.links.recipe(),
        )
    )
    journal.append(Spawned(what="fault proxy", pid=proxy.pid, ticks=start_ticks(proxy.pid), order=PROXY))
    for link in ("a", "b"):
        await proxy.links.create(link, "127.0.0.1:0", f"127.0.0.1:{upstream_port}", {})
    guard = await Guard.arm(journal)
    world = RunWorld(run_dir.name, clock, Wiring(), {}, proxy.links)

    async def as_it_is(target: Target) -> Target:
        return target

    for kind, link in (("partition", "a"), ("refuse", "b")):
        life = FaultLife(fault(kind, link), world, catalog().fault(kind), (journal, recorder), Holds())
        await life.inject(as_it_is, clock.now_ns() + int(deadline_s * 1e9))
    print(json.dumps({"url": proxy.links.url, "proxy": proxy.pid, "reaper": guard.pid}), flush=True)
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        guard.assure()
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
