"""What a gateway runs with, apart from what must differ between regions (names, places): two that differ in it have drifted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from harness.reference.channel import Wire

__all__ = ["Setup", "differing"]

_SETTINGS = {"admit": (1, 100_000), "answer_tokens_max": (1, 4096)}
"""What can be changed while it runs, and from what to what."""


@dataclass(slots=True, kw_only=True)
class Setup:
    """The setup of one gateway. `answer_tokens_max`: of any answer; None: no bound but the registry's."""

    admit: int
    cache_ms: float
    providers: tuple[str, ...]
    model: str
    key_root: str
    answer_tokens_max: int | None = None

    def told(self) -> Wire:
        """As it is compared between regions; of a secret only that it is the same."""
        return {
            "admit": self.admit,
            "answer_tokens_max": self.answer_tokens_max,
            "cache_ms": self.cache_ms,
            "providers": ",".join(self.providers),
            "model": self.model,
            "keys": hashlib.sha256(self.key_root.encode()).hexdigest()[:12] if self.key_root else "",
        }

    def edit(self, changes: Any) -> None:
        """Change settings of this process alone, as a hand at the wrong machine does. Raises ValueError, having changed nothing."""
        if not isinstance(changes, dict):
            raise ValueError(f"expected an object, got {changes!r}")
        for name, value in changes.items():
            if name not in _SETTINGS:
                raise ValueError(f"{name}: there is no such setting; there are {', '.join(_SETTINGS)}")
            low, high = _SETTINGS[name]
            absent = value is None and name == "answer_tokens_max"
            if not absent and not (type(value) is int and low <= value <= high):
                raise ValueError(f"{name}: expected a number from {low} to {high}, got {value!r}")
        for name, value in changes.items():
            setattr(self, name, value)


def differing(one: Wire | None, other: Wire | None) -> tuple[str, ...]:
    """The names of what two gateways do not share, sorted; none while either has not told."""
    if one is None or other is None:
        return ()
    return tuple(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))
