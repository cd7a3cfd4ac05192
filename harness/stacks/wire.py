"""Chooses addresses: a free port for every one the stack file leaves open, a place for every link, a folder per instance."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
from pathlib import Path

from harness.errors import UnsafeError
from harness.model.stack import Link, Stack
from harness.model.wiring import Wiring
from harness.stacks.claims import Claims
from harness.stacks.external import endpoint
from harness.stacks.netns import choose_networks

__all__ = ["allocate", "upstream"]

LOOPBACK = "127.0.0.1"
_LOWEST, _HIGHEST = 10_000, 60_999
_TRIES = 200


def allocate(stack: Stack, run_dir: str, claims: Claims | None = None) -> Wiring:
    """Addresses of everything in the stack. No port is given twice, and none that is taken or fixed elsewhere in the stack.

    All are held at once while they are chosen, and free again on return. No other run is given them before `claims` is
    closed; another program may take one between then and its use, which the start then refuses by name. They lie outside
    the kernel's range for outgoing connections, so that no client's own port is in the way. Folders are named here and made
    when an instance starts. Raises UnsafeError when an address is not this machine's, or no port is left. An isolated
    region has an address of its own, and its links listen where it can reach them.
    """
    fixed = {port for one in stack.instances.values() for port in one.ports.values() if port is not None}
    fixed |= {int(link.listen.rpartition(":")[2]) for link in stack.links.values() if link.listen is not None}
    if stack.alerts is not None and stack.alerts.listen is not None:
        fixed.add(int(stack.alerts.listen.rpartition(":")[2]))
    networks = choose_networks(stack)
    isolated = {} if networks is None else {name: networks.regions[at] for name, at in networks.instances.items()}
    chooser = _Chooser(fixed, claims)
    externals = {name: endpoint(url) for name, url in _external_urls(stack).items()}

    def near(link: Link) -> str:
        return networks.gateway if networks is not None and link.source in isolated else LOOPBACK

    with chooser.held:
        ports = {
            name: {
                port: chooser.choose(LOOPBACK if name in isolated else one.address, f"instance {name}: port {port}")
                if number is None
                else number
                for port, number in one.ports.items()
            }
            for name, one in stack.instances.items()
        }
        links = {
            name: link.listen or f"{near(link)}:{chooser.choose(LOOPBACK, f'link {name}')}"
            for name, link in stack.links.items()
        }
        alerts = ""
        if stack.alerts is not None:
            listen = stack.alerts.listen or f"127.0.0.1:{chooser.choose('127.0.0.1', 'signals.alerts')}"
            alerts = f"http://{listen}/alerts"
    return Wiring(
        addresses={
            name: externals[name][0] if name in externals else isolated.get(name, one.address)
            for name, one in stack.instances.items()
        },
        ports=ports,
        links=links,
        dirs={name: os.path.join(os.path.abspath(run_dir), "dirs", name) for name in stack.instances},
        run_dir=os.path.abspath(run_dir),
        alerts=alerts,
        networks=networks,
    )


def upstream(stack: Stack, wiring: Wiring, link: Link) -> str:
    """ "host:port" that a link leads to: a port of an instance, or what an external instance's URL names."""
    if link.to_port is not None:
        return wiring.address(link.to, link.to_port)
    host, port = endpoint(_external_urls(stack)[link.to])
    return f"{host}:{port}"


def _external_urls(stack: Stack) -> dict[str, str]:
    urls = {}
    for name, one in stack.instances.items():
        if "external" in one.host.params:
            urls[name] = str(one.host.params["external"])
    return urls


class _Chooser:
    def __init__(self, taken: set[int], claims: Claims | None) -> None:
        self.held = contextlib.ExitStack()
        self._claims = self.held.enter_context(contextlib.closing(Claims())) if claims is None else claims
        self._taken = set(taken)
        # Not the run's seed: two runs of one experiment at the same time must not go for the same ports.
        self._random = random.SystemRandom()
        outgoing = _outgoing_ports()
        self._candidates = [port for port in range(_LOWEST, _HIGHEST + 1) if port not in outgoing]

    def choose(self, address: str, what: str) -> int:
        """A port that nobody has, held until `held` ends."""
        for _ in range(_TRIES):
            wanted = self._random.choice(self._candidates) if self._candidates else 0
            if wanted in self._taken:
                continue
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            try:
                sock.bind((address, wanted))
            except OSError as exc:
                sock.close()
                if exc.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue
                raise UnsafeError(
                    f"{what}: address {address} cannot be used: {exc.strerror}",
                    remedy="give the instance an address of this machine, such as 127.0.1.1",
                ) from exc
            self.held.enter_context(sock)
            port = int(sock.getsockname()[1])
            if port in self._taken or not self._claims.claim(port):
                continue
            self._taken.add(port)
            return port
        raise UnsafeError(f"{what}: no free port found on {address}", remedy="end programs that hold many ports")


def _outgoing_ports() -> range:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    except OSError:
        return range(32_768, 61_000)
    return range(int(low), int(high) + 1)
