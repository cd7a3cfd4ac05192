"""Targets, users outside a worker, jobs: what the load tests share."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.history.op import Op
from harness.history.table import OpTable
from harness.load.client import close_shared
from harness.load.engine import AsyncioEngine
from harness.load.record import Recorder, write_part
from harness.load.user import Desk, Place, User
from harness.model.arrivals import arrival_json
from harness.model.experiment import ArrivalSpec
from harness.model.ports import LiveBatch, LoadJob, LoadReport

MS = 1_000_000


@dataclass
class Target:
    """A server process and its address."""

    process: subprocess.Popen[str]
    url: str


@pytest.fixture
def target() -> Iterator[Callable[..., Target]]:
    """Starts target servers (see target_server.py); all are gone afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(**env: str) -> Target:
        script = Path(__file__).with_name("target_server.py")
        process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | env,
        )
        started.append(process)
        assert process.stdout is not None
        return Target(process=process, url=f"http://127.0.0.1:{int(process.stdout.readline())}")

    yield start
    for process in started:
        process.kill()
        process.communicate()


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that does with each connection what `handle` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@dataclass
class Bench:
    """Users in this process, without a worker, and the rows that they leave."""

    folder: Path
    seed: int = 7
    timeout_s: float = 1.0
    acknowledged: list[str] = field(default_factory=list)
    users: list[User] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recorder = Recorder(0, self.folder)
        self.desk = Desk(
            recorder=self.recorder,
            origin_ns=time.monotonic_ns(),
            seed=self.seed,
            timeout_s=self.timeout_s,
            tag="run",
            seed_tag="seed",
            acknowledged=lambda session, _: self.acknowledged.append(session),
        )

    def user(self, cls: type[User], entry: str = "http://127.0.0.1:1", **place: Any) -> User:
        """A user of this class; it has arrival number 0."""
        index = len(self.users)
        user = cls(self.desk, Place(**({"index": index, "session": f"s{index}", "entry": entry} | place)))
        user._arrive("0", 0)
        self.users.append(user)
        return user

    async def arrival(self, user: User, number: str = "0") -> Op:
        """Run one arrival; its last op. What the profile raises ends with it."""
        user._arrive(number, 0)
        try:
            await user.run()
        except Exception as exc:
            assert exc is user._ended_by, f"raised outside an op: {exc!r}"
        return self.ops()[-1]

    def ops(self) -> list[Op]:
        """Every op so far, by its id."""
        part = self.recorder.take_part()
        if part is not None:
            write_part(*part)
        return sorted(OpTable.read(self.folder).ops(), key=lambda op: op.op)

    async def close(self) -> None:
        for user in self.users:
            await user._leave()
        await close_shared(self.desk.shared)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(folder=tmp_path)
    yield bench
    await bench.close()


@dataclass
class Runner:
    """An engine, its job and all that it reported."""

    engine: AsyncioEngine
    job: LoadJob
    batches: list[LiveBatch] = field(default_factory=list)
    report: LoadReport | None = None

    async def start(self) -> None:
        await self.engine.start(self.job, self.batches.append)

    async def close(self) -> LoadReport:
        self.report = await self.engine.close()
        return self.report

    def ops(self) -> list[Op]:
        return list(OpTable.read(Path(self.job.out_dir)).ops())

    def now_ns(self) -> int:
        return time.monotonic_ns() - self.job.origin_ns

    @property
    def ended_count(self) -> int:
        return sum(len(batch.ended) for batch in self.batches)

    async def until(self, condition: Callable[[], bool], limit_s: float = 20) -> None:
        """Wait for a condition under a deadline."""
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Callable[..., Runner]]:
    """Makes runners; their engines are closed afterwards. Arguments replace the job's."""
    async with AsyncExitStack() as closing:

        def make(entry: str, **changes: Any) -> Runner:
            job = LoadJob(
                profile="http",
                options={},
                arrival=arrival_json(ArrivalSpec(rate_per_s=100, shape="even")),
                timeout_ns=500 * MS,
                seed=7,
                entry=entry,
                regions={},
                groups={},
                users=1,
                users_max=None,
                deadline_ns=None,
                prober_every_ns=None,
                prober_timeout_ns=None,
                workers=1,
                origin_ns=time.monotonic_ns(),
                start_at_ns=0,
                out_dir=str(tmp_path / "ops"),
            )
            made = Runner(AsyncioEngine(), replace(job, **changes))
            closing.push_async_callback(made.engine.close)
            return made

        yield make


@pytest.fixture
def profile(tmp_path: Path) -> Callable[[str], str]:
    """Writes a profile file; "path.py:Shop" of it."""

    def write(body: str) -> str:
        path = tmp_path / "shop_profile.py"
        path.write_text(body)
        return f"{path}:Shop"

    return write


@pytest.fixture
def serve_raw() -> Any:
    """`async with serve_raw(handle) as url`."""
    return raw_server
