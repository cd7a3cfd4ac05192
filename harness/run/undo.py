"""Cleanups that cannot be skipped: run to their end under their own deadline, whatever is cancelled around them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from harness.errors import RevertError
from harness.model.ports import Injector, Patient

__all__ = ["finish", "patience_ns"]


def patience_ns(injector: Injector) -> int:
    """How long one call of an injector may take beyond our own limits; 0 for those that run nobody else's code."""
    return injector.patience_ns if isinstance(injector, Patient) else 0


async def finish(cleanup: Callable[[], Awaitable[None]], limit_ns: int, what: str) -> None:
    """Run `cleanup` to its end within `limit_ns`; any cancellation waits for it and is raised afterwards.

    Raises RevertError, naming `what`, when the cleanup failed or ran out of time: a system left broken outranks a cancel.
    """

    async def bounded() -> None:
        async with asyncio.timeout(limit_ns / 1e9):
            await cleanup()

    task = asyncio.create_task(bounded())  # the one task outside a group: it must survive its parent's cancellation
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc  # cancelling the waiter leaves the task running: remember, keep waiting
    if task.cancelled():
        raise RevertError(f"{what}: cut before it was done")
    failure = task.exception()
    if isinstance(failure, TimeoutError):
        raise RevertError(f"{what}: not done within {limit_ns / 1e9:g} s") from failure
    if failure is not None:
        commands = failure.commands if isinstance(failure, RevertError) else ()
        raise RevertError(f"{what}: {failure}", commands=commands) from failure
    if cancelled is not None:
        raise cancelled
