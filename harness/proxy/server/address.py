"""Addresses as Toxiproxy writes them. Here: "host:port" to socket addresses and back, with a bound on look-ups."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass

from harness.proxy.server.decode import ApiError

__all__ = ["Address", "format_address", "resolve", "split", "strerror"]

_LOOKUP_S = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A numeric TCP address. The host "::" means all interfaces, of both families."""

    family: socket.AddressFamily
    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def format_address(host: str, port: int) -> str:
    """ "127.0.0.1:80", "[::1]:80"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def strerror(exc: OSError) -> str:
    """What an OSError says, in the words of the C library, lower case."""
    return os.strerror(exc.errno).lower() if isinstance(exc.errno, int) and exc.errno > 0 else str(exc).lower()


def split(text: str) -> tuple[str, int]:
    """Host (perhaps empty) and port of "host:port". Raises ApiError 500, as Toxiproxy answers, for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or (port == "" and host.endswith(":")):
        raise ApiError(500, f"address {text}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ApiError(500, f"address {text}: too many colons in address")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ApiError(500, f"address {text}: expected a port from 0 to 65535, got {port!r}")
    return host, int(port)


def _numeric(host: str) -> tuple[socket.AddressFamily, str] | None:
    if host == "localhost":
        return socket.AF_INET, "127.0.0.1"
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            return family, socket.inet_ntop(family, socket.inet_pton(family, host))
    return None


async def resolve(text: str) -> Address:
    """The address that `text` names; names are looked up for at most 0.8 s. An empty text is 127.0.0.1, any port.

    Raises ApiError 500 when it is malformed or unknown.
    """
    if not text:
        return Address(family=socket.AF_INET, host="127.0.0.1", port=0)
    host, port = split(text)
    if not host:
        if socket.has_dualstack_ipv6():
            return Address(family=socket.AF_INET6, host="::", port=port)
        return Address(family=socket.AF_INET, host="0.0.0.0", port=port)
    known = _numeric(host)
    if known is not None:
        return Address(family=known[0], host=known[1], port=port)
    try:
        async with asyncio.timeout(_LOOKUP_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as exc:
        raise ApiError(500, f"lookup {host}: no such host") from exc
    family, _, _, _, where = found[0]
    return Address(family=family, host=str(where[0]), port=port)
