"""What the larger reference stack costs: how soon it is ready, how much memory it holds, how much of two cores its load takes."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.bench.finding import Finding

__all__ = ["footprint"]

STACK = "genai-small"
RATE, TOKENS, LOAD_S = 12.0, 64.0, 12.0  # requests per second, mean tokens of an answer
READY_S, MEMORY_MB, CPU_SHARE = 2.0, 250.0, 0.6
_CORES = 2


def footprint() -> list[Finding]:
    """Ready within 2 s, under 250 MB (proportional set size), under 60 % of two cores at 12 answers a second of 64 tokens."""
    blackstart = str(Path(sys.executable).with_name("blackstart"))
    before = {process.pid for process in psutil.process_iter()}
    began = time.monotonic()
    up = subprocess.run([blackstart, "stack", "up", STACK, "--json"], check=True, capture_output=True, text=True)
    took_s = time.monotonic() - began
    try:
        started = [process for process in psutil.process_iter() if process.pid not in before]
        ours = [process for process in started if _is_ours(process)]
        ready_s = _slowest_ready(up.stderr)
        memory_mb = sum(process.memory_full_info().pss for process in ours) / 1e6
        entry = str(_find(json.loads(up.stdout), "entry"))
        share = asyncio.run(_loaded(ours, entry)) / (LOAD_S * _CORES)
    finally:
        subprocess.run([blackstart, "stack", "down", STACK], check=False, capture_output=True)
    return [
        _finding(f"ready, {len(ours)} processes", ready_s, READY_S, "s"),
        _finding("the whole command", took_s, None, "s"),
        _finding("memory, PSS with the proxy", memory_mb, MEMORY_MB, "MB"),
        _finding("CPU at 12 answers/s, of 2 cores", share, CPU_SHARE, ""),
    ]


def _finding(what: str, ours: float, limit: float | None, unit: str) -> Finding:
    beside = limit or ours
    ratio = None if limit is None else 1.0
    return Finding(what=what, ours=f"{ours:.3g} {unit}", beside=f"{beside:g} {unit}", ratio=ours / beside, limit=ratio)


def _is_ours(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and any("harness" in word for word in process.cmdline())
    except psutil.Error:
        return False


def _slowest_ready(talk: str) -> float:
    """Seconds until the last instance was ready, as `stack up` says it: "NAME: ready after 72 ms"."""
    found = [words for words in (line.split() for line in talk.splitlines()) if words[1:3] == ["ready", "after"]]
    return max(float(words[3]) / (1000 if words[4] == "ms" else 1) for words in found)


def _find(value: Any, key: str) -> Any:
    """The first value under a key, anywhere in JSON; None without one."""
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        if isinstance(value.get(key), str):
            return value[key]
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    return next((found for one in inner if (found := _find(one, key)) is not None), None)


async def _loaded(processes: list[psutil.Process], entry: str) -> float:
    """CPU seconds that the processes take while answers are streamed at an even rate, lengths exponential."""
    chance = random.Random(7)

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        tokens = max(1, min(256, round(chance.expovariate(1 / TOKENS))))
        body = {"messages": [{"role": "user", "content": f"turn {number}"}], "max_tokens": tokens, "stream": True}
        headers = {"x-session": f"s{number % 60}", "x-tenant": "eu-1" if number % 2 else "us-1"}
        async with session.post(f"{entry}/v1/chat/completions", json=body, headers=headers) as reply:
            await reply.read()
            assert reply.status == 200, reply.status

    before = _cpu_s(processes)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        for number in range(int(RATE * LOAD_S)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            tasks.create_task(one(session, number))
    return _cpu_s(processes) - before


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))
