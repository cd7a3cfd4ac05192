"""Final reads: every session with an acknowledged write, asked of every region, again and again until it answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from harness.load.user import Desk, Place, User
from harness.units import NS_PER_S

__all__ = ["FINAL_INDEX", "FinalReads"]

FINAL_INDEX = 3 << 29
"""Users of final reads are numbered from here."""

_AT_ONCE = 16
_LEAVE_S = 1.0
_PAUSE_S = (0.05, 1.0)


@dataclass(slots=True, kw_only=True)
class FinalReads:
    """One worker's final reads. `sessions` maps a session with an acknowledged write to its group."""

    profile: type[User]
    desk: Desk
    sessions: Mapping[str, str | None]
    worker: int
    workers: int
    made: int = 0

    async def read(self, regions: Mapping[str, str], within_ns: int) -> list[str]:
        """Read all at each region's entry; "session@region" of those that never answered within `within_ns`.

        One region's silence takes no time from another. A read has answered when `final` returned and an op of it ended
        ok. Empty without sessions or regions, and for a profile that has no `final`.
        """
        if self.profile.final is User.final:
            return []
        deadline_s = time.monotonic() + within_ns / NS_PER_S
        unread: list[str] = []

        async def ask(session: str, region: str, entry: str, gate: asyncio.Semaphore) -> None:
            async with gate:
                if not await self._until_answered(session, region, entry, deadline_s):
                    unread.append(f"{session}@{region}")

        async with asyncio.TaskGroup() as reading:
            for region, entry in regions.items():
                gate = asyncio.Semaphore(_AT_ONCE)
                for session in self.sessions:
                    reading.create_task(ask(session, region, entry, gate))
        return sorted(unread)

    async def _until_answered(self, session: str, region: str, entry: str, deadline_s: float) -> bool:
        index = FINAL_INDEX + self.made * self.workers + self.worker
        self.made += 1
        group = self.sessions[session]
        place = Place(index=index, session=session, entry=entry, group=group, region=region, phase="final")
        user = self.profile(self.desk, place)
        pause_s, longest_s = _PAUSE_S
        try:
            while (left_s := deadline_s - time.monotonic()) > 0:
                if await self._answered(user, left_s):
                    return True
                await asyncio.sleep(min(pause_s, max(0.0, deadline_s - time.monotonic())))
                pause_s = min(pause_s * 2, longest_s)
            return False
        finally:
            await self._leave(user)

    async def _leave(self, user: User) -> None:
        try:
            async with asyncio.timeout(_LEAVE_S):
                await user._leave()
        except Exception as exc:  # counted as the profile's: what was read stays read
            self.desk.strays[f"stop: {type(exc).__name__}"] += 1

    async def _answered(self, user: User, left_s: float) -> bool:
        user._arrive(f"f{user.index}", user._now_ns())
        guard = asyncio.timeout(left_s)
        try:
            async with guard:
                if not user._started:
                    await user.start()
                    user._started = True
                await user.final()
        except Exception as exc:  # an op that failed has its own record; anything else is counted as the profile's
            if exc is not user._ended_by and not guard.expired():
                self.desk.strays[f"final: {type(exc).__name__}: {exc}"[:200]] += 1
            return False
        return user._acked > 0
