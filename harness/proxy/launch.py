"""Starts the embedded fault proxy as a process of its own and puts a stack's links on it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UnsafeError
from harness.model.stack import Stack
from harness.model.wiring import Wiring
from harness.proxy.client import Links, ToxiproxyLinks

__all__ = ["EmbeddedProxy", "create_links", "start_embedded"]

READY_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedProxy:
    """A running embedded server. It outlives the conductor on purpose: the reaper heals its links, then ends it."""

    process: asyncio.subprocess.Process
    links: ToxiproxyLinks

    @property
    def pid(self) -> int:
        return self.process.pid


async def start_embedded(seed: int, log: Path) -> EmbeddedProxy:
    """The server, ready. Raises UnsafeError, nothing left running, when it does not come up."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "harness.proxy.server",
            "--port",
            "0",
            "--seed",
            str(seed),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_LIMIT_S):
            ready = json.loads(await process.stdout.readline())
    except BaseException as exc:  # a cancel, too: nobody else knows of this process yet
        if process.returncode is None:
            process.kill()
        await process.wait()
        if isinstance(exc, (TimeoutError, ValueError)):
            raise UnsafeError("the embedded fault proxy did not come up", remedy=f"see {log}") from exc
        raise
    url = f"http://{ready['host']}:{ready['port']}"
    return EmbeddedProxy(process=process, links=ToxiproxyLinks(url, embedded=True))


async def create_links(links: Links, stack: Stack, wiring: Wiring, upstreams: Mapping[str, str]) -> Mapping[str, str]:
    """Put every link of the stack on the server, each to its "host:port" in `upstreams`; link -> where it listens.

    Raises UnsafeError for a taken name or port.
    """
    made = {}
    for link in stack.links.values():
        options = {"mirror_refusal": True, "http": link.http}
        state = await links.create(link.name, wiring.links[link.name], upstreams[link.name], options)
        made[link.name] = state.listen
    return made
