"""A small name server for a stack, which fault `dns` can make lie: `python -m harness.faults.resolver --listen HOST:PORT
--faults FILE NAME=ADDRESS...`.

Answers with authority for the names it is given (A and AAAA, UDP and TCP, never to be kept), NXDOMAIN for all others; asks
nobody. What FILE says, in JSON, is done to every answer from then on: {"answer": "nxdomain" | "empty" | "stale" | "slow",
"to": ADDRESS, "delay_s": SECONDS}. Without the file it answers rightly.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import sys
from typing import Any, cast

from harness.faults.dns_wire import NXDOMAIN, OK, TXT, Question, parse_question, respond

__all__ = ["WHO", "Names", "main", "serve"]

WHO = "_names.blackstart"
"""Asked for TXT, it says which file FILE is and one name that it has: no fault changes that answer."""


class Names:
    """What is answered, from the names and the file."""

    def __init__(self, names: dict[str, tuple[str, ...]], faults: str) -> None:
        self._names = names
        self._faults = faults

    def _fault(self) -> dict[str, Any]:
        try:
            with open(self._faults) as file:
                told: dict[str, Any] = json.load(file)
                return told
        except (OSError, ValueError):
            return {}

    def answer(self, question: Question) -> tuple[float, bytes]:
        """After how many seconds, and what."""
        if question.name == WHO and question.type == TXT:
            return 0.0, respond(question, OK, (json.dumps([self._faults, next(iter(self._names))]),))
        fault = self._fault()
        kind = fault.get("answer")
        addresses = self._names.get(question.name)
        if addresses is None or kind == "nxdomain":
            return 0.0, respond(question, NXDOMAIN)
        if question.type == TXT or kind == "empty":
            return 0.0, respond(question, OK)
        given = (str(fault["to"]),) if kind == "stale" else addresses
        return float(fault["delay_s"]) if kind == "slow" else 0.0, respond(question, OK, given)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, names: Names) -> None:
        self._names = names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = parse_question(data)
        if question is not None:
            after_s, message = self._names.answer(question)
            asyncio.get_running_loop().call_later(after_s, self._transport.sendto, message, addr)


async def serve(names: Names, host: str, port: int) -> asyncio.Server:
    """Answer on UDP and TCP of one port until the server returned is closed. Raises OSError when the address is taken."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                question = parse_question(await reader.readexactly(length))
                if question is None:
                    break
                after_s, message = names.answer(question)
                await asyncio.sleep(after_s)
                writer.write(len(message).to_bytes(2, "big") + message)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(names), local_addr=(host, port))
    return await asyncio.start_server(connected, host, port)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m harness.faults.resolver", description=__doc__)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--faults", required=True, metavar="FILE")
    parser.add_argument("names", nargs="+", metavar="NAME=ADDRESS")
    given = parser.parse_args()
    names: dict[str, tuple[str, ...]] = {}
    for one in given.names:
        name, _, address = one.partition("=")
        try:
            ipaddress.ip_address(address)
        except ValueError:
            parser.error(f"expected NAME=ADDRESS with an IP address, got {one!r}")
        name = name.lower().rstrip(".")
        names[name] = (*names.get(name, ()), address)
    host, _, port = given.listen.rpartition(":")

    async def forever() -> None:
        async with await serve(Names(names, given.faults), host, int(port)) as server:
            await server.serve_forever()

    try:
        asyncio.run(forever())
    except OSError as exc:
        sys.exit(f"resolver: cannot listen at {given.listen}: {exc.strerror}")


if __name__ == "__main__":
    main()
