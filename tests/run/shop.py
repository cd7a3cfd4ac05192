"""A shop of a few lines, for whole runs of a small stack: keeps what is added. Imports nothing of harness.

`shop.py PORT`: POST /add?item=X keeps X, GET /items lists all, anything else is 404. Ends by itself after two minutes.
"""

from __future__ import annotations

import asyncio
import json
import sys

LIFE_S = 120


class Shop(asyncio.Protocol):
    items: list[str] = []  # noqa: RUF012 - one shop per process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while b"\r\n\r\n" in self.seen:
            head, _, self.seen = self.seen.partition(b"\r\n\r\n")
            method, path = head.split()[:2]
            self.transport.write(self.answer(method.decode(), path.decode()))

    def answer(self, method: str, path: str) -> bytes:
        status, body = "200 OK", b"ok"
        if (method, path.partition("?")[0]) == ("POST", "/add"):
            self.items.append(path.rpartition("=")[2])
        elif path == "/items":
            body = json.dumps(self.items).encode()
        else:
            status = "404 Not Found"
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body


async def main() -> None:
    await asyncio.get_running_loop().create_server(Shop, "127.0.0.1", int(sys.argv[1]))
    await asyncio.sleep(LIFE_S)


if __name__ == "__main__":
    asyncio.run(main())
