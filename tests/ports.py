"""Ports for the servers of tests: none is given twice, by whichever worker, nor to a run of Blackstart meanwhile."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from harness.stacks.claims import Claims

__all__ = ["free_port"]

_CLAIMS = Claims()
"""For as long as the worker lives."""


def free_port() -> int:
    """A port of loopback that nobody listens on, where possible outside the kernel's range for outgoing connections."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    candidates = [port for port in range(10_000, 61_000) if not low <= port <= high] or range(10_000, 61_000)
    choose = random.SystemRandom()
    for _ in range(500):
        port = choose.choice(candidates)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if _CLAIMS.claim(port):
            return port
    raise AssertionError("no free port on loopback")
