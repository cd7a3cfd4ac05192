"""Writes `events.jsonl`: every event at once, in order, fsynced at the seal. Listeners (progress) see each as it comes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.errors import StoreError
from harness.history.events import Event, encode, mask

__all__ = ["Recorder"]


class Recorder:
    """Append-only, `secrets` taken out of every free text.

    Raises StoreError when an event cannot be written: a run that cannot record proves nothing.
    """

    def __init__(self, path: Path, secrets: frozenset[str] = frozenset()) -> None:
        self.path = path
        # Appending wherever the end is: the reaper adds its own line when this process was stopped for too long.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8")
        self._secrets = secrets
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        event = mask(event, self._secrets)
        try:
            self._file.write(encode(event))
            self._file.flush()
        except (OSError, ValueError) as exc:
            raise StoreError(f"{self.path}: cannot record: {exc}") from exc
        for listener in self._listeners:
            listener(event)

    def seal(self) -> None:
        """Everything on disk; no event after this."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
