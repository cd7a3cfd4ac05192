"""150 streams of chat at once: CPU per token of profile `chat` with full records, and of bare asyncio and json.

`python -m tests.bench.streams serve` is the server; `chat|raw URL` one measured client: one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.load.client import close_shared
from harness.load.profile import load_profile
from harness.load.record import Recorder, warm_up, write_part
from harness.load.user import Desk, Place
from tests.bench.finding import Finding

__all__ = ["streams"]

ROUNDS, STREAMS, TOKENS, GAP_S = 3, 150, 100, 0.01
EVENT = {
    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764000000, "model": "m",
    "choices": [{"index": 0, "delta": {"content": "token "}, "finish_reason": None}],
}  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def streams() -> list[Finding]:
    """Medians of rounds that alternate."""
    found: dict[str, list[float]] = {"chat": [], "chat-lean": [], "raw": []}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.streams", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for _ in range(ROUNDS):
            for kind, values in found.items():
                values.append(_child(kind, url))
    finally:
        server.terminate()
        server.communicate(timeout=10)
    cpu = {kind: statistics.median(values) for kind, values in found.items()}
    raw = f"{cpu['raw']:.1f} us"
    return [
        Finding(what=f"{STREAMS} streams, CPU per token: asyncio + json", ours=f"{cpu['chat']:.1f} us", beside=raw,
                ratio=cpu["chat"] / cpu["raw"], limit=1.6),
        Finding(what="the same on the lean client: asyncio + json", ours=f"{cpu['chat-lean']:.1f} us", beside=raw,
                ratio=cpu["chat-lean"] / cpu["raw"], limit=None),
    ]  # fmt: skip


def _child(kind: str, url: str) -> float:
    command = [sys.executable, "-m", "tests.bench.streams", kind, url]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return float(json.loads(told)["cpu_us"])


async def _serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
            token = b"data: " + json.dumps(EVENT).encode() + b"\n\n"
            for number in range(TOKENS):
                await asyncio.sleep(begun + number * GAP_S - loop.time())
                writer.write(token)
            last = {**EVENT, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            writer.write(b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=STREAMS)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


async def _raw(url: str) -> int:
    host, port = url.removeprefix("http://").split(":")
    tokens = [0]

    async def stream() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
        async for line in reader:
            if line.startswith(b"data: {"):
                tokens[0] += bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(STREAMS):
            group.create_task(stream())
    return tokens[0]


async def _chat(url: str, client: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(0, Path(folder))
        desk = Desk(
            recorder=recorder, origin_ns=time.monotonic_ns(), seed=1, timeout_s=30.0, tag="b", seed_tag="b",
            acknowledged=lambda *_: None,
        )  # fmt: skip
        profile = load_profile("chat", {"client": client})
        users = [profile(desk, Place(index=n, session=f"s{n}", entry=url)) for n in range(STREAMS)]
        for number, user in enumerate(users):
            user._arrive(str(number), user._now_ns())
        async with asyncio.TaskGroup() as group:
            for user in users:
                group.create_task(user.run())
        path, rows = recorder.take_part() or (Path(), [])
        write_part(path, rows)
        recorder.check()
        for user in users:
            await user._leave()
        await close_shared(desk.shared)
    return STREAMS * TOKENS if recorder.outcomes["ok"] == STREAMS else 0


def main() -> None:
    kind = sys.argv[1]
    if kind == "serve":
        asyncio.run(_serve())
        return
    asyncio.run(_work(kind, sys.argv[2]))


async def _work(kind: str, url: str) -> None:
    load_profile("chat", {})
    warm_up()
    begun = time.process_time()
    tokens = await (_raw(url) if kind == "raw" else _chat(url, "lean" if kind == "chat-lean" else "aiohttp"))
    cpu_s = time.process_time() - begun
    if tokens != STREAMS * TOKENS:
        raise RuntimeError(f"{kind}: {tokens} tokens of {STREAMS * TOKENS}")
    sys.stdout.write(json.dumps({"cpu_us": cpu_s / tokens * 1e6}) + "\n")


if __name__ == "__main__":
    main()
