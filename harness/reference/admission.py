"""Who is let in: a limit on turns under way, of which the less urgent classes may use only a part. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.reference.mutants import NO_ADMISSION, SHEDS_BLINDLY

__all__ = ["SHARES", "Admission"]

SHARES = {"interactive": 1.0, "standard": 0.8, "batch": 0.5}
"""The share of the limit that a class may fill, all classes counted: what is refused first when it becomes tight."""


@dataclass(slots=True, kw_only=True)
class Admission:
    """The door of one gateway. `limit` is what the region can carry at once while every answer stays in time."""

    limit: int
    mutants: frozenset[str] = frozenset()
    refused: Counter[str] = field(default_factory=Counter)

    def admits(self, running: int, priority: str) -> bool:
        """Whether one more turn of this class may begin while `running` are under way; an unknown class is `standard`.

        Refusals are counted.
        """
        if NO_ADMISSION in self.mutants:
            return True
        share = SHARES.get(priority, SHARES["standard"]) if SHEDS_BLINDLY not in self.mutants else 1.0
        if running < self.limit * share:
            return True
        self.refused[priority if priority in SHARES else "standard"] += 1
        return False
