"""clock-skew: an instance's wall clock is ahead or behind, and comes back, while it runs. By libfaketime, which reads a file."""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import field_validator

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.command import run_command
from harness.faults.instance import InstanceFaultState, look, still_there, who_runs
from harness.faults.told import forget, is_told, tell
from harness.model.catalog import FaultKind
from harness.model.fields import JsonObject, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World
from harness.units import parse_duration

__all__ = ["KIND", "ClockSkew", "ClockSkewParams", "able", "environment"]

_OFFSET = re.compile(r"([+-])(\d.*)")
_LOOK_LIMIT_NS = 3_000_000_000
_READ_LIMIT_NS = 5_000_000_000
_NEAR_S = 0.25


class ClockSkewParams(Params):
    """`offset` from the real time: "+1h" is ahead, "-90s" behind; at least a second. Monotonic clocks are left alone."""

    offset: str

    @field_validator("offset")
    @classmethod
    def _signed(cls, value: str) -> str:
        found = _OFFSET.fullmatch(value.strip())
        if found is None:
            raise ValueError(f"expected a sign and a duration such as '+1h', got {value!r}")
        if parse_duration(found[2]) < 1_000_000_000:
            raise ValueError(f"expected at least a second, got {value!r}")
        return value.strip()

    @property
    def offset_s(self) -> float:
        """Seconds, negative for behind."""
        return (-1 if self.offset[0] == "-" else 1) * parse_duration(self.offset[1:]) / 1e9


class ClockSkewState(InstanceFaultState):
    """`file` is what the instance's libfaketime reads; it is not there while the clock is right."""

    file: str


def _library() -> str | None:
    """libfaketime's path, the one for programs with threads."""
    places = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime", "/usr/lib64/faketime")
    return next((path for place in places for path in sorted(glob.glob(f"{place}/libfaketimeMT.so.1"))), None)


def able(target: Target, params: JsonObject) -> None:
    """Return when this machine has libfaketime. Raises UnsafeError."""
    if _library() is None:
        raise UnsafeError("clock-skew needs libfaketime, which this machine lacks", remedy="apt-get install faketime")


def _file(folder: str) -> str:
    return f"{folder}.faketime"


def environment(folder: str) -> Mapping[str, str]:
    """What an instance with that directory of its own is started with. Empty where there is no libfaketime."""
    library = _library()
    if library is None:
        return {}
    told = {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    return told | {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": _file(folder)}


class ClockSkew:
    """Writes the offset where the instance reads it. `apply` is one rename: it is skewed or it is not."""

    state_type = ClockSkewState

    def __init__(self, params: ClockSkewParams) -> None:
        self.params = params

    async def prepare(self, target: Target, world: World) -> ClockSkewState:
        runs = await who_runs(target, world)
        if not _listens(runs.pid):
            raise InjectError(f"instance {target.name}: pid {runs.pid} was not started with libfaketime")
        file = _file(world.wiring.dirs[target.name])
        if is_told(file):
            raise InjectError(f"instance {target.name}: its clock is skewed already, by {file}")
        return ClockSkewState(**runs.model_dump(), file=file)

    async def apply(self, state: ClockSkewState, world: World) -> None:
        await still_there(state, world)
        try:
            tell(state.file, f"{self.params.offset_s:+.3f}\n")
        except OSError as exc:
            raise InjectError(f"cannot write {state.file!r}: {exc}") from exc

    async def witness(self, state: ClockSkewState, world: World) -> Evidence:
        async def once() -> tuple[bool, str]:
            found = await world.host(state.instance).find()
            if found is None or not _listens(found.pid):
                return False, f"nothing that reads libfaketime's file runs as {state.instance}"
            low, high = await _offset(state.file)
            near = low - _NEAR_S <= self.params.offset_s <= high + _NEAR_S
            return near, f"a clock that reads the file of {state.instance} is {(low + high) / 2:+.1f} s off"

        return await look(once, world, _LOOK_LIMIT_NS)

    async def revert(self, state: ClockSkewState, world: World) -> None:
        try:
            forget(state.file)
        except OSError as exc:
            raise RevertError(f"clock-skew: {exc}", commands=(f"rm -f {state.file}",)) from exc

    async def verify(self, state: ClockSkewState, world: World) -> Evidence:
        async def once() -> tuple[bool, str]:
            if is_told(state.file):
                return True, f"{state.file} is still there"
            low, high = await _offset(state.file)
            return not low - _NEAR_S <= 0 <= high + _NEAR_S, f"its clock is {(low + high) / 2:+.1f} s off"

        return await look(once, world, _LOOK_LIMIT_NS, wanted=False)


def _listens(pid: int | None) -> bool:
    """Whether libfaketime is loaded in that process."""
    try:
        return "libfaketime" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


async def _offset(file: str) -> tuple[float, float]:
    """How far a clock that reads the file is off, in seconds: between these, for the time that asking takes."""
    env = dict(environment("")) | {"FAKETIME_TIMESTAMP_FILE": file}
    before = time.time()
    ended = await run_command(["date", "+%s.%N"], within_ns=_READ_LIMIT_NS, cwd="/", env=env)
    after = time.time()
    try:
        told = float(ended.answer)
    except ValueError as exc:
        raise InjectError(f"cannot read a clock back: {ended.output[-200:]}") from exc
    return told - after, told - before


KIND = FaultKind(
    name="clock-skew",
    doc="a wrong wall clock: an instance that the run starts lives in another time for a while (libfaketime 0.9.10 fails"
    " sleeps until an instant of the monotonic clock, such as Python's `time.sleep`: a program that needs them meets no"
    " steady state, and the run refuses)",
    params=ClockSkewParams,
    code="harness.faults.clock_skew:ClockSkew",
    example='{fault: clock-skew, offset: "+1h", on: {instance: gateway-eu}, for: 20s}',
    targets=frozenset({"instance"}),
    hosts=frozenset({"process"}),
    holds=("clock",),
    able=able,
    environment=environment,
    what="set the wall clock of {target} {offset} off; it is started with libfaketime for that, from the run's beginning",
    clients_see="wrong timestamps, expired tokens and leases; timers on the monotonic clock go on as before",
    on_revert="the wall clock jumps back; connections stay",
    witness="the instance has libfaketime loaded, and a clock read through the same file is off by as much",
)
