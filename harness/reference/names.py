"""Where an edge finds its regions: names that it looks up again and again, and never believes blindly.

No answer, an empty one and a denial change nothing: the last good address is kept however old it is. A new address is taken
over only once something there accepts a connection.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Iterable
from urllib.parse import urlsplit

from harness.reference.follower import Site
from harness.reference.mutants import TRUSTS_NAMES
from harness.reference.program import log

__all__ = ["Names", "answered", "question"]

_EVERY_S = 0.5
_WITHIN_S = 0.4
_CONNECT_S = 0.3
_A, _IN = 1, 1


def question(name: str, number: int) -> bytes:
    """A query for the IPv4 addresses of a name (RFC 1035, 4.1), `number` being its id."""
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.strip(".").split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", _A, _IN)


def answered(message: bytes, number: int) -> tuple[str, ...]:
    """The IPv4 addresses of an answer, none when the name is denied or has none. Raises ValueError for anything else."""
    try:
        got, bits, questions, answers = struct.unpack(">4H", message[:8])
        if got != number or not bits & 0x8000:
            raise ValueError("not the answer to this question")
        if bits & 0xF not in (0, 3):
            raise ValueError(f"refused with code {bits & 0xF}")
        at = 12
        for _ in range(questions):
            at = _past_name(message, at) + 4
        found = []
        for _ in range(answers):
            at = _past_name(message, at)
            kind, _, _, length = struct.unpack(">HHIH", message[at : at + 10])
            if kind == _A and length == 4:
                found.append(".".join(map(str, message[at + 10 : at + 14])))
            at += 10 + length
    except (struct.error, IndexError) as exc:
        raise ValueError(f"malformed answer: {exc!r}") from exc
    return tuple(found)


def _past_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] & 0xC0 == 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1


class _Answer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr
        if not self.message.done():
            self.message.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.message.done():
            self.message.set_exception(exc)


class Names:
    """The addresses of regions, by the resolver at `resolver` ("host:port"); a region's name is its own and `.genai`."""

    def __init__(self, resolver: str, mutants: frozenset[str]) -> None:
        host, _, port = resolver.rpartition(":")
        self._resolver = (host, int(port))
        self._trusts = TRUSTS_NAMES in mutants

    async def run(self, sites: Iterable[Site]) -> None:
        """Look all of them up, for ever, and let their URLs follow."""
        every = tuple(sites)
        while True:
            async with asyncio.TaskGroup() as lookups:
                for site in every:
                    lookups.create_task(self.follow(site))
            await asyncio.sleep(_EVERY_S)

    async def follow(self, site: Site) -> None:
        """Look one up, and take over what may be believed."""
        name = f"{site.name}.genai"
        try:
            found = await self._ask(name)
        except (OSError, ValueError, TimeoutError) as exc:
            found = ()
            log("name-unanswered", name=name, why=repr(exc))
            if not self._trusts:
                return
        port = urlsplit(site.url).port
        if self._trusts:
            site.url = f"http://{found[0] if found else '127.255.255.254'}:{port}"  # nothing listens there
            return
        for address in found:
            if address == urlsplit(site.url).hostname:
                return
            if port is not None and await self._accepts(address, port):
                site.url = f"http://{address}:{port}"
                log("name-resolved", name=name, address=address)
                return

    async def _ask(self, name: str) -> tuple[str, ...]:
        number = secrets.randbelow(65536)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(_Answer, remote_addr=self._resolver)
        try:
            transport.sendto(question(name, number))
            async with asyncio.timeout(_WITHIN_S):
                return answered(await protocol.message, number)
        finally:
            transport.close()

    async def _accepts(self, address: str, port: int) -> bool:
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True
