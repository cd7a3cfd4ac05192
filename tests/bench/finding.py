"""One comparison: what was measured, what beside it, and the ratio that is judged."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`limit` None: shown, not judged."""

    what: str
    ours: str
    beside: str
    ratio: float
    limit: float | None

    @property
    def met(self) -> bool:
        return self.limit is None or self.ratio <= self.limit
