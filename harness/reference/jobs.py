"""The job queue: batches that are accepted durably, leased to workers, done once, and set aside when they keep failing.

A job is `waiting`, `leased` until its lease runs out, `done`, or `dead` after three attempts. What a job does to the world is
one line of the ledger, keyed by the job's idempotency key: a worker that dies after the effect and before it could say so
leaves a job that another worker does again, and the ledger takes no second line.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from harness.reference.channel import Wire
from harness.reference.metrics import Metrics
from harness.reference.mutants import NO_LEDGER_KEY
from harness.reference.program import failure, flags, log, metrics_page, mutants_of, run_program

__all__ = ["Queue", "main"]

_ATTEMPTS = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, idem TEXT NOT NULL UNIQUE, session TEXT NOT NULL, work TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, lease TEXT, until_ns INTEGER, at_ns INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state, id);
CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, idem TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS ledger_idem ON ledger (idem);
"""


class Queue:
    """The queue on disk (SQLite, WAL, synchronous=FULL): every method is one transaction. `clock` gives Unix ns."""

    def __init__(
        self, path: Path, lease_s: float, mutants: frozenset[str] = frozenset(), clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._lease_ns = int(lease_s * 1e9)
        self._mutants = mutants
        self._clock = clock

    def submit(self, idem: str, session: str, work: str) -> bool:
        """Whether the job is new; one with a known key is not taken twice."""
        row = (idem, session, work, self._clock())
        done = self._db.execute("INSERT OR IGNORE INTO jobs (idem, session, work, at_ns) VALUES (?, ?, ?, ?)", row)
        return done.rowcount == 1

    def claim(self) -> Wire | None:
        """The oldest job that waits or whose lease ran out, leased anew; None when there is none. Too many attempts kill it."""
        now = self._clock()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute(
                "UPDATE jobs SET state = 'dead', lease = NULL WHERE attempts >= ? AND state != 'done' AND state != 'dead'"
                " AND (state = 'waiting' OR until_ns < ?)",
                (_ATTEMPTS, now),
            )
            row = self._db.execute(
                "SELECT id, idem, work, attempts FROM jobs WHERE state = 'waiting' OR (state = 'leased' AND until_ns < ?)"
                " ORDER BY id LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            lease = uuid.uuid4().hex
            self._db.execute(
                "UPDATE jobs SET state = 'leased', attempts = attempts + 1, lease = ?, until_ns = ? WHERE id = ?",
                (lease, now + self._lease_ns, row[0]),
            )
            return {"id": row[0], "idem": row[1], "work": row[2], "attempt": row[3] + 1, "lease": lease}
        finally:
            self._db.execute("COMMIT")

    def effect(self, idem: str) -> bool:
        """Whether this line of the ledger is new: done now, and never again."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            known = self._db.execute("SELECT 1 FROM ledger WHERE idem = ?", (idem,)).fetchone()
            if known is not None and NO_LEDGER_KEY not in self._mutants:
                return False
            self._db.execute("INSERT INTO ledger (idem) VALUES (?)", (idem,))
            return True
        finally:
            self._db.execute("COMMIT")

    def finish(self, job: int, lease: str, *, good: bool) -> bool:
        """Whether the job was this lease's to end: done, or handed back to wait for its next attempt."""
        state = "done" if good else "waiting"
        done = self._db.execute(
            "UPDATE jobs SET state = ?, lease = NULL WHERE id = ? AND lease = ? AND state = 'leased'",
            (state, job, lease),
        )
        return done.rowcount == 1

    def of(self, session: str) -> list[Wire]:
        """The jobs of a session, oldest first."""
        rows = self._db.execute("SELECT idem, state, attempts FROM jobs WHERE session = ? ORDER BY id", (session,))
        return [{"idem": idem, "state": state, "attempts": attempts} for idem, state, attempts in rows]

    def about(self) -> Wire:
        """How many jobs are in which state, and the age in seconds of the oldest that is not finished (0 without one)."""
        counts = dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
        oldest = self._db.execute("SELECT min(at_ns) FROM jobs WHERE state IN ('waiting', 'leased')").fetchone()[0]
        age = 0.0 if oldest is None else (self._clock() - oldest) / 1e9
        states = {state: counts.get(state, 0) for state in ("waiting", "leased", "done", "dead")}
        return {**states, "backlog": states["waiting"] + states["leased"], "oldest_s": round(age, 3)}

    def close(self) -> None:
        """Close the database."""
        self._db.close()


class _Server:
    def __init__(self, name: str, queue: Queue) -> None:
        self.name = name
        self.queue = queue

    async def submit(self, request: web.Request) -> web.Response:
        """202 once the job is on disk, also for one that was taken before."""
        try:
            body = await request.json()
            idem, session, work = request.headers["idempotency-key"], request.headers["x-session"], str(body["work"])
        except (ValueError, KeyError, TypeError) as exc:
            return failure(400, "bad_request", f"a job needs a key, a session and work: {exc!r}")
        new = self.queue.submit(idem, session, work)
        return web.json_response({"accepted": idem, "new": new}, status=202, headers={"x-served-by": self.name})

    async def claim(self, _request: web.Request) -> web.Response:
        return web.json_response({"job": self.queue.claim()})

    async def effect(self, request: web.Request) -> web.Response:
        idem = str((await request.json())["idem"])
        new = self.queue.effect(idem)
        if new:
            log("executed", idem=idem)
        return web.json_response({"new": new})

    async def finish(self, request: web.Request) -> web.Response:
        body = await request.json()
        ended = self.queue.finish(int(body["id"]), str(body["lease"]), good=bool(body["good"]))
        return web.json_response({"ended": ended}, status=200 if ended else 409)

    async def session(self, request: web.Request) -> web.Response:
        jobs = self.queue.of(request.match_info["id"])
        return web.json_response({"jobs": jobs}, headers={"x-served-by": self.name})

    async def about(self, _request: web.Request) -> web.Response:
        return web.json_response(self.queue.about())


def main(argv: list[str] | None = None) -> None:
    """Run the queue until SIGTERM."""
    parser = flags("jobs")
    parser.add_argument("--db", type=Path, required=True, help="a folder; kept over restarts")
    parser.add_argument("--lease-ms", type=float, default=1500)
    args = parser.parse_args(argv)
    run_program(lambda tasks, app: _build(tasks, app, args, mutants_of(parser, args)), args)


async def _build(
    _tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace, mutants: frozenset[str]
) -> None:
    args.db.mkdir(parents=True, exist_ok=True)
    queue = Queue(args.db / "jobs.sqlite", args.lease_ms / 1e3, mutants)
    server = _Server(args.name, queue)

    async def close(_app: web.Application) -> None:
        queue.close()

    app.on_cleanup.append(close)
    app.router.add_post("/v1/batches", server.submit)
    app.router.add_get("/v1/batches/{id}", server.session)
    app.router.add_post("/internal/claim", server.claim)
    app.router.add_post("/internal/effect", server.effect)
    app.router.add_post("/internal/finish", server.finish)
    app.router.add_get("/v1/queue", server.about)
    app.router.add_get("/readyz", server.about)
    app.router.add_get("/metrics", metrics_page(Metrics()))


if __name__ == "__main__":
    main()
