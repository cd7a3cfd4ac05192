"""The edge process: the OpenAI-compatible front of both regions, and the arbiter between them."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
from aiohttp import web

from harness.reference.arbiter import Arbiter, Settings
from harness.reference.channel import Wire
from harness.reference.follower import Follower, follow, parse_cell
from harness.reference.governor import Limits
from harness.reference.health import UP, Thresholds
from harness.reference.metrics import Metrics
from harness.reference.mutants import MUTANTS, NO_STALL_TIMEOUT
from harness.reference.names import Names
from harness.reference.oracle import PINS
from harness.reference.program import failure, flags, metrics_page, mutants_of, run_program
from harness.reference.relay import Means, Patience, Relay, Router
from harness.reference.switching import switched
from harness.reference.telemetry import Telemetry

__all__ = ["main"]

_READ_S = 2.0


class _Reads:
    """Reads passed on to the region that serves; they have no effect and may be tried again by anyone."""

    def __init__(self, relay: Relay, session: aiohttp.ClientSession) -> None:
        self.relay = relay
        self.session = session

    async def read(self, request: web.Request) -> web.Response:
        return await self._pass_on(request, None)

    async def publish(self, request: web.Request) -> web.Response:
        """An operator's word, passed on once: who gets no answer looks it up and says it again."""
        return await self._pass_on(request, await request.read())

    async def _pass_on(self, request: web.Request, data: bytes | None) -> web.Response:
        router = self.relay.router(request)
        region = router.servable()
        if region is None:
            return failure(503, "no_upstream", "no region can serve this now", {"retry-after": "1", "x-attempts": "0"})
        timeout = aiohttp.ClientTimeout(total=_READ_S)
        try:
            url, ask = f"{region.url}{request.path_qs}", "GET" if data is None else "POST"
            sent = {name: request.headers[name] for name in ("authorization", "x-tenant") if name in request.headers}
            async with self.session.request(ask, url, data=data, headers=sent, timeout=timeout) as reply:
                body = await reply.read()
                headers = {key: reply.headers[key] for key in ("x-served-by", "x-region") if key in reply.headers}
        except (aiohttp.ClientError, OSError) as exc:
            router.live(region, good=False)
            return failure(502, "upstream_failed", repr(exc), {"x-attempts": "1"})
        headers |= {"x-epoch": str(router.epoch), "x-attempts": "1"}
        return web.Response(body=body, status=reply.status, content_type="application/json", headers=headers)


