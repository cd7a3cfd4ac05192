"""Asks one probe again and again, on an absolute schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from harness.history.events import ProbeEvent
from harness.model.ports import Clock, Probe, ProbeSample
from harness.model.stack import ProbeSpec

__all__ = ["watch"]

_GUARD_S = 2.0


async def watch(spec: ProbeSpec, probe: Probe, clock: Clock, sink: Callable[[ProbeEvent], None]) -> None:
    """Sample until cancelled, an event per sample. Slots lie `every_ns` apart from the first; a sample that takes longer
    skips the slots it ran over, and the next keeps to the schedule.
    """
    due_ns = clock.now_ns()
    while True:
        asked_ns = clock.now_ns()
        sample = await _sample(spec, probe)
        done_ns = clock.now_ns()
        sink(
            ProbeEvent(
                at_ns=asked_ns,
                name=spec.name,
                ok=sample.ok,
                took_ns=done_ns - asked_ns,
                value=sample.value,
                text=sample.text,
                error=sample.error,
            )
        )
        due_ns += spec.every_ns * max(1, -((due_ns - done_ns) // spec.every_ns))
        await clock.sleep_until(due_ns)


async def _sample(spec: ProbeSpec, probe: Probe) -> ProbeSample:
    limit_s = spec.timeout_ns / 1e9
    try:
        async with asyncio.timeout(limit_s + _GUARD_S):  # a probe bounds itself; this is for one that does not
            return await probe.sample(spec.timeout_ns)
    except TimeoutError:
        return ProbeSample(ok=False, error=f"the probe hung for {limit_s + _GUARD_S:g} s")
