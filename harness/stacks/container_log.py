"""The copy of what a container writes: asked of its engine again and again. Not here: which container is meant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from harness.stacks.engine import ContainerEngine
from harness.stacks.logs import appended

__all__ = ["LogCopy"]

_LINES = 5000


class LogCopy:
    """Copies into the file at `path` what is written from now on, over restarts of the container and of the engine."""

    def __init__(self, engine: ContainerEngine, path: str) -> None:
        self._engine, self._path = engine, path
        self._last = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"  # RFC 3339, as the engine writes it

    async def go_on(self, container: str) -> None:
        """Append the lines that are new. Raises EngineError when the engine does not answer; the next call catches up."""
        second = int(datetime.fromisoformat(f"{self._last[:19]}+00:00").timestamp())

        def read(client: Any) -> bytes:
            # Whole seconds are all that every engine understands: what was seen before is left out below.
            told: bytes = client.logs(container, timestamps=True, since=second, tail=_LINES)
            return told

        told = await self._engine.call("read its log", read)
        stamped = [line.partition(b" ") for line in told.splitlines()]
        fresh = [(stamp.decode("ascii", "replace"), text) for stamp, _, text in stamped]
        fresh = [(stamp, text) for stamp, text in fresh if stamp > self._last]
        if fresh:
            with appended(self._path) as log:
                log.writelines(text + b"\n" for _, text in fresh)
            self._last = max(stamp for stamp, _ in fresh)
