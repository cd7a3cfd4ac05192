"""One of two replicas of a list, for whole runs: acknowledges before it has replicated. Imports nothing of harness.

`replica.py NAME PORT first PEER` leads at epoch 1 and tells its peer all it holds every 40 ms; `replica.py NAME PORT second`
follows, and leads at the next epoch once it has not heard the first for 0.8 s. When they meet, the lower epoch throws away what
it has, takes the other's list, and passes on what it is asked. With `--mute`, who took over answers no read.
POST /add?item=X, GET /items, GET /leads. It says what it keeps and what it throws away. Ends by itself after two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

LIFE_S = 120
SILENCE_S = 0.8


class Replica:
    def __init__(self, name: str, first: bool, peer: str | None, mute: bool) -> None:
        self.name, self.peer, self.mute = name, peer, mute
        self.items: list[str] = []
        self.epoch, self.leads = int(first), first
        self.heard: float | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
                body = await reader.readexactly(length)
                method, path = head.split()[:2]
                status, answer = await self.answer(method, path, body)
                facts = f"x-instance: {self.name}\r\nx-epoch: {self.epoch}\r\ncontent-type: application/json\r\n"
                payload = json.dumps(answer).encode()
                writer.write(f"HTTP/1.1 {status}\r\n{facts}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        writer.close()

    async def answer(self, method: str, path: str, body: bytes) -> tuple[str, object]:
        if path.startswith("/add"):
            if self.leads:
                item = path.rpartition("=")[2]
                self.items.append(item)
                print(f"kept {item} epoch {self.epoch}", flush=True)
            elif self.peer is not None:
                await ask(self.peer, "post", path, b"")
            else:
                return "503 Service Unavailable", "not the leader"
        elif path == "/meet":
            theirs = json.loads(body)
            self.heard = time.monotonic()
            self.meet(theirs)
            return "200 OK", {"epoch": self.epoch, "items": self.items}
        elif path == "/items":
            if self.mute and self.epoch > 1:
                return "503 Service Unavailable", "rebuilding its index"
            return "200 OK", self.items
        return "200 OK", self.leads

    def meet(self, theirs: dict[str, object]) -> None:
        """The higher epoch is right; of the same epoch, the one who leads."""
        epoch, items = theirs["epoch"], theirs["items"]
        assert isinstance(epoch, int) and isinstance(items, list)
        if epoch > self.epoch or (epoch == self.epoch and not self.leads):
            told = [*(f"threw away {item}" for item in set(self.items) - set(items))]
            told += [f"took {item}" for item in set(items) - set(self.items)]
            sys.stdout.write("".join(f"{line}\n" for line in told))
            sys.stdout.flush()
            self.epoch, self.items, self.leads = epoch, items, False

    async def tell(self, peer: str) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                mine = json.dumps({"epoch": self.epoch, "items": self.items}).encode()
                self.meet(json.loads(await ask(peer, "post", "/meet", mine)))
            await asyncio.sleep(0.04)

    async def take_over(self) -> None:
        while not self.leads:
            await asyncio.sleep(0.02)
            if self.heard is not None and time.monotonic() - self.heard > SILENCE_S:
                self.epoch, self.leads = self.epoch + 1, True
                print(f"leads epoch {self.epoch}", flush=True)


async def ask(peer: str, method: str, path: str, body: bytes) -> bytes:
    host, _, port = peer.rpartition(":")
    async with asyncio.timeout(1):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            return await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        finally:
            writer.close()


async def main(name: str, port: str, role: str, *rest: str) -> None:
    peer = next((word for word in rest if not word.startswith("-")), None)
    replica = Replica(name, role == "first", peer, "--mute" in rest)
    server = await asyncio.start_server(replica.serve, "127.0.0.1", int(port))
    with contextlib.suppress(TimeoutError):
        async with server, asyncio.timeout(LIFE_S), asyncio.TaskGroup() as group:
            group.create_task(replica.take_over() if peer is None else replica.tell(peer))
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
