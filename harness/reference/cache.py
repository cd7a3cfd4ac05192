"""A gateway's short-lived memory of answers: keyed by everything an answer depends on, and by the tenant it was given to.

Only whole answers of the stack's own model are kept. Of several requests for what is not there, one asks the provider and the
others wait for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.reference.mutants import LOOSE_CACHE_KEY, NO_SINGLE_FLIGHT

__all__ = ["Cache", "Kept"]

_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer as it was: its tokens, how it ended, what it cost, when it was kept."""

    tokens: tuple[str, ...]
    finish: str
    usage: Mapping[str, int]
    sha: str | None
    at: float


class Cache:
    """At most `size` answers, each for `ttl_s` seconds; `ttl_s` 0 keeps nothing and lets everyone ask."""

    def __init__(
        self,
        ttl_s: float,
        mutants: frozenset[str] = frozenset(),
        size: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ttl_s = ttl_s
        self.hits = self.misses = self.evictions = 0
        self._mutants = mutants
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._under_way: dict[str, asyncio.Event] = {}

    def key(self, tenant: str, pins: Mapping[str, str], asked: Mapping[str, Any]) -> str:
        """A digest of all that the answer depends on (`pins`: every revision; `asked`: messages, seed, limits)."""
        parts: list[Any] = [tenant, pins, asked]
        if LOOSE_CACHE_KEY in self._mutants:
            parts = [asked]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    async def _fresh(self, key: str) -> Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock() - kept.at > self.ttl_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept

    async def _keep(self, key: str, made: Kept) -> None:
        self._kept[key] = made
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
            self.evictions += 1

    async def through(self, key: str, ask: Callable[[], Awaitable[Kept | None]]) -> Kept | None:
        """A kept answer; or None after `ask` was awaited, whose result is kept unless it is None (not fit to keep)."""
        while True:
            kept = await self._fresh(key)
            if kept is not None:
                self.hits += 1
                return kept
            first = self._under_way.get(key)
            if first is None or NO_SINGLE_FLIGHT in self._mutants:
                break
            try:
                async with asyncio.timeout(_WAIT_S):
                    await first.wait()
            except TimeoutError:
                break
        self.misses += 1
        done = self._under_way[key] = asyncio.Event()
        try:
            made = await ask()
        finally:
            done.set()
            if self._under_way.get(key) is done:
                del self._under_way[key]
        if made is not None:
            await self._keep(key, made)
        return None

    async def wipe(self) -> int:
        """Forget everything; how many answers that were."""
        count = len(self._kept)
        self._kept.clear()
        return count

    def about(self) -> dict[str, int]:
        """The counts, for probes."""
        return {"hits": self.hits, "misses": self.misses, "evictions": self.evictions, "held": len(self._kept)}

    async def close(self) -> None:
        """Let go of what it holds."""
        self._kept.clear()
