"""The controller process of the larger stack: the arbiters of all cells. No request passes through it."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import aiohttp
from aiohttp import web

from harness.reference.arbiter import Arbiter, Chronicle, Settings
from harness.reference.channel import Wire
from harness.reference.follower import parse_cell
from harness.reference.health import UP
from harness.reference.metrics import Metrics
from harness.reference.program import failure, flags, metrics_page, mutants_of, run_program
from harness.reference.switching import switched

__all__ = ["main"]


class _Controller:
    def __init__(self, cells: dict[str, Arbiter], chronicle: Chronicle) -> None:
        self.cells = cells
        self.chronicle = chronicle

    async def route(self, request: web.Request) -> web.Response:
        """The routes of all cells; the question carries how an edge's attempts went since its last."""
        for name, counts in (await request.json())["seen"].items():
            self._learn(self.cells[name], counts)
        return web.json_response({"cells": {name: self._told(cell) for name, cell in self.cells.items()}})

    def _learn(self, cell: Arbiter, counts: dict[str, int]) -> None:
        for key, count in counts.items():
            region, _, word = key.partition(" ")
            for _ in range(count):
                cell.live(cell.regions[region], good=word == "good")

    def _told(self, cell: Arbiter) -> Wire:
        return {**cell.about(), "serves": cell.servable() is not None, "mode": cell.settings.mode}

    def about(self) -> Wire:
        """All cells, and how often any primary has moved."""
        cells = {name: cell.about() for name, cell in self.cells.items()}
        return {
            "stack": "genai",
            "size": "small",
            "cells": cells,
            "promotions": sum(one["promotions"] for one in cells.values()),
            "drifted": sum(bool(one["drift"]) for one in cells.values()),
        }

    async def say(self, _request: web.Request) -> web.Response:
        return web.json_response(self.about())

    async def readyz(self, _request: web.Request) -> web.Response:
        """Ready when every cell is served."""
        ready = all(cell.servable() is not None for cell in self.cells.values())
        return web.json_response(self.about(), status=200 if ready else 503)

    async def redundant(self, _request: web.Request) -> web.Response:
        """200 when in every cell the standby could be promoted without loss."""
        ready = all(
            all(region.health.state == UP for region in cell.regions.values()) and cell.replication()["redundant"]
            for cell in self.cells.values()
        )
        return web.json_response(self.about(), status=200 if ready else 503)

    async def replication(self, _request: web.Request) -> web.Response:
        """How far the standbys are behind: the worst cell, and each."""
        cells = {name: cell.replication() for name, cell in self.cells.items()}
        behind = [one["behind"] for one in cells.values()]
        worst = None if None in behind else max(behind)
        return web.json_response({"behind": worst, "cells": cells})

    async def switch(self, request: web.Request) -> web.Response:
        """Give the role in a cell to the region that an operator names; 409 with the reason when that is not safe now."""
        cell = self.cells.get(request.match_info["cell"])
        if cell is None:
            return failure(404, "not_found", f"there is no such cell; there are {', '.join(self.cells)}")
        return await switched(cell, request)

    async def events(self, request: web.Request) -> web.Response:
        """The decisions, oldest first; `?since=N` leaves out those up to N."""
        since = int(request.query.get("since") or 0)
        return web.json_response([event for event in self.chronicle.events if event["seq"] > since])

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")


def main(argv: list[str] | None = None) -> None:
    """Run the controller until SIGTERM."""
    parser = flags("controller")
    parser.add_argument("--cell", action="append", required=True, metavar="NAME:REGION=URL,REGION=URL")
    parser.add_argument(
        "--key-root", default="", help="the secret that keys are derived from, where gateways ask for them"
    )
    parser.add_argument("--state", type=Path, required=True, help="a folder for the routes; kept over restarts")
    args = parser.parse_args(argv)
    try:
        cells = dict(parse_cell(text) for text in args.cell)
    except ValueError as exc:
        parser.error(str(exc))
    run_program(lambda tasks, app: _build(tasks, app, args, cells, mutants_of(parser, args)), args)


async def _build(
    tasks: asyncio.TaskGroup,
    app: web.Application,
    args: argparse.Namespace,
    cells: dict[str, dict[str, str]],
    mutants: frozenset[str],
) -> None:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=10))
    metrics, chronicle = Metrics(), Chronicle()
    arbiters = {
        name: Arbiter(
            regions,
            Settings(mode="sync", mutants=mutants, state=args.state / f"route-{name}.json", key_root=args.key_root),
            session,
            metrics,
            chronicle,
        )
        for name, regions in cells.items()
    }
    controller = _Controller(arbiters, chronicle)

    async def close(_app: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    app.router.add_post("/v1/route", controller.route)
    app.router.add_post("/v1/cells/{cell}/switch", controller.switch)
    app.router.add_get("/v1/about", controller.say)
    app.router.add_get("/v1/redundant", controller.redundant)
    app.router.add_get("/v1/replication", controller.replication)
    app.router.add_get("/readyz", controller.readyz)
    app.router.add_get("/livez", controller.livez)
    app.router.add_get("/events", controller.events)
    app.router.add_get("/metrics", metrics_page(metrics))
    for arbiter in arbiters.values():
        for region in arbiter.regions.values():
            tasks.create_task(arbiter.watch(region))
        tasks.create_task(arbiter.govern())


if __name__ == "__main__":
    main()
