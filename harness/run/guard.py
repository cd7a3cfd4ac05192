"""The conductor's end of the reaper: starts it, keeps it assured, notices when it dies, stops or hangs, dismisses it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from harness.errors import UnsafeError
from harness.run.journal import REAPER, Journal, Spawned
from harness.run.process import start_ticks
from harness.run.reaper import READY
from harness.run.silence import mute
from harness.stacks.procfs import read_stat

__all__ = ["HAND_OVER_LIMIT_S", "Guard"]

_ARM_LIMIT_S = 20.0
_LOOK_S = 0.5
HAND_OVER_LIMIT_S = 15.0
"""A little more than one revert may take: what comes of it belongs to the record of the run."""


class Guard:
    """A running reaper. Nothing may be broken before `arm` returned."""

    def __init__(self, process: asyncio.subprocess.Process, write_fd: int) -> None:
        self._process = process
        self._write_fd = write_fd
        self._unanswered = 0

    @classmethod
    async def arm(cls, journal: Journal) -> Guard:
        """A reaper that guards this journal, armed. Raises UnsafeError when it does not come up: then nothing may run."""
        read_fd, write_fd = os.pipe()  # neither is inheritable; the child gets the read end as its stdin alone
        log = (journal.path.parent / "logs" / "reaper.log").open("ab")
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "harness.run.reaper",
                str(journal.path),
                stdin=read_fd,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(read_fd)
            log.close()
        guard = cls(process, write_fd)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_ARM_LIMIT_S):
                armed = await process.stdout.readline()
        except TimeoutError:
            armed = b""
        if armed != READY:
            guard.release()
            raise UnsafeError(
                "the reaper did not come up", remedy=f"see {Path(journal.path.parent, 'logs', 'reaper.log')}"
            )
        journal.append(Spawned(what="reaper", pid=process.pid, ticks=start_ticks(process.pid), order=REAPER))
        return guard

    @property
    def pid(self) -> int:
        return self._process.pid

    def assure(self) -> None:
        """Tell the reaper that we live. Due every second, from `arm` until `dismiss`, whatever else goes on."""
        if self._write_fd >= 0:
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self._write_fd, b".")
                self._unanswered += 1

    async def failed(self) -> str:
        """What is wrong with the reaper, in words that follow its name, once it guards us no more: ended, stopped or hung."""
        assert self._process.stdout is not None
        while True:
            answers = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    answers = await self._process.stdout.read(4096)
            if answers == b"":
                return f"ended (exit code {await self._process.wait()})"
            self._unanswered -= len(answers or b"")
            stat = read_stat(self.pid)
            wrong = mute(self._unanswered, stat is not None and stat.state == "T")
            if wrong is not None:
                return wrong

    def _wake(self) -> None:
        """Let a reaper go on that somebody stopped: it has a last word to hear."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    async def dismiss(self) -> int | None:
        """Tell it that all is done and wait for it to leave; its exit code (None when it had to be killed)."""
        with contextlib.suppress(OSError):
            os.write(self._write_fd, b"q")
        self._wake()
        try:
            async with asyncio.timeout(5):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            return None
        finally:
            self.release()

    async def hand_over(self) -> None:
        """Let it try what we could not put back, and wait a while for how that ends; it goes on after that."""
        self.release()
        self._wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_LIMIT_S):
                await self._process.wait()

    def release(self) -> None:
        """Close our end: a reaper that still lives takes this for our death, and acts."""
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1
