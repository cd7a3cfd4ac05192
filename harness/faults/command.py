"""Other people's programs, run to a deadline, and what a fault made of three of them shares. Not a kind of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import InjectError, RevertError
from harness.faults.instance import look
from harness.model.fields import Duration
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, World

__all__ = [
    "WITHIN_MOST_NS",
    "Ended",
    "OuterState",
    "bounded_within",
    "outer_state",
    "patience_ns",
    "put_back",
    "run_command",
    "seen",
    "seen_gone",
]

WITHIN_MOST_NS = 60_000_000_000
_VERIFY_LIMIT_NS = 1_000_000_000
_KEPT_BYTES = 4000
_GONE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended; `output` is the end of what it wrote to either stream, `answer` all of its standard output."""

    code: int
    output: str
    answer: bytes


async def run_command(
    argv: Sequence[str], *, within_ns: int, cwd: str, env: Mapping[str, str], given: bytes = b""
) -> Ended:
    """Run a command to its end; `given` is its standard input, `env` is added to ours.

    Raises InjectError when it cannot start or is not done in time; all of its process group is killed then. Its output
    goes to files: a descendant that keeps a pipe open must not keep us waiting.
    """
    name = argv[0]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        told.write(given)
        told.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=os.environ | dict(env),
                stdin=told,
                stdout=answer,
                stderr=said,
                start_new_session=True,
            )
        except OSError as exc:
            raise InjectError(f"cannot run {name!r}: {exc.strerror}") from exc
        try:
            async with asyncio.timeout(within_ns / 1e9):
                code = await process.wait()
        except TimeoutError as exc:
            raise InjectError(f"{name!r}: not done within {within_ns / 1e9:g} s") from exc
        finally:
            if process.returncode is None:
                await _end(process)
        answer.seek(0)
        said.seek(max(0, said.seek(0, os.SEEK_END) - _KEPT_BYTES))
        whole = answer.read()
        tail = (whole[-_KEPT_BYTES:] + said.read()).decode(errors="replace")
        return Ended(code=code, output="".join(c if c.isprintable() else " " for c in tail).strip(), answer=whole)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    async with asyncio.timeout(_GONE_LIMIT_S):
        await process.wait()


class OuterState(FaultState):
    """What the programs are told: the target, where they run, and the environment that says both.

    What they found when they began is theirs to remember: their `revert` must be legal when nothing was applied.
    """

    target: str
    cwd: str
    env: dict[str, str]


async def outer_state(target: Target, world: World, cwd: str | None) -> OuterState:
    """The state for a target of any kind. An instance must run: then its pid (or container) and address are told too."""
    env = {"BLACKSTART_RUN": world.run_id, "BLACKSTART_TARGET": target.name, "BLACKSTART_TARGET_KIND": target.kind}
    if target.kind == "instance":
        found = await world.host(target.name).find()
        if found is None:
            raise InjectError(f"instance {target.name}: nothing runs, so nothing can be broken")
        if found.pid is not None:
            env["BLACKSTART_PID"] = str(found.pid)
        if found.container is not None:
            env["BLACKSTART_CONTAINER"] = found.container
        env["BLACKSTART_ADDRESS"] = world.wiring.addresses.get(target.name, "127.0.0.1")
    return OuterState(target=target.name, cwd=world.wiring.text(cwd) if cwd else os.getcwd(), env=env)


def patience_ns(within_ns: int) -> int:
    """How long one call of an injector may take whose programs each have `within_ns`: a poll, and a last run of it."""
    return 2 * within_ns + _VERIFY_LIMIT_NS


def bounded_within(value: Duration) -> Duration:
    """The value. Raises ValueError above a minute: reverts must end."""
    if not 0 < value <= WITHIN_MOST_NS:
        raise ValueError(f"expected more than 0 and at most '60s', got '{value / 1e9:g}s'")
    return value


Ask = Callable[[], Awaitable[tuple[bool, str]]]
"""Whether the effect is there, and the answer in words. Raises InjectError when that cannot be told."""


async def seen(ask: Ask, world: World, within_ns: int) -> Evidence:
    """The witness's answer, asked until it is yes or `within_ns` have passed."""
    return await look(ask, world, within_ns)


async def seen_gone(ask: Ask, world: World, by_hand: str) -> Evidence:
    """The witness's answer after a revert, asked until it is no. Raises RevertError when that cannot be told."""
    try:
        return await look(ask, world, _VERIFY_LIMIT_NS, wanted=False)
    except InjectError as exc:
        raise RevertError(f"cannot tell whether it is gone: {exc}", commands=(by_hand,)) from exc


async def put_back(act: Callable[[], Awaitable[object]], by_hand: str) -> None:
    """Carry out a revert. Raises RevertError, with the command to type, when it fails."""
    try:
        await act()
    except InjectError as exc:
        raise RevertError(f"revert: {exc}", commands=(by_hand,)) from exc
