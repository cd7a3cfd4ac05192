"""`make bench`: what Blackstart costs, each as a ratio to something measured beside it, so that any machine can tell.

`python -m tests.bench [PART...] [--json]`. Not part of CI: a shared machine has moods. Exit 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

from harness.cli.app import app
from harness.load.op import dropped_row
from harness.load.pacing import open_alarm
from harness.load.record import Recorder, warm_up, write_part
from tests.bench.clients import clients
from tests.bench.finding import Finding
from tests.bench.footprint import footprint
from tests.bench.histories import histories
from tests.bench.judging import judged
from tests.bench.outage import outage
from tests.bench.proxies import proxies
from tests.bench.streams import streams

WAKES = 1500
GAPS_NS = (1_000_000, 2_100_000)
"""1000/s, and a gap that is no whole millisecond: that is what asyncio's timers wait in."""
OPS = 20_000
ROUNDS = 7


def main() -> int:
    """Measure all, print a table or JSON; 0 when every ratio is within its limit."""
    asked = [word for word in sys.argv[1:] if not word.startswith("-")] or list(PARTS)
    found = [finding for part in asked for finding in PARTS[part]()]
    sys.stderr.write(machine() + "\n")
    if "--json" in sys.argv[1:]:
        sys.stdout.write(json.dumps([{**asdict(one), "met": one.met} for one in found], indent=2) + "\n")
    else:
        for one in found:
            limit = "" if one.limit is None else f"  (limit {one.limit:g}: {'met' if one.met else 'MISSED'})"
            sys.stdout.write(f"{one.what:34} {one.ours:>12} : {one.beside:>12}  = {one.ratio:.3g}{limit}\n")
    return 0 if all(one.met for one in found) else 1


