"""A server for load tests, in a process of its own: counts what it saw, imports nothing of harness, ends with its stdin.

Prints its port. GET / answers 200; POST /add?item=X keeps X; GET /items lists them; GET /seen how many requests came;
GET /flaky answers 503 until asked that often; GET /slow never answers.
"""

from __future__ import annotations

import asyncio
import os
import sys

from aiohttp import web


def app(flaky: int) -> web.Application:
    items: list[str] = []
    seen = {"all": 0, "flaky": 0}

    async def root(_: web.Request) -> web.Response:
        seen["all"] += 1
        return web.Response(text="hello", headers={"x-instance": "target-1"})

    async def add(request: web.Request) -> web.Response:
        items.append(request.query["item"])
        return web.Response(text="added")

    async def listed(_: web.Request) -> web.Response:
        return web.json_response(items)

    async def flaking(_: web.Request) -> web.Response:
        seen["flaky"] += 1
        return web.json_response(items, status=503 if seen["flaky"] <= flaky else 200)

    async def count(_: web.Request) -> web.Response:
        return web.json_response(seen)

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    application = web.Application()
    application.router.add_get("/", root)
    application.router.add_post("/add", add)
    application.router.add_get("/items", listed)
    application.router.add_get("/flaky", flaking)
    application.router.add_get("/seen", count)
    application.router.add_get("/slow", slow)
    return application


async def main() -> None:
    runner = web.AppRunner(app(int(os.environ.get("FLAKY", "0"))), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "0")))
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
