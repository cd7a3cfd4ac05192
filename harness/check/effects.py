"""What really ran, counted at the stack's own independent sink: how often each idempotency key took effect."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.check.ground import Ground, counted
from harness.check.index import Ints
from harness.measure.finals import effects

__all__ = ["Sink"]


@dataclass(frozen=True, kw_only=True)
class Sink:
    """The sink's account of the judged entries. Only meaningful where the context says that the stack has a sink."""

    ground: Ground

    @cached_property
    def runs(self) -> Ints:
        """Effects per entry, by its idempotency key, else its value; effects of keys that nobody sent are not ours."""
        import pyarrow as pa

        ground = self.ground
        executed = Counter(effects(ground.history))
        idems = ground.index.table.column("idem").take(pa.array(ground.entries.row)).to_pylist()
        return np.array(
            [executed[text if idem is None else idem] for idem, text in zip(idems, ground.entries.texts, strict=True)],
            dtype=np.int64,
        )

    @property
    def unseen(self) -> int:
        """Acknowledged judged entries of which the sink saw no effect."""
        return int(np.count_nonzero(self.ground.acked & (self.runs == 0)))

    def blind(self) -> list[str]:
        """Why the sink cannot be relied on. Empty when it saw at least one effect of every acknowledged entry."""
        if not self.unseen:
            return []
        acked = int(np.count_nonzero(self.ground.acked))
        what = f"{counted(acked, 'acknowledged ' + self.ground.nouns(1), 'acknowledged ' + self.ground.nouns(2))}"
        return [f"the sink saw no effect of {self.unseen:,} of {what}: it is blind"]