def machine() -> str:
    """On what this was measured, and how busy it was: ratios need a quiet machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "?")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} x {cpu}, Linux {platform.release()}, Python {platform.python_version()}, load average {load}"
    )


def pacing() -> list[Finding]:
    """p99 lateness of wakes at planned instants: our alarm, and `asyncio.sleep` until each."""
    return [_pacing(gap_ns) for gap_ns in GAPS_NS]


def _pacing(gap_ns: int) -> Finding:
    """The median of three rounds, in turn."""
    rounds = [(asyncio.run(_alarm_lateness(gap_ns)), asyncio.run(_sleep_lateness(gap_ns))) for _ in range(3)]
    ours, theirs = (statistics.median(values) for values in zip(*rounds, strict=True))
    return Finding(
        what=f"{1e9 / gap_ns:.0f}/s, p99 late: asyncio.sleep",
        ours=f"{ours / 1e3:.0f} us",
        beside=f"{theirs / 1e3:.0f} us",
        ratio=ours / theirs,
        limit=0.25,
    )


async def _alarm_lateness(gap_ns: int) -> int:
    loop = asyncio.get_running_loop()
    late: list[int] = []
    done = loop.create_future()
    due = [time.monotonic_ns() + gap_ns * (number + 1) for number in range(WAKES)]

    def ring() -> None:
        late.append(time.monotonic_ns() - due[len(late)])
        if len(late) == WAKES:
            done.set_result(None)
        else:
            alarm.set(due[len(late)])

    alarm = open_alarm(loop, ring)
    alarm.set(due[0])
    async with asyncio.timeout(60):
        await done
    alarm.close()
    return _p99(late)


async def _sleep_lateness(gap_ns: int) -> int:
    late = []
    begun = time.monotonic_ns()
    for number in range(WAKES):
        due = begun + gap_ns * (number + 1)
        await asyncio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        late.append(time.monotonic_ns() - due)
    return _p99(late)


def _p99(values: list[int]) -> int:
    return sorted(values)[int(len(values) * 0.99)]


def recording() -> Finding:
    """Processor time per op from its start to its row in Parquet, and of an asyncio task that does nothing."""
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        ours = min(_cpu(lambda: _record(Path(folder))) for _ in range(ROUNDS)) / OPS
    theirs = min(_cpu(lambda: asyncio.run(_tasks())) for _ in range(ROUNDS)) / OPS
    return Finding(
        what="recording an op: an empty task",
        ours=f"{ours * 1e6:.2f} us",
        beside=f"{theirs * 1e6:.2f} us",
        ratio=ours / theirs,
        limit=None,
    )


def _record(folder: Path) -> None:
    recorder = Recorder(0, folder)
    for _ in range(OPS):
        op = recorder.next_id()
        recorder.started(SimpleNamespace(op=op))  # type: ignore[arg-type]
        row = list(dropped_row(op, "add", "one", 1, ("load", "eu")))
        row[13] = "ok"
        recorder.ended(op, tuple(row))
        if recorder.waiting_count >= 8192:
            _write(recorder)
    _write(recorder)
    recorder.check()


def _write(recorder: Recorder) -> None:
    part = recorder.take_part()
    if part is not None:
        write_part(*part)


async def _tasks() -> None:
    async def nothing() -> None:
        await asyncio.sleep(0)

    for _ in range(OPS):
        await asyncio.create_task(nothing())


def _cpu(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def help_text() -> Finding:
    """Wall time of `blackstart --help`, and of an empty typer app with as many commands; medians, taken in turn."""
    count = len(app.registered_commands) + sum(
        len(group.typer_instance.registered_commands) for group in app.registered_groups
    )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "empty.py")
        script.write_text(_empty_app(count))
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_wall([str(Path(sys.executable).with_name("blackstart")), "--help"]))
            theirs.append(_wall([sys.executable, str(script), "--help"]))
    return Finding(
        what=f"--help: empty app of {count} commands",
        ours=f"{statistics.median(ours) * 1e3:.0f} ms",
        beside=f"{statistics.median(theirs) * 1e3:.0f} ms",
        ratio=statistics.median(ours) / statistics.median(theirs),
        limit=1.5,
    )


def _empty_app(commands: int) -> str:
    empty = "import typer\napp = typer.Typer(add_completion=False, rich_markup_mode=None)\n"
    made = (f"@app.command()\ndef c{number}() -> None:\n    'Do {number}.'\n" for number in range(commands))
    return empty + "".join(made) + "app()\n"


def validating() -> Finding:
    """Wall time of `blackstart validate` on one experiment, and of the empty app with pydantic and ruamel.yaml imported."""
    project = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "empty.py")
        script.write_text("import pydantic, ruamel.yaml\n" + _empty_app(1).replace("app()", "app(['--help'])"))
        ours, theirs = [], []
        for _ in range(ROUNDS):
            command = [str(Path(sys.executable).with_name("blackstart")), "validate"]
            ours.append(_wall([*command, str(project / "experiments" / "region-kill.yaml")]))
            theirs.append(_wall([sys.executable, str(script)]))
    mine, beside = statistics.median(ours), statistics.median(theirs)
    return Finding(
        what="validate: empty app, pydantic, ruamel",
        ours=f"{mine * 1e3:.0f} ms",
        beside=f"{beside * 1e3:.0f} ms",
        ratio=mine / beside,
        limit=1.5,
    )


def checks() -> list[Finding]:
    """All checks of logs that search nothing, over a million operations, and reading these from their Parquet."""
    return _judging("logs", "eight checks of 10^6 ops: reading", 40)


def zones() -> list[Finding]:
    """Linearizability of registers by zones, a million operations, and reading these from their Parquet."""
    return _judging("registers", "zones of 10^6 ops: reading", 6)


def tenfold_checks() -> list[Finding]:
    """The same eight checks over ten million operations, and over a million."""
    one, ten = judged("logs"), judged("logs", 10)
    return [
        Finding(
            what="eight checks of 10^7 ops: of 10^6",
            ours=f"{ten.checks_cpu_s:.1f} s",
            beside=f"{one.checks_cpu_s:.1f} s",
            ratio=ten.checks_cpu_s / one.checks_cpu_s,
            limit=11,
        ),
        Finding(
            what="the same, peak memory: of 10^6",
            ours=f"{ten.peak_bytes / 1e9:.1f} GB",
            beside=f"{one.peak_bytes / 1e9:.1f} GB",
            ratio=ten.peak_bytes / one.peak_bytes,
            limit=None,
        ),
    ]


def _judging(load: str, what: str, limit: float) -> list[Finding]:
    found = judged(load)
    spent = Finding(
        what=what,
        ours=f"{found.checks_cpu_s:.1f} s",
        beside=f"{found.read_cpu_s:.1f} s",
        ratio=found.checks_cpu_s / found.read_cpu_s,
        limit=limit,
    )
    held = Finding(
        what="the same, peak memory: 1 GB",
        ours=f"{found.peak_bytes / 1e6:.0f} MB",
        beside="1000 MB",
        ratio=found.peak_bytes / 1e9,
        limit=1.0,
    )
    return [spent, held]


def _wall(command: list[str]) -> float:
    """Seconds of a process, whatever it prints. Bytecode may be written, as it is where people work."""
    told = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=told | {"NO_COLOR": "1"}
    )
    return time.perf_counter() - begun


PARTS: dict[str, Callable[[], list[Finding]]] = {
    "pacing": pacing,
    "recording": lambda: [recording()],
    "help": lambda: [help_text(), validating()],
    "outage": outage,
    "proxies": proxies,
    "streams": streams,
    "checks": checks,
    "zones": zones,
    "clients": clients,
    "million": histories,
    "footprint": footprint,
    "tenfold": lambda: histories(tenfold=True)[2:],
    "tenfold-checks": tenfold_checks,
}
"""Each takes under three minutes alone, but for the last, which takes as long as its checks of ten million."""


if __name__ == "__main__":
    sys.exit(main())
