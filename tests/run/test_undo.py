from __future__ import annotations

import asyncio

import pytest

from harness.errors import RevertError
from harness.run.undo import finish

SECOND = 1_000_000_000


async def test_three_cancels_do_not_cut_a_cleanup() -> None:
    gate = asyncio.Event()
    done = []

    async def cleanup() -> None:
        await gate.wait()
        done.append("put back")

    task = asyncio.create_task(finish(cleanup, 5 * SECOND, "down@gw"))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["put back"]


async def test_a_failed_cleanup_outranks_a_cancel() -> None:
    async def cleanup() -> None:
        raise OSError("no such toxic")

    task = asyncio.create_task(finish(cleanup, SECOND, "slow@eu-db"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(RevertError, match="slow@eu-db: no such toxic"):
        await task


async def test_a_stuck_cleanup_ends_at_its_limit() -> None:
    async def cleanup() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RevertError, match=r"not done within 0\.05 s"):
        await finish(cleanup, SECOND // 20, "stuck@gw")
