"""The journal process of one region: calls from the gateway and the peer over WebSockets, and its state over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from harness.reference.channel import Channel, Refused, Wire, serve_calls
from harness.reference.database import Postgres, Sqlite
from harness.reference.journal import Config, Draft, Journal
from harness.reference.metrics import Metrics
from harness.reference.mutants import ACK_BEFORE_FSYNC, MERGED_TAIL
from harness.reference.program import failure, flags, log, metrics_page, mutants_of, run_program
from harness.reference.replica import Replica
from harness.reference.usage import bills_of

if TYPE_CHECKING:
    from harness.reference.seal import Seals

__all__ = ["main"]

_PROGRESS_S = 1.0


class _Server:
    def __init__(self, replica: Replica, tasks: asyncio.TaskGroup, mutants: frozenset[str]) -> None:
        self.replica = replica
        self.seals = replica.seals
        self.merged_tail = MERGED_TAIL in mutants
        self.tasks = tasks

    async def handle(self, op: str, body: Wire) -> Wire:
        """The answer to one call."""
        replica = self.replica
        if replica.restoration is not None and replica.restoration.closed():
            raise Refused("restoring", **replica.restoration.about())
        match op:
            case "begin":
                return await replica.begin(Draft(kind="turn", **body))
            case "finish":
                return await replica.finish(Draft(kind="outcome", **body))
            case "record":
                return await replica.record(str(body["name"]), body["value"])
            case "push":
                return await replica.take_push(body)
            case "adopt":
                return await replica.adopt(Config.parse(body))
            case "status":
                if (lease := body.get("lease")) is not None:
                    replica.grant(int(lease["epoch"]), int(lease["clock_ns"]), int(lease["length_ms"]))
                return await self.status()
            case "session":
                return await self.session(str(body["session"]))
            case "digest":
                return await self.digest()
            case "bills":
                return await self.bills()
            case "keys":
                return self.keys()
            case "quarantine":
                return {"turns": await replica.read(lambda journal: journal.fenced())}
            case _:
                raise Refused("unknown_call", op=op)

    async def status(self) -> Wire:
        """The status, from a journal that answers: the question passes through its thread."""
        try:
            async with asyncio.timeout(_PROGRESS_S):
                await self.replica.read(lambda journal: journal.ping())
        except TimeoutError:
            raise Refused("stuck", region=self.replica.region) from None
        return self.replica.status()

    async def session(self, session: str) -> Wire:
        """The turns of a session that count."""
        self._confirm()
        until = self.replica.committed()
        turns = await self.replica.read(lambda journal: journal.session(session, until))
        if self.merged_tail:
            tail = await self.replica.read(lambda journal: journal.fenced())
            held = {turn["value"] for turn in turns}
            turns += [turn for turn in tail if turn["session"] == session and turn["value"] not in held]
        return {"session": session, "turns": turns}

    async def digest(self) -> Wire:
        """The digest of the whole log; two regions with equal digests hold the same entries in the same order."""
        self._confirm()
        seq, digest, config = await self.replica.read(lambda j: (j.last_seq, j.last_hash, j.config))
        return {"region": self.replica.region, "seq": seq, "digest": digest, "epoch": config.epoch if config else 0}

    async def bills(self) -> Wire:
        """The bill of each outcome that counts."""
        self._confirm()
        until = self.replica.committed()
        return {"bills": await self.replica.read(lambda journal: bills_of(journal.outcomes(until)))}

    def keys(self) -> Wire:
        """The public keys of the regions that this log is of; none when nothing is signed."""
        config = self.replica.config
        regions = {self.replica.region, *(config.sync if config else ()), *([config.primary] if config else ())}
        return {"keys": {} if self.seals is None else {region: self.seals.key(region) for region in sorted(regions)}}

    def _confirm(self) -> None:
        if not self.replica.confirmed():
            raise Refused("unconfirmed", region=self.replica.region)

    # -- HTTP ---------------------------------------------------------------------------------------------------

    async def calls(self, request: web.Request) -> web.WebSocketResponse:
        return await serve_calls(request, self.tasks, self.handle)

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        try:
            status = await self.handle("status", {})
        except Refused as refusal:
            said = json.dumps(refusal.facts) if refusal.code == "restoring" else "the log did not answer in time"
            return failure(503, refusal.code, said)
        return web.json_response(status, status=200 if status["confirmed"] else 503)

    async def export(self, _request: web.Request) -> web.Response:
        """The log as it is on this region's disk, whether it counts or not."""
        text = await self.replica.read(lambda journal: "".join(journal.exported()))
        return web.Response(text=text, content_type="application/x-ndjson")

    async def ask(self, request: web.Request) -> web.Response:
        op = request.match_info["op"]
        if op not in ("status", "digest", "keys", "quarantine", "session"):
            return failure(404, "not_found", f"unknown question {op!r}")
        try:
            return web.json_response(await self.handle(op, dict(request.query)))
        except Refused as refusal:
            return failure(503, refusal.code, json.dumps(refusal.facts))

    async def push(self, request: web.Request) -> web.Response:
        """A frame by POST: for drills, whoever sends it."""
        try:
            return web.json_response(await self.handle("push", await request.json()))
        except Refused as refusal:
            return failure(409, refusal.code, json.dumps(refusal.facts))
        except (KeyError, TypeError, ValueError) as exc:
            return failure(400, "malformed", repr(exc))


