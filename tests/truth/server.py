"""A server that is out exactly when it is told to be, and keeps the truth about it. Imports nothing of harness.

Prints its port, then one JSON line on stdout for each time it went out or came back, in ns of CLOCK_MONOTONIC:
`{"out": "refuse", "began": [before, after]}` and `{"out": "refuse", "ended": [before, after]}`: the change took place
between the two stamps. Commands are JSON lines on stdin: `{"out": KIND, "for_ns": N}`, with `"times": n, "every_ns": m` to
flap. Ends with its stdin.

Kinds: `refuse` (nobody listens, what was open is reset), `reset` (connects, then resets everything), `freeze` (accepts,
answers nothing; when it ends, all that waits is answered), `half` (every other request, by chance, gets a 503).
`--errors SHARE` answers that share of all requests with 503, always. Each answer takes 3 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
import time

SERVICE_S = 0.003
SPIN_NS = 2_000_000
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-instance: scripted\r\n\r\nok"
SORRY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nx-instance: scripted\r\n\r\n"


class Connection(asyncio.Protocol):
    def __init__(self, server: Scripted) -> None:
        self.server = server
        self.seen = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.open.add(self)
        if self.server.out in ("refuse", "reset"):  # accepted just before nobody listened any more
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while b"\r\n\r\n" in self.seen:
            _, _, self.seen = self.seen.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(SERVICE_S, self.server.answer, self)

    def reset(self) -> None:
        assert self.transport is not None
        if self.transport.is_closing():
            return
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        if not self.transport.is_closing():
            self.transport.write(data)


class Scripted:
    def __init__(self, seed: int, errors: float) -> None:
        self.chance, self.errors = random.Random(seed), errors
        self.out = ""
        self.open: set[Connection] = set()
        self.held: list[Connection] = []
        # Bound but not listening: keeps the port ours while nobody listens, and out of reach of other clients' sockets.
        self.holder = self.socket(0)
        self.port: int = self.holder.getsockname()[1]
        self.server: asyncio.Server | None = None

    @staticmethod
    def socket(port: int) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        return made

    async def serve(self, listening: socket.socket) -> None:
        self.server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=listening)

    def listen(self) -> socket.socket:
        made = self.socket(self.port)
        made.listen(1024)
        made.setblocking(False)
        return made

    def answer(self, connection: Connection) -> None:
        if self.out in ("refuse", "reset"):
            connection.reset()
        elif self.out == "freeze":
            self.held.append(connection)
        elif (self.out == "half" and self.chance.random() < 0.5) or self.chance.random() < self.errors:
            connection.write(SORRY)
        else:
            connection.write(OK)

    def begin(self, kind: str) -> None:
        self.out = kind
        if kind == "refuse":
            assert self.server is not None
            self.server.close()
        if kind in ("refuse", "reset"):
            for connection in tuple(self.open):
                connection.reset()

    def end(self) -> socket.socket | None:
        listening = self.listen() if self.out == "refuse" else None
        self.out = ""
        held, self.held = self.held, []
        for connection in held:
            connection.write(OK)
        return listening

    async def play(self, kind: str, for_ns: int, times: int, every_ns: int) -> None:
        first_ns = time.monotonic_ns()
        for turn in range(times):
            await until(first_ns + turn * every_ns)
            began = stamped(lambda: self.begin(kind))
            tell({"out": kind, "began": began[:2]})
            await until(began[1] + for_ns)
            before, after, listening = stamped(self.end)
            if listening is not None:
                await self.serve(listening)
            tell({"out": kind, "ended": (before, after)})


def stamped(change):
    before = time.monotonic_ns()
    result = change()
    return before, time.monotonic_ns(), result


async def until(at_ns: int) -> None:
    """Sleep, then spin for the last 2 ms: an outage is exactly as long as it was told to be."""
    await asyncio.sleep(max(0, at_ns - SPIN_NS - time.monotonic_ns()) / 1e9)
    while time.monotonic_ns() < at_ns:
        pass


def tell(what: object) -> None:
    print(json.dumps(what), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--errors", type=float, default=0.0)
    given = parser.parse_args()
    scripted = Scripted(given.seed, given.errors)
    await scripted.serve(scripted.listen())
    tell({"port": scripted.port})
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        told = json.loads(line)
        await scripted.play(told["out"], told["for_ns"], told.get("times", 1), told.get("every_ns", 0))


if __name__ == "__main__":
    asyncio.run(main())
