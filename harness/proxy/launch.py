"""Starts a fault proxy as a process of its own, the embedded one or Shopify's, and puts a stack's links on it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InjectError, UnsafeError
from harness.model.stack import Stack
from harness.model.wiring import Wiring
from harness.proxy.client import Announce, Links, NewLink, ToxiproxyLinks
from harness.proxy.process import ServerProcess

__all__ = ["StartedProxy", "create_links", "proxy_command", "start_embedded", "start_toxiproxy", "wait_for_proxy"]

READY_LIMIT_S = 10.0
_ASK_EVERY_S = 0.02


@dataclass(slots=True, kw_only=True)
class StartedProxy:
    """A running server of ours. It outlives the conductor on purpose: the reaper heals its links, then ends it.

    When it must be started again, because a revert found no other way, `process` is the new one, and `on_restart` is
    told its pid before anything is put on it.
    """

    process: asyncio.subprocess.Process
    links: ToxiproxyLinks
    log: Path
    command: tuple[str, ...]
    env: Mapping[str, str]
    on_restart: Callable[[int], None] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def host_links(self) -> None:
        """Tell the control whose process its server is, and how it is started again."""
        self.links.hosted_by(ServerProcess.of(self.pid), self._start_again)

    async def _start_again(self) -> ServerProcess:
        """Another process of the same command at the same address; the one before must be gone."""
        await self.process.wait()
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        if self.on_restart is not None:
            self.on_restart(self.pid)
        try:
            await wait_for_proxy(self.links, self.log)
        except UnsafeError as exc:
            raise InjectError(f"started again, but: {exc.message}") from exc
        return ServerProcess.of(self.pid)


async def start_embedded(seed: int, log: Path, env: Mapping[str, str] | None = None) -> StartedProxy:
    """The server, ready; `env` is added to its environment. Raises UnsafeError, nothing left running, when it does not come up."""
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
            env={**os.environ, **(env or {})},
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
    links = ToxiproxyLinks(f"http://{ready['host']}:{ready['port']}", embedded=True)
    command = _command("embedded", ready["port"], seed)
    started = StartedProxy(process=process, links=links, log=log, command=command, env=env or {})
    started.host_links()
    return started


async def start_toxiproxy(log: Path, env: Mapping[str, str] | None = None) -> StartedProxy:
    """Shopify's `toxiproxy-server` from PATH, ready on a free loopback port; `env` is added to its environment.

    Raises UnsafeError, nothing left running, when there is none or it does not come up.
    """
    port = _free_port()
    command = _command("toxiproxy", port, 0)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    links = ToxiproxyLinks(f"http://127.0.0.1:{port}", embedded=False)
    try:
        async with asyncio.timeout(READY_LIMIT_S):
            while process.returncode is None and not await _answers(links):
                await asyncio.sleep(_ASK_EVERY_S)
    except BaseException as exc:  # a cancel, too: nobody else knows of this process yet
        if process.returncode is None:
            process.kill()
        await process.wait()
        if isinstance(exc, TimeoutError):
            raise UnsafeError("toxiproxy-server did not come up", remedy=f"see {log}") from exc
        raise
    if process.returncode is not None:
        raise UnsafeError(f"toxiproxy-server ended with code {process.returncode}", remedy=f"see {log}")
    started = StartedProxy(process=process, links=links, log=log, command=command, env=env or {})
    started.host_links()
    return started


def proxy_command(kind: str, seed: int) -> tuple[tuple[str, ...], ToxiproxyLinks]:
    """The command line of an "embedded" or "toxiproxy" server on a free loopback port, and the control it will answer.

    For whoever hosts the process. Raises UnsafeError when there is no toxiproxy-server.
    """
    port = _free_port()
    links = ToxiproxyLinks(f"http://127.0.0.1:{port}", embedded=kind == "embedded")
    return _command(kind, port, seed), links


def _command(kind: str, port: int, seed: int) -> tuple[str, ...]:
    if kind == "embedded":
        program: tuple[str, ...] = (sys.executable, "-m", "harness.proxy.server", "--seed", str(seed))
        return (*program, "--host", "127.0.0.1", "--port", str(port))
    return (_toxiproxy(), "-host", "127.0.0.1", "-port", str(port))


async def wait_for_proxy(links: ToxiproxyLinks, log: Path) -> None:
    """Return when the server answers. Raises UnsafeError when it does not in time."""
    try:
        async with asyncio.timeout(READY_LIMIT_S):
            while not await _answers(links):
                await asyncio.sleep(_ASK_EVERY_S)
    except TimeoutError as exc:
        raise UnsafeError(f"the fault proxy at {links.url} did not come up", remedy=f"see {log}") from exc


def _toxiproxy() -> str:
    binary = shutil.which("toxiproxy-server")
    if binary is None:
        raise UnsafeError(
            "fault_proxy: toxiproxy needs Shopify's toxiproxy-server, and there is none on PATH",
            remedy="install it, name a running one in TOXIPROXY_URL or as {toxiproxy: URL}, or use `fault_proxy: embedded`",
        )
    return binary


async def _answers(links: ToxiproxyLinks) -> bool:
    try:
        await links.version()
    except InjectError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as free:  # the server cannot say which port it took, so that 0 is of no use
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def create_links(
    links: Links,
    stack: Stack,
    wiring: Wiring,
    upstreams: Mapping[str, str],
    announce: Announce = lambda name, listen, upstream: None,
) -> Mapping[str, str]:
    """Put every link of the stack on the server, each to its "host:port" in `upstreams`; link -> where it listens.

    Those that are made, and not there already, are announced first. Raises UnsafeError for a taken name or port.
    """
    wanted = []
    for link in stack.links.values():
        # Its clients speak plain HTTP to a loopback address; what leaves this machine stays encrypted.
        tls = link.http and str(stack.instances[link.to].host.params.get("external", "")).startswith("https:")
        if tls and not links.embedded:
            raise UnsafeError(
                f"link {link.name}: only the embedded fault proxy speaks TLS to an upstream",
                remedy="use `fault_proxy: embedded`, or drop `http: true` and let clients speak TLS through the link",
            )
        options = {"mirror_refusal": True, "http": link.http, "tls": tls}
        listen = wiring.links[link.name]
        wanted.append(NewLink(name=link.name, listen=listen, upstream=upstreams[link.name], options=options))
    return {state.name: state.listen for state in await links.populate(wanted, announce)}
