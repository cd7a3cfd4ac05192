"""An edge's word to the collector of how each request went: kept in a bounded buffer and sent in the background.

Serving never waits for it. What does not fit is dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import aiohttp

from harness.reference.metrics import Metrics
from harness.reference.mutants import SYNCHRONOUS_TELEMETRY
from harness.reference.program import log

__all__ = ["Telemetry"]

_EVERY_S = 0.25
_WITHIN_S = 0.5
_KEPT = 2000


class Telemetry:
    """What one edge has to tell; without a collector's URL nothing is kept."""

    def __init__(
        self, url: str | None, edge: str, session: aiohttp.ClientSession, metrics: Metrics, mutants: frozenset[str]
    ) -> None:
        self._url = None if url is None else url.rstrip("/") + "/v1/telemetry"
        self._edge = edge
        self._session = session
        self._metrics = metrics
        self._waits = SYNCHRONOUS_TELEMETRY in mutants
        self._buffer: deque[dict[str, Any]] = deque()

    async def begin(self) -> None:
        """Before a request is served: nothing to wait for, but in a mutant."""
        if self._waits and self._url is not None:
            await self._send(10.0)

    def note(self, cell: str, good: bool, seconds: float) -> None:
        """Take in how a request went; returns at once."""
        if self._url is None:
            return
        if len(self._buffer) >= _KEPT:
            self._buffer.popleft()
            self._metrics.count("edge_telemetry_dropped_total")
        self._buffer.append({"cell": cell, "good": good, "ms": round(seconds * 1000, 1)})

    async def run(self) -> None:
        """Send what there is, for ever; a word goes out also when nothing happened, so that silence means something."""
        while self._url is not None:
            await asyncio.sleep(_EVERY_S)
            await self._send(_WITHIN_S)

    async def _send(self, within_s: float) -> None:
        assert self._url is not None
        batch = list(self._buffer)
        timeout = aiohttp.ClientTimeout(total=within_s)
        try:
            async with self._session.post(
                self._url, json={"edge": self._edge, "requests": batch}, timeout=timeout
            ) as reply:
                if reply.status == 200:
                    for _ in range(min(len(batch), len(self._buffer))):
                        self._buffer.popleft()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            self._metrics.count("edge_telemetry_failures_total")
            log("telemetry-unsent", kept=len(self._buffer), why=repr(exc))
