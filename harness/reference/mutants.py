"""Deliberate defects, one switch each. A drill that cannot tell a mutant from the healthy stack proves nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["ACK_BEFORE_REPLICATE", "MUTANTS", "NO_IDEMPOTENCY", "SHALLOW_HEALTH", "parse_mutants"]

ACK_BEFORE_REPLICATE = "ack-before-replicate"
NO_IDEMPOTENCY = "no-idempotency"
SHALLOW_HEALTH = "shallow-health"

MUTANTS: dict[str, str] = {
    ACK_BEFORE_REPLICATE: "acknowledges a turn before the standby has it, and ships 400 ms late (check: durable)",
    NO_IDEMPOTENCY: "ignores idempotency keys, so a turn resent through a failover is appended twice "
    "(check: exactly-once)",
    SHALLOW_HEALTH: "calls a region healthy while its port accepts a connection (objective: recovery_time)",
}


def parse_mutants(flags: Sequence[str]) -> frozenset[str]:
    """The mutants named by the flags (each may hold several, comma separated) and by GENAI_MUTANT; empty names are none.

    Raises ValueError on an unknown name.
    """
    names = {name.strip() for flag in (*flags, os.environ.get("GENAI_MUTANT", "")) for name in flag.split(",")} - {""}
    for name in sorted(names):
        if name not in MUTANTS:
            raise ValueError(f"--mutant: unknown name {name!r}; known are {', '.join(sorted(MUTANTS))}")
    return frozenset(names)
