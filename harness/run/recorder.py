"""Writes `events.jsonl`: every event at once, in order, fsynced at the seal. Listeners (progress) see each as it comes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.errors import StoreError
from harness.history.chain import FIRST, digest_of, last_digest, linked
from harness.history.events import Event, encode, mask

__all__ = ["Recorder"]


class Recorder:
    """Append-only, `secrets` taken out of every free text, each line carrying the digest of the one before it.

    Raises StoreError when an event cannot be written: a run that cannot record proves nothing.
    """

    def __init__(self, path: Path, secrets: frozenset[str] = frozenset()) -> None:
        self.path = path
        # Appending wherever the end is: the reaper adds its own line when this process was stopped for too long.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o644), "ab", buffering=0)
        self._written, self._prev = 0, FIRST
        self._secrets = secrets
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        event = mask(event, self._secrets)
        try:
            line = linked(encode(event), self._before()).encode()
            self._file.write(line)
        except (OSError, ValueError) as exc:
            raise StoreError(f"{self.path}: cannot record: {exc}") from exc
        self._written, self._prev = self._written + len(line), digest_of(line)
        for listener in self._listeners:
            listener(event)

    def _before(self) -> str:
        """The digest to carry: of our own last line, or of the one that the reaper wrote while this process was stopped."""
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size
        if size != self._written:
            self._written, self._prev = size, last_digest(os.pread(descriptor, size, 0))
        return self._prev

    def seal(self) -> None:
        """Everything on disk; no event after this."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()