async def _livez(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


class _Edge:
    """What an edge that decides for itself says of its two regions."""

    def __init__(self, arbiter: Arbiter, mutants: frozenset[str]) -> None:
        self.arbiter = arbiter
        self.mutants = mutants

    async def readyz(self, _request: web.Request) -> web.Response:
        """Ready when a region serves; the standby's state stands beside it."""
        ready = self.arbiter.servable() is not None
        return web.json_response(self.arbiter.about(), status=200 if ready else 503)

    async def redundant(self, _request: web.Request) -> web.Response:
        """200 when both regions are up and the standby could be promoted without loss."""
        both = all(region.health.state == UP for region in self.arbiter.regions.values())
        ready = both and bool(self.arbiter.replication()["redundant"])
        return web.json_response(self.arbiter.about(), status=200 if ready else 503)

    async def events(self, request: web.Request) -> web.Response:
        """The decisions, oldest first; `?since=N` leaves out those up to N."""
        since = int(request.query.get("since") or 0)
        return web.json_response([event for event in self.arbiter.chronicle.events if event["seq"] > since])

    async def replication(self, _request: web.Request) -> web.Response:
        return web.json_response(self.arbiter.replication())

    async def switch(self, request: web.Request) -> web.Response:
        """Give the role to the region that an operator names; 409 with the reason when that is not safe now."""
        return await switched(self.arbiter, request)

    async def about(self, _request: web.Request) -> web.Response:
        active = set(self.mutants).union(*(region.mutants for region in self.arbiter.regions.values()))
        body: Wire = {
            "stack": "genai", "size": "tiny", "replication": self.arbiter.settings.mode,
            "mutants": [{"name": name, "what": MUTANTS[name].what} for name in sorted(active)],
            "pins": {"model": PINS.model, "tokenizer": PINS.tokenizer, "template": PINS.template},
            **self.arbiter.about(),
        }  # fmt: skip
        return web.json_response(body)


class _Follows:
    """What an edge under a controller says of its cells: the last it was told."""

    def __init__(self, cells: dict[str, Follower]) -> None:
        self.cells = cells

    async def readyz(self, _request: web.Request) -> web.Response:
        """Ready when every cell is served, as far as this edge knows."""
        ready = all(cell.servable() is not None for cell in self.cells.values())
        return web.json_response(self._about(), status=200 if ready else 503)

    async def about(self, _request: web.Request) -> web.Response:
        return web.json_response(self._about())

    def _about(self) -> Wire:
        return {"stack": "genai", "size": "small", "cells": {name: cell.about() for name, cell in self.cells.items()}}


def _parser() -> argparse.ArgumentParser:
    parser = flags("edge")
    parser.add_argument(
        "--region", action="append", default=[], metavar="NAME=URL", help="twice; the first is primary at the start"
    )
    parser.add_argument("--controller", metavar="URL", help="who decides instead of this edge; needs --cell")
    parser.add_argument("--cell", action="append", default=[], metavar="NAME:REGION=URL,REGION=URL")
    parser.add_argument("--resolver", metavar="HOST:PORT", help="a name server that regions are looked up at")
    parser.add_argument("--collector", metavar="URL", help="who is told how each request went")
    parser.add_argument(
        "--key-root", default="", help="the secret that keys are derived from, where gateways ask for them"
    )
    parser.add_argument("--state", type=Path, help="a file for the route; kept over restarts")
    parser.add_argument("--replication", choices=("sync", "async"), default="sync")
    parser.add_argument("--probe-ms", type=float, default=250)
    parser.add_argument("--probe-timeout-ms", type=float, default=500)
    parser.add_argument("--down-after-ms", type=float, default=1500, help="without a good probe, a region is down")
    parser.add_argument("--peer-silent-ms", type=float, default=1000, help="then the standby leaves the replica set")
    parser.add_argument("--lease-ms", type=float, default=1400)
    parser.add_argument("--hold-ms", type=float, default=300, help="a request waits so long for a region to serve it")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the edge until SIGTERM."""
    parser = _parser()
    args = parser.parse_args(argv)
    mutants = mutants_of(parser, args)
    if args.controller:
        try:
            cells = dict(parse_cell(text) for text in args.cell)
        except ValueError as exc:
            parser.error(str(exc))
        if not cells:
            parser.error("--controller: expected at least one --cell")
        run_program(lambda tasks, app: _build_following(tasks, app, args, cells, mutants), args)
        return
    regions = dict(entry.partition("=")[::2] for entry in args.region)
    if len(regions) != 2 or not all(regions.values()):
        parser.error(f"--region: expected two NAME=URL, got {args.region!r}")
    run_program(lambda tasks, app: _build(tasks, app, args, mutants), args)


def _ns(milliseconds: float) -> int:
    return int(milliseconds * 1_000_000)


def _front(
    app: web.Application, cells: Mapping[str, Router], args: argparse.Namespace, mutants: frozenset[str]
) -> Means:
    """What every edge serves, however it knows where requests go; what it works with is closed at its end."""
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10))
    metrics = Metrics()
    patience = Patience(hold_s=args.hold_ms / 1e3)
    if NO_STALL_TIMEOUT in mutants:
        patience = replace(patience, silent_s=None)
    telemetry = Telemetry(args.collector, args.name, session, metrics, mutants)
    means = Means(session=session, metrics=metrics, telemetry=telemetry)
    relay = Relay(cells, means, patience, mutants)
    reads = _Reads(relay, session)

    async def close(_app: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    app.router.add_post("/v1/chat/completions", relay.chat)
    app.router.add_post("/v1/registry/{name}", reads.publish)
    for path in ("/v1/models", "/v1/registry", "/v1/sessions/{id}", "/v1/journal/{op}", "/v1/quarantine"):
        app.router.add_get(path, reads.read)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/metrics", metrics_page(metrics))
    return means


async def _build(
    tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace, mutants: frozenset[str]
) -> None:
    cells: dict[str, Router] = {}
    means = _front(app, cells, args, mutants)
    settings = Settings(
        mode=args.replication,
        mutants=mutants,
        state=args.state,
        key_root=args.key_root,
        probe_s=args.probe_ms / 1e3,
        probe_within_s=args.probe_timeout_ms / 1e3,
        thresholds=Thresholds(down_after_ns=_ns(args.down_after_ms)),
        limits=Limits(peer_silent_ns=_ns(args.peer_silent_ms), lease_ns=_ns(args.lease_ms)),
    )
    arbiter = Arbiter(dict(entry.partition("=")[::2] for entry in args.region), settings, means.session, means.metrics)
    cells["all"] = arbiter
    edge = _Edge(arbiter, mutants)
    app.router.add_get("/readyz", edge.readyz)
    app.router.add_get("/v1/redundant", edge.redundant)
    app.router.add_get("/events", edge.events)
    app.router.add_post("/v1/switch", edge.switch)
    app.router.add_get("/v1/replication", edge.replication)
    app.router.add_get("/v1/about", edge.about)
    tasks.create_task(means.telemetry.run())
    for region in arbiter.regions.values():
        tasks.create_task(arbiter.watch(region))
    tasks.create_task(arbiter.govern())


async def _build_following(
    tasks: asyncio.TaskGroup,
    app: web.Application,
    args: argparse.Namespace,
    cells: dict[str, dict[str, str]],
    mutants: frozenset[str],
) -> None:
    followers = {name: Follower(name, regions, mutants) for name, regions in cells.items()}
    follows = _Follows(followers)
    means = _front(app, followers, args, mutants)
    app.router.add_get("/readyz", follows.readyz)
    app.router.add_get("/v1/about", follows.about)
    tasks.create_task(means.telemetry.run())
    if args.resolver:
        sites = [site for cell in followers.values() for site in cell.regions.values()]
        tasks.create_task(Names(args.resolver, mutants).run(sites))
    tasks.create_task(follow(args.controller.rstrip("/"), means.session, followers))


if __name__ == "__main__":
    main()