def main(argv: list[str] | None = None) -> None:
    """Run the journal of one region until SIGTERM."""
    parser = flags("journal")
    parser.add_argument("--region", required=True)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--db", type=Path, help="a folder for the log; kept over restarts")
    place.add_argument("--postgres", metavar="URL", help="the PostgreSQL server that keeps the log; waited for")
    parser.add_argument("--peer", required=True, metavar="URL", help="where the other region's journal is reached")
    parser.add_argument(
        "--seal-root", default="", help="the secret that the regions' keys are derived from; none: nothing is signed"
    )
    parser.add_argument(
        "--accept-cut",
        action="store_true",
        help="serve a damaged log as it was cut: what was behind the cut is given up",
    )
    args = parser.parse_args(argv)
    run_program(lambda tasks, app: _build(tasks, app, args, mutants_of(parser, args)), args)


async def _build(
    tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace, mutants: frozenset[str]
) -> None:
    metrics = Metrics(region=args.region)
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
    seals = _seals(args.seal_root)
    loop = asyncio.get_running_loop()
    journal = await loop.run_in_executor(executor, _open, args, ACK_BEFORE_FSYNC in mutants, seals)
    replica = Replica(journal, executor, args.region, metrics, mutants)
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
    server = _Server(replica, tasks, mutants)

    async def close(_app: web.Application) -> None:
        await session.close()
        executor.shutdown()
        journal.close()

    app.on_cleanup.append(close)
    app.router.add_get("/v1/calls", server.calls)
    app.router.add_get("/v1/journal/export", server.export)
    app.router.add_post("/v1/journal/push", server.push)
    app.router.add_get("/v1/journal/{op}", server.ask)
    app.router.add_get("/livez", server.livez)
    app.router.add_get("/readyz", server.readyz)
    app.router.add_get("/metrics", metrics_page(metrics))
    tasks.create_task(replica.restore(accept_cut=args.accept_cut))
    tasks.create_task(replica.run_writer())
    tasks.create_task(replica.run_pusher(Channel(tasks, session, args.peer.rstrip("/") + "/v1/calls")))
    log("opened", region=args.region, seq=journal.last_seq, mutants=sorted(mutants))


def _seals(root: str) -> Seals | None:
    if not root:
        return None
    from harness.reference.seal import Seals  # its library is needed by those who sign alone

    return Seals(root)


def _open(args: argparse.Namespace, lax: bool, seals: Seals | None) -> Journal:
    if args.postgres is not None:
        return Journal(Postgres(args.postgres, lax=lax), args.region, seals)
    args.db.mkdir(parents=True, exist_ok=True)
    return Journal(Sqlite(args.db / "journal.sqlite", lax=lax), args.region, seals)


if __name__ == "__main__":
    main()
