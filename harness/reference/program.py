"""What the four programs share: flags, one-line JSON logs, and a life from first socket to SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from harness.reference.metrics import Metrics
from harness.reference.mutants import parse_mutants

__all__ = ["failure", "flags", "log", "metrics_page", "mutants_of", "run_program"]

_SHUTDOWN_S = 0.3  # SIGTERM to gone in under a second, also with open streams


class _StopAskedError(Exception):
    """Ends the task group of a program that was asked to stop."""


def flags(prog: str) -> argparse.ArgumentParser:
    """A parser with the flags every program takes."""
    parser = argparse.ArgumentParser(prog=prog, allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--name", default=prog, help="instance name, told in x-served-by and in logs")
    parser.add_argument("--mutant", action="append", default=[], metavar="NAME", help="switch on a deliberate defect")
    return parser


def mutants_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> frozenset[str]:
    """The active mutants; an unknown name ends the program with a usage error (exit 2)."""
    try:
        return parse_mutants(args.mutant)
    except ValueError as exc:
        parser.error(str(exc))


def log(event: str, **facts: object) -> None:
    """Write one JSON line to stderr."""
    line = {"at_unix_ns": time.time_ns(), "pid": os.getpid(), "event": event, **facts}
    sys.stderr.write(json.dumps(line, separators=(",", ":"), default=str) + "\n")
    sys.stderr.flush()


def failure(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error in OpenAI's form."""
    body = {"error": {"message": message, "type": "server_error" if status >= 500 else "invalid_request", "code": code}}
    return web.json_response(body, status=status, headers=headers)


def metrics_page(metrics: Metrics) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that renders the metrics."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=metrics.render(), content_type="text/plain", charset="utf-8")

    return page


Build = Callable[[asyncio.TaskGroup, web.Application], Awaitable[None]]


async def _live(build: Build, args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = web.Application(client_max_size=4 * 1024 * 1024)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    try:
        async with asyncio.TaskGroup() as tasks:
            await build(tasks, app)
            await runner.setup()
            await web.TCPSite(runner, args.bind, args.port, reuse_address=True).start()
            log("serving", name=args.name, port=args.port)
            await stop.wait()
            raise _StopAskedError
    except* _StopAskedError:
        log("stopping", name=args.name)
    finally:
        await runner.cleanup()


def run_program(build: Build, args: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT. `build` adds routes and background tasks before the port opens."""
    random.seed()  # a fork server hands every child the same state
    asyncio.run(_live(build, args))
