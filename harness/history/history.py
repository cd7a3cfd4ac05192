"""A run's history: ops and events on one clock. What measures and checks are functions of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.history.events import Event, PhaseEvent, PhaseName, RunEvent, of_type, read_events
from harness.history.exports import Export, read_exports
from harness.history.table import OpTable

__all__ = ["History"]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Ops and events of one run, and what the stack exported. All may be empty: every measure must then say unknown."""

    ops: OpTable
    events: tuple[Event, ...]
    exports: tuple[Export, ...] = ()

    @classmethod
    def read(cls, run_dir: Path) -> History:
        """The history in a run directory. Raises StoreError when `events.jsonl` is missing or anything is damaged."""
        return cls(
            ops=OpTable.read(run_dir / "ops"),
            events=read_events(run_dir / "events.jsonl"),
            exports=read_exports(run_dir),
        )

    @property
    def run(self) -> RunEvent | None:
        """The run's first record, or None."""
        return next((event for event in self.events if isinstance(event, RunEvent)), None)

    def phase(self, name: PhaseName) -> tuple[int, int | None] | None:
        """[begin, end) of a phase in ns, end None when it was the last; None when the run never reached it."""
        phases = of_type(self.events, PhaseEvent)
        for index, event in enumerate(phases):
            if event.phase == name:
                return event.at_ns, phases[index + 1].at_ns if index + 1 < len(phases) else None
        return None
