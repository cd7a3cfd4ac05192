"""memory: something else on the machine holds memory, down to a floor that the machine keeps."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import Field

from harness.errors import UnsafeError
from harness.faults.instance import HOSTS
from harness.faults.strain import MIB, memory_room
from harness.faults.strained import Strain, StrainState, Who
from harness.model.catalog import FaultKind
from harness.model.fields import JsonObject, Params, Size
from harness.model.ports import World

__all__ = ["KIND", "Memory", "MemoryParams"]

_ENOUGH = 0.95


class MemoryParams(Params):
    """`size` is held and written to, so that it is really used."""

    size: Size = Field(ge=MIB)


class Memory(Strain):
    """Holds memory on the machine of the instance. The kernel is told to kill the helper first should memory run out."""

    kind = "memory"
    controllers = ("memory",)

    def __init__(self, params: MemoryParams) -> None:
        self.params = params

    async def told(self, who: Who, world: World) -> JsonObject:
        room = memory_room(who.groups)
        if self.params.size > room:
            raise UnsafeError(
                f"memory: {self.params.size // MIB} MiB asked for, but only {max(0, room) // MIB} MiB can be taken so that"
                " the machine keeps a tenth of its memory, and 512 MiB at least, and a container a tenth of its limit",
                remedy="ask for less",
            )
        return {"size": self.params.size}

    async def usage(self, state: StrainState, pids: tuple[int, ...]) -> tuple[bool, str]:
        held = sum(_resident(pid) for pid in pids)
        return held >= _ENOUGH * self.params.size, f"the helper holds {held // MIB} of {self.params.size // MIB} MiB"


def _resident(pid: int) -> int:
    """Bytes of real memory that a process has; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


KIND = FaultKind(
    name="memory",
    doc="memory that something else holds, on the machine of the instance; never below a tenth of it, nor 512 MiB, free"
    " (beside a container it counts against its limit, of which a tenth stays free)",
    params=MemoryParams,
    code="harness.faults.memory:Memory",
    example="{fault: memory, size: 2GiB, on: {instance: engine-eu}, for: 20s}",
    targets=frozenset({"instance"}),
    hosts=HOSTS,
    what="hold {size} of memory in a helper beside {target}: what shares it, or a container's limit, feels it too",
    clients_see="nothing while there is enough for all; caches shrink, and what needs more is slow or fails",
    on_revert="the helper is killed (it also ends by itself at its deadline) and its memory is free at once",
    witness="the helper's resident memory, measured",
)
