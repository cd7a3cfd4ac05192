"""Probe `exec`: a command of the user's, its exit code, and a number in its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import BinaryIO, Self

from pydantic import ConfigDict, Field

from harness.model.catalog import ProbeKind
from harness.model.fields import JsonObject, Params
from harness.model.ports import ProbeSample
from harness.model.wiring import Wiring
from harness.probe.text import ANSWER_LIMIT, JSON_PATH, clean, from_json, from_line

__all__ = ["KIND", "ExecParams", "ExecProbe"]

_GONE_LIMIT_S = 5.0


class ExecParams(Params):
    """The command (`exec`), run in the stack file's folder; `json`, the path of the value in its output (else its first line)."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    argv: tuple[str, ...] = Field(alias="exec", min_length=1)
    json_path: str | None = Field(default=None, alias="json", pattern=JSON_PATH)


class ExecProbe:
    """Every sample is one run of the command. Any exit code but 0 is a failed sample; on a time-out all of it is killed."""

    def __init__(
        self, params: ExecParams | JsonObject, wiring: Wiring, base_dir: str = ".", instance: str | None = None
    ) -> None:
        self._params = ExecParams.model_validate(params)
        argv = [wiring.text(word, instance=instance) for word in self._params.argv]
        self._argv = [os.path.join(base_dir, argv[0]), *argv[1:]] if "/" in argv[0] else argv
        self._cwd = base_dir

    async def sample(self, timeout_ns: int) -> ProbeSample:
        name = self._argv[0]
        try:
            async with asyncio.timeout(timeout_ns / 1e9):
                code, output, said = await self._run()
        except TimeoutError:
            return ProbeSample(ok=False, error=f"{name}: not done in {timeout_ns / 1e9:g} s")
        except OSError as exc:
            return ProbeSample(ok=False, error=f"cannot run {name!r}: {exc.strerror}")
        if code != 0:
            return ProbeSample(
                ok=False, error=f"{name}: ended with {code}: {clean(said[-300:].decode(errors='replace'))}"
            )
        if self._params.json_path is None:
            return from_line(output)
        if len(output) > ANSWER_LIMIT:
            return ProbeSample(ok=False, error=f"{name}: the output is longer than {ANSWER_LIMIT} bytes")
        return from_json(output, self._params.json_path)

    async def _run(self) -> tuple[int, bytes, bytes]:
        """Exit code, output and error output, both from their beginning. Cut short, nothing of the command runs on."""
        async with _Captured() as out, _Captured() as err:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out.write_fd,
                stderr=err.write_fd,
                start_new_session=True,
            )
            try:
                out.hand_over()
                err.hand_over()
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one.beginning()) for one in (out, err)]
                return await process.wait(), tasks[0].result(), tasks[1].result()
            except BaseException:
                await _end(process)
                raise


class _Captured:
    """The reading end of a pipe of our own: asyncio's would wait for whichever descendant keeps the other end open."""

    async def __aenter__(self) -> Self:
        read_fd, self.write_fd = os.pipe()
        self._reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(self._reader)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, _opened(read_fd))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hand_over()
        self._transport.close()

    def hand_over(self) -> None:
        """Close our copy of the writing end: the command has its own."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    async def beginning(self) -> bytes:
        """What was written first, read to its end so that the writer never blocks."""
        kept = b""
        while piece := await self._reader.read(ANSWER_LIMIT):
            kept += piece[: ANSWER_LIMIT + 1 - len(kept)]
        return kept


def _opened(fd: int) -> BinaryIO:
    return open(fd, "rb", 0)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill all of the command: its descendants, found while the parent still is theirs, and its process group."""
    for pid in _descendants(process.pid) if process.returncode is None else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    async with asyncio.timeout(_GONE_LIMIT_S):
        await process.wait()


def _descendants(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


KIND = ProbeKind(
    name="exec",
    doc="a command: the number on its first line, or with `json:` a value in its output",
    params=ExecParams,
    code="harness.probe.exec:ExecProbe",
    example="{exec: [./ops/digests], json: .equal, every: 5s}",
)
