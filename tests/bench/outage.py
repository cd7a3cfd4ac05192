"""What load is begun while the stack is down: arrivals started of those due, in a freeze and after a kill of 3 s each."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from itertools import takewhile
from pathlib import Path

from harness.history.table import OpTable
from harness.load.engine import AsyncioEngine
from harness.model.arrivals import arrival_json, arrivals
from harness.model.experiment import ArrivalSpec
from harness.model.ports import LoadJob
from tests.bench.finding import Finding

__all__ = ["outage"]

S, MS = 1_000_000_000, 1_000_000
SPEC = ArrivalSpec(rate_per_s=100, shape="even")


def outage() -> list[Finding]:
    """Due per started: 1 is all of them."""
    return asyncio.run(_outage())


async def _outage() -> list[Finding]:
    script = Path(__file__).parents[1] / "load" / "target_server.py"
    target = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert target.stdout is not None
    engine = AsyncioEngine()
    with tempfile.TemporaryDirectory() as folder:
        job = LoadJob(
            profile="http", options={}, arrival=arrival_json(SPEC), timeout_ns=500 * MS, seed=7,
            entry=f"http://127.0.0.1:{int(target.stdout.readline())}", regions={}, groups={}, users=1, users_max=None,
            deadline_ns=None, prober_every_ns=None, prober_timeout_ns=None, workers=1, origin_ns=time.monotonic_ns(),
            start_at_ns=0, out_dir=folder,
        )  # fmt: skip
        spans = {}
        try:
            await engine.start(job, lambda _: None)
            await asyncio.sleep(1)
            for what, number in (("freeze", signal.SIGSTOP), ("kill", signal.SIGKILL)):
                target.send_signal(number)
                begun_ns = time.monotonic_ns() - job.origin_ns
                await asyncio.sleep(3)
                spans[what] = begun_ns, time.monotonic_ns() - job.origin_ns
                target.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.5)
            await engine.stop_arrivals()
            await engine.drain(3 * S)
        finally:
            await engine.close()
            target.kill()
            target.communicate()
        ops = OpTable.read(Path(folder))
        intended, started = ops.ints("intended_ns"), ~ops.is_("outcome", "dropped")
    zero_ns = int(intended[0]) - next(arrivals(SPEC, 7))
    found = []
    for what, (begin_ns, end_ns) in spans.items():
        due = sum(at >= begin_ns for at in takewhile(lambda at, end_ns=end_ns: at < end_ns, arrivals(SPEC, 7, zero_ns)))
        ours = int(((intended >= begin_ns) & (intended < end_ns) & started).sum())
        found.append(
            Finding(
                what=f"due in a {what} of 3 s: started",
                ours=f"{due}",
                beside=f"{ours}",
                ratio=due / max(1, ours),
                limit=1,
            )
        )
    return found
