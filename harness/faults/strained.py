"""What the faults that use up a machine share: a bounded helper, found by its token, measured from outside. Not a kind itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.cgroups import groups_of
from harness.faults.command import run_command
from harness.faults.instance import look
from harness.model.fields import JsonObject
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, Identity, World

__all__ = ["Strain", "StrainState", "Who", "helpers"]

_START_LIMIT_NS = 25_000_000_000
_WITNESS_LIMIT_NS = 5_000_000_000
_GONE_LIMIT_S = 3.0
_UNTOLD_NS = 60_000_000_000


class StrainState(FaultState):
    """The helper's token, what it is told to take, and when it ends by itself (ns since the run's origin)."""

    instance: str
    token: str
    told: JsonObject
    deadline_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """What runs as the instance: its process, and where a helper has to stand beside that of a container (None: beside none)."""

    instance: str
    pid: int | None
    beside: JsonObject | None

    @property
    def groups(self) -> tuple[str, ...]:
        """Folders of the control groups that a helper stands in."""
        return tuple(self.beside["groups"]) if self.beside is not None else ()


def _beside(instance: str, found: Identity, controllers: tuple[str, ...]) -> JsonObject:
    if found.pid is None or found.start_ticks is None:
        raise InjectError(
            f"instance {instance}: its process is not on this machine, so that no helper can stand beside it"
        )
    if os.geteuid() != 0:
        raise UnsafeError(
            f"instance {instance}: to enter a container's control groups needs root", remedy="run as root"
        )
    return {"pid": found.pid, "ticks": found.start_ticks, "groups": list(groups_of(found.pid, controllers))}


def helpers(token: str) -> tuple[int, ...]:
    """The processes whose command line has the token. Those that ended and were not reaped have none."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
                if token.encode() in words:
                    found.append(int(entry))
    return tuple(found)


def _ended(handle: int) -> bool:
    """Whether a process has ended whole: its command line is gone before its files are closed and its memory is free."""
    return bool(select.select([handle], [], [], 0)[0])


class Strain:
    """Base of faults that a helper carries out. Cut half-way, `apply` leaves at most the helper, which ends at its deadline."""

    state_type = StrainState
    kind: str

    controllers: tuple[str, ...] = ()
    """Of a container's control groups, those that bound what the helper takes."""

    async def told(self, who: Who, world: World) -> JsonObject:
        """What the helper is to take. Raises UnsafeError when that is more than the machine, or container, can spare."""
        raise NotImplementedError

    async def usage(self, state: StrainState, pids: tuple[int, ...]) -> tuple[bool, str]:
        """Whether enough is used, measured from outside, and in words."""
        raise NotImplementedError

    async def prepare(self, target: Target, world: World) -> StrainState:
        if target.kind != "instance":
            raise InjectError(f"{target.name} is a {target.kind}, expected an instance")
        found = await world.host(target.name).find()
        if found is None:
            raise InjectError(f"instance {target.name}: nothing runs, so nothing can be broken")
        beside = _beside(target.name, found, self.controllers) if found.container is not None else None
        told = await self.told(Who(instance=target.name, pid=found.pid, beside=beside), world)
        return StrainState(
            instance=target.name,
            token=f"blackstart-{world.run_id}-{self.kind}-{secrets.token_hex(6)}",
            told=told if beside is None else told | {"beside": beside},
            deadline_ns=world.clock.now_ns() + _UNTOLD_NS,
        )

    def with_deadline(self, state: StrainState, deadline_ns: int) -> StrainState:
        """The state of a helper that ends then, whoever is still alive."""
        return state.model_copy(update={"deadline_ns": deadline_ns})

    async def apply(self, state: StrainState, world: World) -> None:
        until_ns = world.clock.origin_ns + state.deadline_ns
        command = [sys.executable, "-P", "-m", "harness.faults.strain", state.token, str(until_ns), self.kind]
        ended = await run_command(
            [*command, json.dumps(state.told)], within_ns=_START_LIMIT_NS, cwd="/", env={"PYTHONDONTWRITEBYTECODE": "1"}
        )
        answer = json.loads(ended.answer or b"{}")
        if "held" not in answer:
            raise InjectError(f"{self.kind}: {answer.get('error', ended.output[-300:])}")

    async def witness(self, state: StrainState, world: World) -> Evidence:
        gone = False

        async def once() -> tuple[bool, str]:
            nonlocal gone
            pids = helpers(state.token)
            gone = not pids
            return (True, "no helper runs") if gone else await self.usage(state, pids)

        evidence = await look(
            once, world, _WITNESS_LIMIT_NS
        )  # ends at once when the helper is gone: it will not return
        return Evidence(present=evidence.present and not gone, at_ns=evidence.at_ns, what=evidence.what)

    async def revert(self, state: StrainState, world: World) -> None:
        deadline = time.monotonic() + _GONE_LIMIT_S
        ending: dict[int, int] = {}
        try:
            while (pids := helpers(state.token)) or not all(map(_ended, ending.values())):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        if pid not in ending:
                            ending[pid] = os.pidfd_open(pid)
                        signal.pidfd_send_signal(ending[pid], signal.SIGKILL)
                if time.monotonic() > deadline:
                    still = [f"kill -9 {pid}" for pid in ending]
                    raise RevertError(f"{self.kind}: a helper does not end", commands=still)
                await asyncio.sleep(0.01)
        finally:
            for handle in ending.values():
                os.close(handle)

    async def verify(self, state: StrainState, world: World) -> Evidence:
        pids = helpers(state.token)
        what = f"helper {pids[0]} still runs" if pids else f"no {self.kind} helper runs"
        return Evidence(present=bool(pids), at_ns=world.clock.now_ns(), what=what)
