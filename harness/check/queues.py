"""Queues: what was received takes its message away, so that all receives together, and a drain, tell what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.check.ground import EVIDENCE_ROWS, Ground, counted
from harness.check.index import Bools, Ints
from harness.model.result import EvidenceRow

__all__ = ["Deliveries"]


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """The messages of a slice, by entry. A queue is an op's key; ops without one share one queue."""

    ground: Ground

    @cached_property
    def times(self) -> Ints:
        """How many ok receives, of any phase and region, returned each message; those of one idempotency key are one."""
        reads, count = self.ground.reads, len(self.ground.entries)
        group = self.ground.entries.group
        ours = reads.flat[reads.flat < count]
        each = np.bincount(group[ours], minlength=int(group.max(initial=-1)) + 1)
        return np.asarray(each[group], dtype=np.int64)

    @cached_property
    def _queues(self) -> tuple[Ints, Ints, int]:
        """(the queue of each entry, of each op, how many queues): the number of its key, from 0; 0 without one."""
        keys = self.ground.index.table.numbers("key") + 1
        return keys[self.ground.entries.row], keys, int(keys.max(initial=0)) + 1

    @cached_property
    def _per_queue(self) -> tuple[Bools, Ints]:
        """(was it drained, how many messages may uncertain receives have taken), by queue."""
        index, reads = self.ground.index, self.ground.reads
        _, queue, count = self._queues
        lengths = np.diff(reads.start)
        drained = np.zeros(count, dtype=np.bool_)
        drained[queue[reads.row[(reads.phase == 2) & (lengths == 0)]]] = True
        unsure = index.is_read & index.info & ~index.table.is_("outcome", "dropped")
        most = max(1, int(lengths.max(initial=0)))
        return drained, most * np.bincount(queue[unsure], minlength=count)

    @cached_property
    def missing(self) -> Bools:
        """Acknowledged messages of drained queues that no receive returned."""
        return np.asarray(self.ground.acked & (self.times == 0) & self._per_queue[0][self._queues[0]], dtype=np.bool_)

    @cached_property
    def lost(self) -> int:
        """How many of them are lost at least: no more than uncertain receives can have taken are left out of each queue."""
        absent = np.bincount(self._queues[0][self.missing], minlength=self._queues[2])
        return int(np.maximum(absent - self._per_queue[1], 0).sum())

    @property
    def twice(self) -> Bools:
        """Messages that more than one ok receive returned, or one more than once."""
        return np.asarray(self.ground.judged_entries & (self.times > 1), dtype=np.bool_)

    def unknown(self) -> list[str]:
        """Why what became of the messages is not known. Empty when every queue with an acknowledged message was drained."""
        queue, _, count = self._queues
        full = np.unique(queue[self.ground.acked & ~self._per_queue[0][queue]])
        why = []
        if len(full):
            of = len(np.unique(queue[self.ground.acked]))
            why.append(f"{len(full):,} of {counted(of, 'queue')} not drained: no final receive came back empty")
        absent = np.bincount(queue[self.missing], minlength=count)
        unsure = int(np.minimum(absent, self._per_queue[1]).sum())
        if unsure:
            taken = counted(unsure, "message")
            why.append(f"{taken} may have been taken by receives whose answers were lost")
        return why

    def volume(self) -> dict[str, int]:
        """Messages received, deliveries of them, and receives of which nobody knows what they took."""
        index = self.ground.index
        return {
            "received": int(np.count_nonzero(self.times > 0)),
            "deliveries": len(self.ground.reads.flat),
            "uncertain_receives": int(np.count_nonzero(index.is_read & index.info)),
        }

    def rows_twice(self) -> list[EvidenceRow]:
        """A message and the receives that returned it, for the first few."""
        ground, rows = self.ground, list[EvidenceRow]()
        owner = ground.reads.owner
        for entry in np.flatnonzero(self.twice)[: EVIDENCE_ROWS // 3].tolist():
            same = ground.entries.group == ground.entries.group[entry]
            at = np.flatnonzero(np.append(same, np.zeros(len(ground.reads.foreign), dtype=np.bool_))[ground.reads.flat])
            rows.append(ground.write_row(entry, f"was received {self.times[entry]:,} times"))
            rows += [ground.read_row(int(owner[place]), f"returned {ground.value(entry)}") for place in at[:2].tolist()]
        return rows
