"""A worker of the job queue: claims a job, does it, says so. It may die anywhere in between."""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
from aiohttp import web

from harness.reference.channel import Wire
from harness.reference.metrics import Metrics
from harness.reference.program import flags, log, metrics_page, run_program

__all__ = ["main"]

POISON = "poison"
_IDLE_S = 0.1
_CALL_S = 2.0


class _Worker:
    def __init__(self, queue: str, session: aiohttp.ClientSession, work_s: float) -> None:
        self.queue = queue.rstrip("/")
        self.session = session
        self.work_s = work_s
        self.done = 0

    async def _call(self, path: str, body: Wire) -> Wire:
        timeout = aiohttp.ClientTimeout(total=_CALL_S)
        async with self.session.post(f"{self.queue}/internal/{path}", json=body, timeout=timeout) as reply:
            answer: Wire = await reply.json()
            return answer

    async def run(self) -> None:
        """Work, for ever."""
        while True:
            try:
                job = (await self._call("claim", {}))["job"]
                if job is None:
                    await asyncio.sleep(_IDLE_S)
                    continue
                await self._do(job)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as exc:
                log("queue-unreachable", why=repr(exc))
                await asyncio.sleep(_IDLE_S)

    async def _do(self, job: Wire) -> None:
        good = job["work"] != POISON
        if good:
            await self._call("effect", {"idem": job["idem"]})
        await asyncio.sleep(self.work_s)
        await self._call("finish", {"id": job["id"], "lease": job["lease"], "good": good})
        self.done += 1

    async def about(self, _request: web.Request) -> web.Response:
        return web.json_response({"done": self.done})


def main(argv: list[str] | None = None) -> None:
    """Run a worker until SIGTERM."""
    parser = flags("worker")
    parser.add_argument("--queue", required=True, metavar="URL")
    parser.add_argument("--work-ms", type=float, default=40, help="what remains to be done after a job's effect")
    args = parser.parse_args(argv)
    run_program(lambda tasks, app: _build(tasks, app, args), args)


async def _build(tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace) -> None:
    session = aiohttp.ClientSession()
    worker = _Worker(args.queue, session, args.work_ms / 1e3)

    async def close(_app: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    app.router.add_get("/readyz", worker.about)
    app.router.add_get("/metrics", metrics_page(Metrics()))
    tasks.create_task(worker.run())


if __name__ == "__main__":
    main()
