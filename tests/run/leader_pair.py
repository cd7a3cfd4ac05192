"""One of two nodes of which one leads, for whole runs: keeps what is added, and takes over when the other is not heard.

`main([NAME, ADDRESS, HTTP, PEER, OTHER_ADDRESS, OTHER_PEER, FILE])`: HTTP on port HTTP as in `shop.py`; on port PEER it hears the
other node's heartbeats, and sends its own from its own address. FILE holds the leader's name. Ends by itself after two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import encodings.idna  # noqa: F401 - an instance of another user could not read it later
import json
import time
from pathlib import Path

LIFE_S = 120
SILENCE_S = 0.6


class Node:
    def __init__(self, name: str, address: str, leader: Path) -> None:
        self.name, self.address, self.leader = name, address, leader
        self.items: list[str] = []
        self.heard: float | None = None
        self.has_led = leader.read_text() == name

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                method, path = (await reader.readuntil(b"\r\n\r\n")).split()[:2]
                body = b"ok"
                if method == b"POST":
                    self.items.append(path.decode().rpartition("=")[2])
                elif path == b"/items":
                    body = json.dumps(self.items).encode()
                head = f"HTTP/1.1 200 OK\r\nx-instance: {self.name}\r\ncontent-type: application/json\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(1):
                self.heard = time.monotonic()
        writer.close()

    async def beat(self, address: str, port: int) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    _, writer = await asyncio.open_connection(address, port, local_addr=(self.address, 0))
                while not writer.is_closing():
                    writer.write(b".")
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)

    async def take_over(self) -> None:
        """Lead once the other is not heard; who has led before never does again, so that the two do not take turns."""
        while not self.has_led:
            await asyncio.sleep(0.05)
            if self.heard is not None and time.monotonic() - self.heard > SILENCE_S:
                self.leader.write_text(self.name)
                self.has_led = True


async def run(name: str, address: str, http: str, peer: str, other: str, other_peer: str, leader: str) -> None:
    node = Node(name, address, Path(leader))
    await asyncio.start_server(node.serve, address, int(http))
    await asyncio.start_server(node.hear, address, int(peer))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LIFE_S), asyncio.TaskGroup() as group:
            group.create_task(node.beat(other, int(other_peer)))
            group.create_task(node.take_over())


def main(argv: list[str]) -> None:
    asyncio.run(run(*argv))
