"""The embedded fault proxy beside Shopify's Toxiproxy: their CPU per request, and what they add to the median; one nginx behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from harness.load.lean import LeanClient
from tests.bench.clients import listening, nginx
from tests.bench.finding import Finding
from tests.ports import free_port

__all__ = ["proxies"]

ROUNDS, USERS, REQUESTS, SLOW_REQUESTS, LATENCY_MS = 5, 16, 6000, 1600, 5


def proxies() -> list[Finding]:
    """Medians of rounds that alternate, without a toxic and with a latency toxic on every connection."""
    if shutil.which("toxiproxy-server") is None:
        raise RuntimeError("no toxiproxy-server on PATH")
    ours = [sys.executable, "-m", "harness.proxy.server", "--host", "127.0.0.1", "--port"]
    theirs = ["toxiproxy-server", "-host", "127.0.0.1", "-port"]
    cpu: dict[str, list[float]] = {name: [] for name in ("ours", "theirs", "ours slow", "theirs slow")}
    took: dict[str, list[float]] = {name: [] for name in (*cpu, "direct")}
    with nginx() as url, _server(ours) as embedded, _server(theirs) as shopify:
        there = url.removeprefix("http://")
        ways = {"ours": (embedded, False), "theirs": (shopify, False)}
        ways |= {"ours slow": (embedded, True), "theirs slow": (shopify, True)}
        links = {name: _link(server[0], name.replace(" ", "-"), there, slow) for name, (server, slow) in ways.items()}
        for _ in range(ROUNDS):
            took["direct"].append(uvloop.run(_asked(url, REQUESTS)))
            for name, (server, slow) in ways.items():
                count, before_s = SLOW_REQUESTS if slow else REQUESTS, _cpu_s(server[1])
                took[name].append(uvloop.run(_asked(links[name], count)))
                cpu[name].append((_cpu_s(server[1]) - before_s) / count * 1e6)
    used, median = ({name: statistics.median(values) for name, values in found.items()} for found in (cpu, took))
    return [
        *(_finding(f"{what}, CPU per request: Toxiproxy", used["ours" + way], used["theirs" + way], limit)
          for what, way, limit in (("embedded proxy", "", 0.8), ("proxy with latency", " slow", 1.0))),
        _finding("embedded proxy, added p50: Toxiproxy", *(median[way] - median["direct"] for way in ("ours", "theirs")), 0.8),
        _finding(
            f"proxy with {LATENCY_MS} ms, p50 beyond it: Toxiproxy",
            *(median[way] - median["direct"] - LATENCY_MS * 1e3 for way in ("ours slow", "theirs slow")),
            1.0,
        ),
    ]  # fmt: skip


def _finding(what: str, ours: float, theirs: float, limit: float) -> Finding:
    return Finding(what=what, ours=f"{ours:.1f} us", beside=f"{theirs:.1f} us", ratio=ours / theirs, limit=limit)


async def _asked(url: str, count: int) -> float:
    """The median latency, in us, of so many requests in a closed loop of 16 connections."""
    client, left, took = LeanClient(url, 10.0, {}), [count], list[int]()

    async def user() -> None:
        while left[0] > 0:
            left[0] -= 1
            begun = time.perf_counter_ns()
            async with client.request("GET", "/") as reply:
                await reply.read()
            took.append(time.perf_counter_ns() - begun)

    async with asyncio.TaskGroup() as group:
        for _ in range(USERS):
            group.create_task(user())
    return statistics.median(took) / 1e3


@contextmanager
def _server(command: list[str]) -> Iterator[tuple[str, int]]:
    """The server's API and its pid."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, str(port)], stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            listening(port)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(timeout=10)


def _link(api: str, name: str, upstream: str, slow: bool) -> str:
    listen = f"127.0.0.1:{free_port()}"
    _post(f"{api}/proxies", {"name": name, "listen": listen, "upstream": upstream})
    if slow:
        toxic = {"name": "slow", "type": "latency", "stream": "downstream", "attributes": {"latency": LATENCY_MS}}
        _post(f"{api}/proxies/{name}/toxics", toxic)
    return f"http://{listen}"


def _post(url: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def _cpu_s(pid: int) -> float:
    """Of all its threads, to the nanosecond: clock ticks are a hundred times too coarse for this."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
