"""The reference stack in seven child processes, a link that can be cut, and a small load."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.ports import free_port

REGIONS = {"eu-west": "eu", "us-east": "us"}
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Link:
    """A TCP relay: open, cut (swallows, connections stay) or refusing."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._open.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, up_writer))
                both.create_task(self._pump(up_reader, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            self._pumps.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        pumps = list(self._pumps)
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


@dataclass
class Answer:
    """What a client got for one turn."""

    value: str
    session: str
    idem: str
    began: float
    status: int = 0
    text: str = ""
    acked: bool = False
    error: str = ""
    done: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    serving: dict[str, Any] = field(default_factory=dict)
    exact: bool | None = None  # of an acknowledged answer: its text is what the stack says it is


@dataclass
class Findings:
    """What a region's log says about what clients were told."""

    lost: list[str]
    doubled: list[str]
    reordered: list[str]


class Stack:
    """Seven processes on free loopback ports; every process can be killed, paused and started again."""

    def __init__(self, path: Path, replication: str = "sync", mutant: str = "") -> None:
        self.path = path
        self.replication = replication
        self.mutant = mutant
        self.ports = {
            f"{role}-{short}": free_port() for role in ("gateway", "engine", "journal") for short in ("eu", "us")
        }
        self.ports["edge"] = free_port()
        self.links: dict[str, Link] = {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.http: aiohttp.ClientSession
        self.extra: dict[str, list[str]] = {}  # more arguments, by process
        self._loads = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _link(self, name: str) -> str:
        return f"http://127.0.0.1:{self.links[name].port}"

    def argv(self, name: str) -> list[str]:
        role, _, short = name.partition("-")
        common = ["--port", str(self.ports[name]), "--name", name, "--mutant", self.mutant]
        region = next((region for region, s in REGIONS.items() if s == short), "")
        other = "us" if short == "eu" else "eu"
        module = {"journal": "journal_server"}.get(role, role)
        if role == "edge":
            extra = ["--region", f"eu-west={self._link('edge-eu')}", "--region", f"us-east={self._link('edge-us')}"]
            extra += ["--state", str(self.path / "edge.json"), "--replication", self.replication]
        elif role == "gateway":
            extra = ["--region", region, "--engine", self._link(f"provider-{short}")]
            extra += ["--journal", self.url(f"journal-{short}")]
        elif role == "engine":
            extra = ["--region", region]
        else:
            extra = ["--region", region, "--db", str(self.path / name)]
            extra += ["--peer", self._link(f"repl-{short}-{other}")]
        return [sys.executable, "-m", f"harness.reference.{module}", *common, *extra, *self.extra.get(name, [])]

    async def start(self) -> None:
        targets = {
            "edge-eu": "gateway-eu", "edge-us": "gateway-us", "provider-eu": "engine-eu", "provider-us": "engine-us",
            "repl-eu-us": "journal-us", "repl-us-eu": "journal-eu",
        }  # fmt: skip
        for name, target in targets.items():
            self.links[name] = Link(self.ports[target])
            await self.links[name].start()
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        for name in self.ports:
            self.spawn(name)

    def spawn(self, name: str) -> None:
        log = (self.path / f"{name}.log").open("ab")
        with log:
            self.children[name] = subprocess.Popen(self.argv(name), stderr=log, preexec_fn=_die_with_parent)

    def region(self, short: str) -> list[str]:
        return [f"{role}-{short}" for role in ("gateway", "engine", "journal")]

    def signal(self, names: list[str], number: int) -> None:
        for name in names:
            self.children[name].send_signal(number)
        if number == signal.SIGKILL:
            for name in names:
                self.children[name].wait(5)

    async def stop(self) -> None:
        for child in self.children.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)
                child.kill()
        for child in self.children.values():
            child.wait(5)
        await self.http.close()
        for link in self.links.values():
            await link.stop()

    async def get(self, url: str) -> tuple[int, Any]:
        try:
            async with self.http.get(url, timeout=aiohttp.ClientTimeout(total=2)) as reply:
                return reply.status, await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            return 0, repr(exc)

    async def until(self, url: str, holds: Callable[[int, Any], bool], within_s: float = 20) -> Any:
        deadline = time.monotonic() + within_s
        while True:
            status, body = await self.get(url)
            if holds(status, body):
                return body
            assert time.monotonic() < deadline, (
                f"{url}: {status} {body}\n{await self.get(self.url('edge') + '/events')}"
            )
            await asyncio.sleep(0.05)

    async def ready(self, within_s: float = 20) -> None:
        await self.until(self.url("edge") + "/v1/redundant", lambda status, _: status == 200, within_s)

    async def events(self) -> list[str]:
        _, body = await self.get(self.url("edge") + "/events")
        return [f"{event['event']}:{event['region']}" for event in body]

    async def turn(self, session: str, value: str, **more: Any) -> Answer:
        """One streamed turn, as a client sees it; never raises."""
        answer = Answer(value, session, more.get("idem", value), time.monotonic())
        headers = {"x-session": session, "x-turn-value": value, "idempotency-key": answer.idem}
        body = {"messages": [{"role": "user", "content": f"turn {value}"}], "stream": True}
        url = more.get("url") or self.url("edge")
        timeout = aiohttp.ClientTimeout(total=more.get("timeout", 5))
        try:
            async with self.http.post(
                f"{url}/v1/chat/completions", json=body, headers=headers, timeout=timeout
            ) as reply:
                answer.status, answer.headers = reply.status, dict(reply.headers)
                if reply.status != 200:
                    answer.error = (await reply.json())["error"]["code"]
                async for line in reply.content:
                    if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
                        answer.acked = answer.acked or line.strip() == b"data: [DONE]"
                        continue
                    chunk = json.loads(line[5:])
                    if "error" in chunk:
                        answer.error = chunk["error"]["code"]
                        break
                    answer.text += chunk["choices"][0]["delta"].get("content") or ""
                    answer.serving = chunk.get("serving") or answer.serving
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            answer.error = repr(exc)
        answer.done = time.monotonic()
        if answer.acked:
            answer.exact = hashlib.sha256(answer.text.encode()).hexdigest() == answer.serving["answer_sha"]
        return answer

    async def load(
        self, seconds: float, rate: float = 30, sessions: int = 20, midway: Awaitable[None] | None = None
    ) -> list[Answer]:
        """Open-loop turns at an even rate; each session has at most one turn under way, or is skipped."""
        self._loads += 1
        tag = f"l{self._loads}"
        answers: list[Answer] = []
        busy: set[int] = set()

        async def one(index: int, number: int) -> None:
            busy.add(index)
            answers.append(await self.turn(f"s{index}", f"{tag}-{number}"))
            busy.discard(index)

        async with asyncio.TaskGroup() as tasks:
            if midway is not None:
                tasks.create_task(_as_coroutine(midway))
            began = time.monotonic()
            for number in range(int(seconds * rate)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                index = next((i for i in range(number, number + sessions) if i % sessions not in busy), None)
                if index is not None:
                    tasks.create_task(one(index % sessions, number))
        return answers

    async def values(self, short: str, session: str) -> list[str]:
        """The values of a session in one region's log, once it can be read."""
        body = await self.until(
            f"{self.url(f'gateway-{short}')}/v1/sessions/{session}", lambda status, _: status == 200
        )
        return [turn["value"] for turn in body["turns"]]

    async def converged(self, within_s: float = 20) -> dict[str, Any]:
        deadline = time.monotonic() + within_s
        while True:
            one, two = [await self.get(f"{self.url(f'gateway-{short}')}/v1/journal/digest") for short in ("eu", "us")]
            if one[0] == two[0] == 200 and one[1]["digest"] == two[1]["digest"]:
                return dict(one[1])
            assert time.monotonic() < deadline, f"{one} {two} {await self.events()}"
            await asyncio.sleep(0.1)

    async def judge(self, short: str, answers: list[Answer]) -> Findings:
        """Compare what was acknowledged with one region's log."""
        found = Findings([], [], [])
        sessions = sorted({answer.session for answer in answers})
        logs = await asyncio.gather(*(self.values(short, session) for session in sessions))
        for session, values in zip(sessions, logs, strict=True):
            acked = sorted((a for a in answers if a.session == session and a.acked), key=lambda a: a.done)
            found.lost += [a.value for a in acked if a.value not in values]
            found.doubled += sorted({value for value in values if values.count(value) > 1})
            kept = [a.value for a in acked if a.value in values]
            if [value for value in dict.fromkeys(values) if value in kept] != kept:
                found.reordered.append(session)
        return found


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable


@pytest.fixture
def new_stack(tmp_path: Path) -> Stack:
    """A stack that is not started."""
    return Stack(tmp_path)


@pytest.fixture
async def make_stack(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Stack]]]:
    started: list[Stack] = []

    async def make(replication: str = "sync", mutant: str = "", extra: dict[str, list[str]] | None = None) -> Stack:
        stack = Stack(tmp_path, replication, mutant)
        stack.extra = extra or {}
        started.append(stack)
        await stack.start()
        await stack.ready()
        return stack

    yield make
    for stack in started:
        await stack.stop()
