"""The ladder that a revert on a link climbs: gentle first, each rung bounded, all within one deadline, then the commands.

Here: the rungs and their order. Not here: how a fault proxy carries them out (`ports.LinkControl`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from harness.errors import InjectError, RevertError, UnsafeError
from harness.model.ports import LinkControl

__all__ = ["LADDER_LIMIT_S", "climb"]

LADDER_LIMIT_S = 12.0
"""Less than the conductor gives a revert (15 s): what ends the ladder must be its own account."""

_RUNG_LIMIT_S = 2.0  # three of these, and the end of a process, are less than the ten seconds that the reaper gives
_OPEN_AGAIN_LIMIT_S = 1.0


async def climb(links: LinkControl, link: str, undo: Callable[[], Awaitable[None]], commands: Sequence[str]) -> None:
    """Return when `undo` has succeeded, or a rung has made it needless. Raises RevertError with all that was tried.

    Rungs: undo; undo while the proxy is disabled, which ends the connections that may hold it up; the proxy made again;
    the server killed and started again, if this run started it. `commands` are what a person would type after that.
    """
    if await links.gone():
        return

    async def while_disabled() -> None:
        await links.set_enabled(link, False)
        try:
            async with asyncio.timeout(_OPEN_AGAIN_LIMIT_S):
                await undo()
        finally:
            await links.set_enabled(link, True)

    async def made_again() -> None:
        await links.recreate(link)
        await undo()

    loop = asyncio.get_running_loop()
    deadline = loop.time() + LADDER_LIMIT_S
    tried = []
    rungs = (("undo", undo), ("disable and enable", while_disabled), ("make again", made_again))
    for name, rung in (*rungs, ("restart the server", links.restart)):
        bound = deadline if rung == links.restart else min(deadline, loop.time() + _RUNG_LIMIT_S)
        try:
            async with asyncio.timeout_at(bound):
                await rung()
        except TimeoutError:
            tried.append(f"{name}: not done in time")
        except (InjectError, UnsafeError) as exc:
            tried.append(f"{name}: {exc}")
        else:
            return
    process = links.recipe().get("process")
    last = [f"kill -9 {process['pid']}"] if process else []
    raise RevertError(f"link {link}: " + "; ".join(tried), commands=[*commands, *last])
