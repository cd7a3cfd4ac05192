"""Rendering: a result becomes a document."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["Renderer"]


@runtime_checkable
class Renderer(Protocol):
    """Turns a result into one file's text. Pure."""

    def __call__(self, result: Any) -> str: ...
