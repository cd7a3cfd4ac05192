"""Which ops count, and which of them were good. DESIGN 9: outcome ok, content right, within every SLO limit that applies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.history.table import MISSING, OpTable
from harness.model.experiment import SLO

__all__ = ["Service", "good_ops", "service", "valid_ops"]

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def valid_ops(ops: OpTable) -> Bools:
    """Which rows are the users' own and were not cut by us: phase load, not cut, not dropped."""
    return ops.is_("phase", "load") & ~ops.flags("cut") & ~ops.is_("outcome", "dropped")


def good_ops(ops: OpTable, slos: Sequence[SLO]) -> Bools:
    """Which rows ended ok, with the right content, within the limit of every latency SLO that applies to them.

    A limit named `ttft` is on the first byte, any other on the end, both from intended start. No first byte: not good.
    """
    good: Bools = ops.is_("outcome", "ok") & ~ops.flags("wrong") & ~ops.flags("broken")
    intended = ops.ints("intended_ns")
    for slo in slos:
        if slo.under_ns is None:
            continue
        ended = ops.ints("first_ns" if slo.name == "ttft" else "done_ns")
        within = (ended != MISSING) & (ended - intended <= slo.under_ns)
        good = good & (within | ~ops.slice_(slo.on))
    return good


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The users' ops as service measures see them: columns of one length, in order of intended start.

    An op is bad *from* `intended_ns` and good *at* `done_ns`; a valid op always has both.
    """

    op: Ints
    intended_ns: Ints
    done_ns: Ints
    good: Bools

    def __len__(self) -> int:
        return len(self.intended_ns)


def service(ops: OpTable, slos: Sequence[SLO], mask: Bools | None = None) -> Service:
    """The valid ops of a history (or of those rows that `mask` picks). Empty for an empty history."""
    chosen = valid_ops(ops) if mask is None else mask
    return Service(
        op=ops.ints("op")[chosen],
        intended_ns=ops.ints("intended_ns")[chosen],
        done_ns=ops.ints("done_ns")[chosen],
        good=good_ops(ops, slos)[chosen],
    )
