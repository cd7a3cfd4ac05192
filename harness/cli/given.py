"""What people give in options, read; a slip names the option."""

from __future__ import annotations

from harness.errors import SpecError
from harness.units import parse_duration

__all__ = ["duration_of"]


def duration_of(option: str, text: str) -> int:
    """A duration such as `30s`, in ns. Raises SpecError, naming the option."""
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise SpecError(f"{option}: {exc}") from exc
