"""`noop`: does nothing. It exists because Toxiproxy has it."""

from __future__ import annotations

from harness.proxy.server.toxics.base import Stage

__all__ = ["Noop"]


class Noop(Stage):
    """Passes everything."""

    __slots__ = ()
