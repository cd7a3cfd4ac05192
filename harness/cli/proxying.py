"""`proxy`: the embedded fault proxy alone."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from harness.cli.output import say
from harness.errors import SpecError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: blackstart proxy --listen 127.0.0.1:8474")(proxy)


def proxy(
    listen: Annotated[
        str, typer.Option(help="Where its Toxiproxy HTTP API answers; port 0: any free one.")
    ] = "127.0.0.1:8474",
    seed: Annotated[int, typer.Option(help="Seed of toxicity and jitter.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="As always: what is on stdout is JSON.")] = True,
) -> None:
    """Run the embedded fault proxy in the foreground until Ctrl-C. Its address is the JSON line on stdout."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SpecError(f"--listen: expected HOST:PORT such as 127.0.0.1:8474, got {listen!r}")
    say("Ctrl-C ends it, and with it every link that runs through it")
    argv = [sys.executable, "-m", "harness.proxy.server", "--host", host, "--port", port, "--seed", str(seed)]
    os.execv(sys.executable, argv)
