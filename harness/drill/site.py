"""`drill serve` over HTTP: on loopback, behind a token, forms bound to its session. Here: who may ask. Not here: what is done."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.drill.board import render_asked, render_board, render_live
from harness.drill.serve import Runner

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

__all__ = ["COOKIE", "make_app"]

COOKIE = "blackstart"
_EVERY_S = 20.0
_RUN = re.compile(r"2[0-9]{7}T[0-9]{6}Z-[\w.-]+")
_HOSTS = ("127.0.0.1", "localhost", "[::1]")  # a name that was pointed at this machine from elsewhere is none of these
_HEADERS = {"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"}


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


class _Site:
    """One session of the page: its cookie, its key for forms, and what the last form came to."""

    def __init__(self, runner: Runner, token: str) -> None:
        self._runner, self._token = runner, token
        self._session, self._key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._said = ""

    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who has neither the token nor the cookie that it gave sees nothing; a form without this session's key does nothing."""
        from aiohttp import web

        if (request.host or "").rsplit(":", 1)[0] not in _HOSTS:
            raise web.HTTPForbidden(text="this page answers to loopback names only\n")
        given = request.query.get("token")
        if request.method == "GET" and request.path == "/" and given is not None:
            if not _same(given, self._token):
                raise web.HTTPUnauthorized(text="another token is needed: see where `drill serve` was started\n")
            entry = web.HTTPSeeOther("/")
            entry.set_cookie(COOKIE, self._session, httponly=True, samesite="Strict")
            raise entry
        if not _same(request.cookies.get(COOKIE, ""), self._session):
            raise web.HTTPUnauthorized(text="a token is needed: open the address that `drill serve` printed\n")
        if request.method == "POST" and not _same(str((await request.post()).get("key", "")), self._key):
            raise web.HTTPForbidden(text="this form is of another session: read the page again\n")
        reply = await handler(request)
        reply.headers.update(_HEADERS)
        return reply

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The whole page."""
        said, self._said = self._said, ""
        board = await asyncio.to_thread(self._runner.board, self._key, datetime.now(UTC), said)
        return self._html(render_board(board))

    async def live(self, request: web.Request) -> web.StreamResponse:
        """What is under way alone, for the page's script."""
        return self._html(render_live(await asyncio.to_thread(self._runner.glance, self._key, datetime.now(UTC))))

    async def asked(self, request: web.Request) -> web.StreamResponse:
        """The question that waits for a person, alone, for the page's script."""
        return self._html(render_asked(await asyncio.to_thread(self._runner.glance, self._key, datetime.now(UTC))))

    async def form(self, request: web.Request) -> web.StreamResponse:
        """Answer a step, halt a run, start a rehearsal, approve a plan; then back to the page, which says what came of it."""
        from aiohttp import web

        given = {name: str(value) for name, value in (await request.post()).items()}
        self._said = await asyncio.to_thread(self._act, request.path, given)
        raise web.HTTPSeeOther("/")

    def _act(self, path: str, given: dict[str, str]) -> str:
        runner, drill = self._runner, given.get("drill", "")
        if path == "/halt":
            return runner.halt(given.get("run", ""))
        words = given.get("by", ""), given.get("note", "")
        if path == "/answer":
            return runner.answer(given.get("number", ""), given.get("is", ""), words)
        if drill not in [name for name, _ in runner.project.plans()]:
            return f"there is no drill {drill!r}"
        if path == "/rehearse":
            return runner.start(drill)
        return runner.approve(drill, given.get("plan", ""), words, datetime.now(UTC))

    async def report(self, request: web.Request) -> web.StreamResponse:
        """The report of a stored run, and no other file."""
        from aiohttp import web

        name = request.match_info["run"]
        path = self._runner.project.reports / name / "report.html"
        if not _RUN.fullmatch(name) or not await asyncio.to_thread(path.is_file):
            raise web.HTTPNotFound(text="no report of that run\n")
        return web.FileResponse(path)

    async def clock(self, app: web.Application) -> AsyncIterator[None]:
        """Look for drills that are due, for as long as the page is served."""

        async def ticking() -> None:
            while True:
                if self._runner.starts_due:
                    await asyncio.to_thread(self._runner.start_what_is_due, datetime.now(UTC))
                await asyncio.sleep(_EVERY_S)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(ticking())
            yield
            task.cancel()

    def _html(self, text: str) -> web.Response:
        from aiohttp import web

        return web.Response(text=text, content_type="text/html")


def make_app(runner: Runner, token: str) -> web.Application:
    """The application, to be bound to loopback."""
    from aiohttp import web

    site = _Site(runner, token)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await site.guard(request, handler)

    app = web.Application(middlewares=[guard], client_max_size=16_384)
    app.cleanup_ctx.append(site.clock)
    app.add_routes([web.get("/", site.page), web.get("/live", site.live), web.get("/asked", site.asked)])
    app.add_routes([web.get("/reports/{run}", site.report)])
    app.add_routes([web.post(path, site.form) for path in ("/answer", "/halt", "/rehearse", "/approve")])
    return app
