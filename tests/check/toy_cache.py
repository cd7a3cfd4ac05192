"""A toy model server with a response cache in each of two regions, on a simulated clock: right unless its bug is switched on.

Clients ask a handful of questions over and over. The prompt's version changes twice; the first region dies in the middle, and its
cache with it. An answer depends on question and version; a cache keeps it for 150 ms. Nothing here knows a check.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from harness.check.context import CheckContext, FaultSpan
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable
from tests.check.toy_store import BACK, FAULT, MS, STOP, US, Toy

__all__ = ["CACHE_BUGS", "TTL_NS", "simulate_cache"]

TTL = 150 * MS
TTL_NS = TTL * US
CHANGES = (700 * MS, 1700 * MS)
"""When the prompt has its second and its third version."""

CACHE_BUGS = ("cache-forgets-version", "cache-forgets-tenant", "cache-never-expires", "cache-keeps-errors")
QUESTIONS, TENANTS = 4, 2


@dataclass
class Region:
    """A cache: what is asked for -> (answer, when it was produced, whether it was whole)."""

    held: dict[tuple[object, ...], tuple[str, int, bool]] = field(default_factory=dict)


def simulate_cache(seed: int, bug: str | None = None) -> Toy:
    """One run: the same seed and bug give the same history. `bites` counts answers that a right cache would not have given."""
    rng = random.Random(f"cache:{seed}:{bug}")
    one, two = Region(), Region()
    ops: list[Op] = []
    bites, now = 0, 0
    while now < STOP:
        now += rng.randrange(2 * MS, 12 * MS)
        region = two if now >= FAULT else one
        question, tenant = rng.randrange(QUESTIONS), rng.randrange(TENANTS)
        version = sum(now >= change for change in CHANGES)
        key: tuple[object, ...] = (question, tenant, version)
        right = f"answer to {question} of tenant {tenant} by r{version}"
        if bug == "cache-forgets-version":
            key = (question, tenant)
        elif bug == "cache-forgets-tenant":
            key = (question, version)
        begin, end = now, now + rng.randrange(1 * MS, 4 * MS)
        facts = {"input": f"{question} of {tenant}", "version": f"r{version}", "outcome": "ok"}
        kept = region.held.get(key)
        if kept is not None and (begin <= kept[1] + TTL or bug == "cache-never-expires"):
            bites += kept[0] != right or begin > kept[1] + TTL or not kept[2]
            facts |= {"answer": kept[0], "cached": True}
        else:
            broken = rng.random() < 0.04
            lost = end >= FAULT and begin <= FAULT  # in flight when the first region died
            answer = f"half an {right}" if broken else right
            if not broken or bug == "cache-keeps-errors":
                region.held[key] = (answer, end, not broken)
            facts |= {"answer": answer, "outcome": "fail" if broken else "info" if lost else "ok", "broken": broken}
        times = {"intended_ns": begin * US, "sent_ns": begin * US, "done_ns": end * US}
        ops.append(Op(op=len(ops), f="append", value=f"v{len(ops)}", key="k", session="s", **times, **facts))  # type: ignore[arg-type]
    span = FaultSpan(
        id="fault", effect_lo_ns=FAULT * US, effect_hi_ns=FAULT * US, end_lo_ns=BACK * US, end_hi_ns=BACK * US
    )
    context = CheckContext(model="log", profile="toy", faults=(span,), faults_planned=1)
    return Toy(history=History(ops=OpTable.of(ops), events=()), context=context, bites=bites)
