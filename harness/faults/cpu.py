"""cpu: something else on the machine uses the processors that an instance runs on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

from pydantic import Field, field_validator

from harness.errors import InjectError
from harness.faults.instance import HOSTS
from harness.faults.strained import Strain, StrainState, Who
from harness.model.catalog import FaultKind
from harness.model.fields import JsonObject, Params, Ratio
from harness.model.ports import World

__all__ = ["KIND", "Cpu", "CpuParams"]

_LOOK_S = 0.5
_ENOUGH = 0.25
"""Of the time asked for: what a burner gets on processors that it shares with three others as busy."""


class CpuParams(Params):
    """`load` is the share of each processor's time, `workers` how many processors (all that the instance may use)."""

    load: Ratio = 1.0
    workers: int | None = Field(default=None, ge=1)

    @field_validator("load")
    @classmethod
    def _a_share(cls, value: float) -> float:
        if not 0 < value <= 1:
            raise ValueError(f"expected more than 0% and at most 100%, got '{value * 100:g}%'")
        return value


class Cpu(Strain):
    """Burns processor time beside the instance, on its processors."""

    kind = "cpu"
    controllers = ("cpu", "cpuset")

    def __init__(self, params: CpuParams) -> None:
        self.params = params

    async def told(self, who: Who, world: World) -> JsonObject:
        try:
            allowed = sorted(os.sched_getaffinity(who.pid or 0) & os.sched_getaffinity(0))
        except ProcessLookupError as exc:
            raise InjectError(f"instance {who.instance}: pid {who.pid} ended just now") from exc
        wanted = self.params.workers or len(allowed)
        if wanted > len(allowed):
            raise InjectError(f"cpu: {wanted} workers, but instance {who.instance} may use {len(allowed)} processors")
        return {"cpus": allowed[:wanted], "load": self.params.load}

    async def usage(self, state: StrainState, pids: tuple[int, ...]) -> tuple[bool, str]:
        begun, before = time.monotonic(), _ticks(pids)
        await asyncio.sleep(_LOOK_S)
        spent = (_ticks(pids) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
        asked = self.params.load * len(state.told["cpus"])
        return spent >= _ENOUGH * asked, f"helpers use {spent:.2f} of the {asked:.2f} processors asked for"


def _ticks(pids: tuple[int, ...]) -> int:
    """Clock ticks that the processes have run for, in user and kernel mode."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total


KIND = FaultKind(
    name="cpu",
    doc="processors that are busy with something else, beside the instance and on the processors that it may use (beside a"
    " container in its control groups too, so that its limits and its share count)",
    params=CpuParams,
    code="harness.faults.cpu:Cpu",
    example="{fault: cpu, load: 90%, on: {instance: gateway-eu}, for: 20s}",
    targets=frozenset({"instance"}),
    hosts=HOSTS,
    what="burn {load} of the processors of {target}, in a helper beside it: what shares them feels it too",
    clients_see="slower answers from everything on those processors; nothing is refused",
    on_revert="the helper is killed (it also ends by itself at its deadline); open connections go on",
    witness="the helper's processor time, measured",
)
