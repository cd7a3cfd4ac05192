"""A worker of a few lines, for whole runs behind a proxy that tries again: runs a job, says so, answers. No harness in it.

`worker.py NAME PORT`: POST /run?job=X prints "executed X". Ends by itself after two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

LIFE_S = 120


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            method, path = (await reader.readuntil(b"\r\n\r\n")).decode().split()[:2]
            if method == "POST":
                print(f"executed {path.rpartition('=')[2]}", flush=True)
            writer.write(f"HTTP/1.1 200 OK\r\nx-instance: {sys.argv[1]}\r\ncontent-length: 2\r\n\r\nok".encode())
    writer.close()


async def main() -> None:
    await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[2]))
    await asyncio.sleep(LIFE_S)


if __name__ == "__main__":
    asyncio.run(main())
