"""Commands of runbook steps: run within their time, ended with all they started, what they printed kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UnsafeError
from harness.model.drill import Command, Drill, RunbookStep
from harness.report.text import clean_block

__all__ = ["Attempt", "attempt", "attempt_until", "require_commands"]

_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Attempt:
    """Whether it ended with 0 in time, else why not; the end of what it printed."""

    worked: bool
    why: str
    output: str


def require_commands(drill: Drill) -> None:
    """Return when every program that a runbook step would start is there. Raises UnsafeError naming all that are not.

    Looked for before the drill begins: a game day that finds it out after its first outage has cost that outage for nothing.
    """
    lacking = []
    for step in drill.steps:
        if not isinstance(step, RunbookStep):
            continue
        for what in ("run", "verify", "rollback"):
            deed = getattr(step.action, what)
            if isinstance(deed, Command) and shutil.which(_from_its_folder(deed)) is None:
                lacking.append(f"{step.id} ({what}): {deed.argv[0]}")
    if lacking:
        raise UnsafeError(
            f"no such program, or not executable: {'; '.join(lacking)}",
            remedy="write it, chmod +x, or correct the runbook; a path with a slash is seen from the runbook's folder",
        )


def _from_its_folder(command: Command) -> str:
    program = command.argv[0]
    return str(Path(command.cwd) / program) if "/" in program else program


def attempt(command: Command, within_ns: int | None = None) -> Attempt:
    """Run it once. Its whole process group is ended when the time is over or when we are interrupted."""
    limit_s = (command.within_ns if within_ns is None else within_ns) / 1e9
    try:
        process = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as exc:
        return Attempt(False, f"cannot run {command.argv[0]!r}: {(exc.strerror or str(exc)).lower()}", "")
    try:
        printed, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _end(process)
        printed, _ = process.communicate()
        return Attempt(False, f"did not end within {limit_s:g} s", _text(printed))
    except BaseException:
        _end(process)
        process.communicate()
        raise
    code = process.returncode
    return Attempt(code == 0, "" if code == 0 else f"ended with {code}, expected 0", _text(printed))


def attempt_until(command: Command) -> Attempt:
    """Run it again and again until it ends with 0, within its time; the last attempt."""
    deadline_ns = time.monotonic_ns() + command.within_ns
    while True:
        last = attempt(command, max(deadline_ns - time.monotonic_ns(), 1))
        if last.worked or time.monotonic_ns() + _AGAIN_S * 1e9 >= deadline_ns:
            return last
        time.sleep(_AGAIN_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _text(printed: bytes | None) -> str:
    return clean_block((printed or b"").decode(errors="replace"), limit=4_000, lines=20)
