"""One end of a cut, as a real process: answers on its ports, and keeps connections of its own to others, counting answers.

`python cut_peer.py UID ADDRESS PORT...`, then lines on stdin: `to ADDRESS PORT [FROM]` opens a connection and sends a byte every
5 ms; `count` prints how many answers came on each; `new ADDRESS PORT [FROM]` prints what a fresh connect does in 300 ms.
Ends with its input, and after a minute.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while got := await reader.read(1):
        writer.write(got)


async def keep_sending(place: tuple[str, int], source: str | None, counts: list[int]) -> None:
    mine = len(counts)
    counts.append(0)
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(*place, local_addr=local)

    async def receive() -> None:
        while await reader.read(1):
            counts[mine] += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(receive())
        while True:
            writer.write(b".")
            await asyncio.sleep(0.005)


async def connect_anew(place: tuple[str, int], source: str | None) -> str:
    local = None if source is None else (source, 0)
    try:
        async with asyncio.timeout(0.3):
            _, writer = await asyncio.open_connection(*place, local_addr=local)
    except TimeoutError:
        return "silent"
    except OSError as exc:
        return type(exc).__name__
    writer.close()
    return "accepted"


async def main() -> None:
    address, ports = sys.argv[2], [int(port) for port in sys.argv[3:]]
    servers = [await asyncio.start_server(answer, address, port) for port in ports]
    counts: list[int] = []
    tasks = set()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    while line := (await commands.readline()).decode().split():
        source = line[3] if len(line) > 3 else None
        if line[0] == "to":
            tasks.add(asyncio.create_task(keep_sending((line[1], int(line[2])), source, counts)))
        elif line[0] == "new":
            print(await connect_anew((line[1], int(line[2])), source), flush=True)
        else:
            print(*counts, flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    signal.alarm(60)
    if int(sys.argv[1]) != os.getuid():
        os.setgid(int(sys.argv[1]))
        os.setuid(int(sys.argv[1]))
    asyncio.run(main())
