"""The collector: what the edges tell of their requests becomes a public status and alerts. It stands outside all regions."""

from __future__ import annotations

import argparse
import asyncio
import html
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web

from harness.reference.channel import Wire
from harness.reference.metrics import Metrics
from harness.reference.mutants import MUTE
from harness.reference.program import flags, log, metrics_page, mutants_of, run_program

__all__ = ["STATES", "Feed", "main"]

STATES = ("operational", "degraded", "outage")
_SPAN_S = 3.0
_FEWEST = 10  # requests in the span, below which nothing new is said of a cell
_DEGRADED, _OUTAGE = 0.05, 0.5  # share of requests that fail
_CALM_S = 4.0  # so long without harm, and an incident is over
_LOOK_S = 0.25


class Feed:
    """The state of each cell, by the requests of the last seconds, and every change of it as an update. Pure but for its clock."""

    def __init__(self, cells: tuple[str, ...]) -> None:
        self.cells = dict.fromkeys(cells, 0)
        self.updates: deque[dict[str, Any]] = deque(maxlen=200)
        self._seen: dict[str, deque[tuple[float, bool]]] = {cell: deque() for cell in cells}
        self._harmed_at: dict[str, float] = {}

    def take(self, cell: str, good: bool, now: float) -> None:
        """Take in how a request of a cell went; one of a cell that is not known is left out."""
        if cell in self._seen:
            self._seen[cell].append((now, good))

    def failing(self, cell: str, now: float) -> float | None:
        """The share of the last seconds' requests that failed; None when there were too few."""
        seen = self._seen[cell]
        while seen and seen[0][0] < now - _SPAN_S:
            seen.popleft()
        return sum(not good for _, good in seen) / len(seen) if len(seen) >= _FEWEST else None

    def look(self, now: float) -> list[tuple[str, int, float]]:
        """The cells whose state has changed, each with its state and the share that fails now."""
        changes = []
        for cell, state in self.cells.items():
            share = self.failing(cell, now)
            if share is None:
                continue
            found = 2 if share >= _OUTAGE else 1 if share >= _DEGRADED else 0
            if found:
                self._harmed_at[cell] = now
            if found < state and now - self._harmed_at.get(cell, now - _CALM_S) < _CALM_S:
                continue  # better, but not for long enough to say so
            if found != state:
                changes.append((cell, found, share))
        for cell, state, share in changes:
            self.cells[cell] = state
            words = f"{STATES[state]}: {share:.0%} of the requests of cell {cell} fail"
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.updates.append({"at": at, "cell": cell, "state": STATES[state], "failing": share, "words": words})
        return changes


class _Collector:
    def __init__(self, feed: Feed, session: aiohttp.ClientSession, alerts: str | None, mute: bool) -> None:
        self.feed = feed
        self.session = session
        self.alerts = alerts
        self.mute = mute
        self.edges: dict[str, float] = {}
        self._fired: dict[str, str] = {}

    async def telemetry(self, request: web.Request) -> web.Response:
        body = await request.json()
        now = time.monotonic()
        self.edges[str(body["edge"])] = now
        for one in body["requests"]:
            self.feed.take(str(one["cell"]), bool(one["good"]), now)
        return web.json_response({"taken": len(body["requests"])})

    async def run(self) -> None:
        """Look, publish and alert, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self.mute:
                continue
            for cell, state, share in self.feed.look(time.monotonic()):
                log("status", cell=cell, state=STATES[state], failing=share)
                await self._alert(cell, firing=state == 2)

    async def _alert(self, cell: str, *, firing: bool) -> None:
        if self.alerts is None or (cell in self._fired) is firing:
            return
        began = self._fired.setdefault(cell, datetime.now(UTC).isoformat())
        alert = {
            "status": "firing" if firing else "resolved",
            "labels": {"alertname": "CellDown", "cell": cell},
            "startsAt": began,
            "fingerprint": f"cell-{cell}",
        }
        if not firing:
            del self._fired[cell]
        body = {"version": "4", "status": alert["status"], "alerts": [alert]}
        try:
            async with self.session.post(self.alerts, json=body, timeout=aiohttp.ClientTimeout(total=1)) as reply:
                log("alerted", cell=cell, firing=firing, status=reply.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            log("alert-unsent", cell=cell, why=repr(exc))

    def _about(self) -> Wire:
        now = time.monotonic()
        worst = max(self.feed.cells.values())
        return {
            "state": STATES[worst],
            "level": worst,
            "cells": {cell: STATES[state] for cell, state in self.feed.cells.items()},
            "edges_ms_ago": {edge: int((now - at) * 1000) for edge, at in self.edges.items()},
            "updates": list(self.feed.updates),
        }

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._about())

    async def page(self, _request: web.Request) -> web.Response:
        """The same for people."""
        about = self._about()
        rows = "".join(f"<li>{html.escape(one['at'])} {html.escape(one['words'])}</li>" for one in about["updates"])
        text = f"<!doctype html><title>Status</title><h1>{html.escape(about['state'])}</h1><ul>{rows}</ul>"
        return web.Response(text=text, content_type="text/html")

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")


def main(argv: list[str] | None = None) -> None:
    """Run the collector until SIGTERM."""
    parser = flags("collector")
    parser.add_argument("--cell", action="append", required=True)
    parser.add_argument("--alerts", metavar="URL", help="where alerts go, in Alertmanager's form")
    args = parser.parse_args(argv)
    run_program(lambda tasks, app: _build(tasks, app, args, mutants_of(parser, args)), args)


async def _build(
    tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace, mutants: frozenset[str]
) -> None:
    session = aiohttp.ClientSession()
    collector = _Collector(Feed(tuple(args.cell)), session, args.alerts or None, MUTE in mutants)

    async def close(_app: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    app.router.add_post("/v1/telemetry", collector.telemetry)
    app.router.add_get("/status.json", collector.status)
    app.router.add_get("/status", collector.page)
    app.router.add_get("/livez", collector.livez)
    app.router.add_get("/metrics", metrics_page(Metrics()))
    tasks.create_task(collector.run())


if __name__ == "__main__":
    main()
