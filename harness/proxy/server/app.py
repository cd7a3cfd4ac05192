"""The server process. Here: arguments, the ready line, signals and the end. Not here: anything per request."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path

from harness.proxy.server.collection import Collection, Witnesses
from harness.proxy.server.httpd import ControlProtocol
from harness.proxy.server.proxy import Context
from harness.proxy.server.routes import VERSION, Routes
from harness.units import parse_duration

__all__ = ["main"]


def _duration_ms(text: str) -> int:
    try:
        return parse_duration(text) // 1_000_000
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.proxy.server",
        description="A TCP fault proxy that speaks Toxiproxy's HTTP API. Prints one JSON line when it is ready.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the control API (default %(default)s)")
    parser.add_argument("--port", type=int, default=8474, help="port of the control API; 0: any (default %(default)s)")
    parser.add_argument(
        "--hold",
        type=_duration_ms,
        default=10_000,
        metavar="DURATION",
        help="connections outlive partitions shorter than this (default 10s)",
    )
    parser.add_argument("--seed", type=int, help="seed of toxicity, jitter and slices (default: drawn, and printed)")
    parser.add_argument(
        "--dial-timeout",
        type=_duration_ms,
        default=10_000,
        metavar="DURATION",
        help="how long an upstream may take to accept (default 10s)",
    )
    parser.add_argument("--pid-file", type=Path, metavar="FILE", help="written when ready, removed at the end")
    parser.add_argument("--exit-on-stdin-close", action="store_true", help="end when standard input is closed")
    return parser


def _log(message: str) -> None:
    print(f"fault proxy: {message}", file=sys.stderr, flush=True)


def _raise_descriptor_limit() -> None:
    """Two descriptors go into each connection, and the usual soft limit of 1024 is soon met."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_on_stdin_close:
        loop.add_reader(0, _stdin_readable, stop)
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    async with asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
            return group.create_task(work)

        witnesses = Witnesses()
        context = Context(
            seed=seed, dial_limit_s=options.dial_timeout / 1e3, spawn=spawn, witness=witnesses.claim, log=_log
        )
        collection = Collection(context, witnesses, options.hold)
        routes = Routes(collection, _log)
        server = await loop.create_server(lambda: ControlProtocol(routes, spawn), options.host, options.port)
        host, port = server.sockets[0].getsockname()[:2]
        if options.pid_file is not None:
            options.pid_file.write_text(f"{os.getpid()}\n")
        ready = {"host": host, "port": port, "pid": os.getpid(), "seed": seed, "version": VERSION}
        print(json.dumps({**ready, "hold_ms": options.hold, "clock_ns": time.monotonic_ns()}), flush=True)
        try:
            await stop.wait()
        finally:
            server.close()
            collection.close()
            if options.pid_file is not None:
                options.pid_file.unlink(missing_ok=True)
    # One more turn, in which the transports that were aborted close their sockets.
    await asyncio.sleep(0)


def _stdin_readable(stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        stop.set()


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after SIGTERM, SIGINT or a closed standard input, 1 when the API's port is taken, 2 for bad
    arguments."""
    options = _parser().parse_args(argv)
    _raise_descriptor_limit()
    failed: list[str] = []
    try:
        asyncio.run(_serve(options))
    except* OSError as group:
        failed += [str(exc) for exc in group.exceptions]
    for message in failed:
        _log(f"cannot serve on {options.host}:{options.port}: {message}; choose another --port, or 0 for any")
    return 1 if failed else 0
