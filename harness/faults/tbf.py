"""What `bandwidth` does to a container: a token bucket on every interface of its network namespace. Not a kind itself.

Only what it sends is shaped. The kernel's own scheduler comes back when ours is removed, and goes with the namespace when the
container ends.
"""

from __future__ import annotations

import json

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.inside import namespace_of, require_programs, run, where
from harness.faults.instance import InstanceFaultState, named, still_there, who_runs
from harness.model.fields import JsonObject
from harness.model.plan import Target
from harness.model.ports import Evidence, World

__all__ = ["BucketState", "TokenBucket"]

HANDLE = "b1ac:"
"""By this our buckets are known; the kernel's own schedulers have the handle 0:."""
_LEAST_BURST_BYTES = 4_000
_QUEUED = "400ms"


class BucketState(InstanceFaultState):
    """Also the interfaces that are narrowed."""

    interfaces: tuple[str, ...]


class TokenBucket:
    """Shapes what a container sends. `apply` cut half-way leaves some interfaces narrow; `revert` removes our buckets only."""

    state_type = BucketState

    def __init__(self, rate_bytes_per_s: int) -> None:
        self._rate = rate_bytes_per_s

    async def prepare(self, target: Target, world: World) -> BucketState:
        """Raises UnsafeError without tc, and where somebody shapes already: that is theirs."""
        require_programs("tc", "nsenter")
        state = await who_runs(target, world)
        rows = await _schedulers(state, world)
        shaped = [row for row in rows if row["handle"] != "0:"]
        if shaped:
            what = "; ".join(f"{row['kind']} {row['handle']} on {row['dev']}" for row in shaped)
            ours = any(row["handle"] == HANDLE for row in shaped)
            whose = "a bandwidth fault stands there already" if ours else "not ours to replace"
            raise UnsafeError(f"instance {state.instance}: its interfaces are shaped already: {what}; {whose}")
        interfaces = tuple(sorted({str(row["dev"]) for row in rows}))
        if not interfaces:
            raise InjectError(f"instance {state.instance}: it has no network interface")
        return BucketState(**state.model_dump(exclude={"interfaces"}), interfaces=interfaces)

    async def apply(self, state: BucketState, world: World) -> None:
        await still_there(state, world)
        # A bucket below what the clock lets through between two ticks would be slower than the rate.
        burst = max(_LEAST_BURST_BYTES, self._rate // 50)
        for interface in state.interfaces:
            shape = ["rate", f"{self._rate * 8}bit", "burst", str(burst), "latency", _QUEUED]
            await _tc(state, world, "qdisc", "add", "dev", interface, "root", "handle", HANDLE, "tbf", *shape)

    async def witness(self, state: BucketState, world: World) -> Evidence:
        rows = {row["dev"]: row for row in await _schedulers(state, world) if row["handle"] == HANDLE}
        without = [one for one in state.interfaces if one not in rows]
        if without:
            what = f"{named(state.identity)}: {', '.join(without)} is not narrow"
        else:
            seen = (
                f"{one} let {rows[one]['bytes']} bytes through, {rows[one]['overlimits']} times at its limit"
                for one in rows
            )
            what = f"{named(state.identity)}: {'; '.join(seen)}"
        return Evidence(present=not without, at_ns=world.clock.now_ns(), what=what)

    async def revert(self, state: BucketState, world: World) -> None:
        """By process: a container that was started again meanwhile has a new namespace, in which nothing is ours."""
        try:
            for row in await _schedulers(state, world):
                if row["handle"] == HANDLE and row["dev"] in state.interfaces:
                    await _tc(state, world, "qdisc", "del", "dev", row["dev"], "root", "handle", HANDLE)
        except InjectError as exc:
            commands = [f"{where(state.identity)} tc qdisc del dev {one} root" for one in state.interfaces]
            raise RevertError(f"instance {state.instance}: {exc}", commands=commands) from exc

    async def verify(self, state: BucketState, world: World) -> Evidence:
        left = [str(row["dev"]) for row in await _schedulers(state, world) if row["handle"] == HANDLE]
        what = (
            f"{named(state.identity)}: {', '.join(left)} is still narrow"
            if left
            else f"{named(state.identity)} sends freely"
        )
        return Evidence(present=bool(left), at_ns=world.clock.now_ns(), what=what)


async def _schedulers(state: InstanceFaultState, world: World) -> list[JsonObject]:
    """The root scheduler of every interface but loopback; none when the namespace is gone."""
    told = await _tc(state, world, "-s", "-j", "qdisc", "show")
    rows: list[JsonObject] = json.loads(told) if told.strip() else []
    return [row for row in rows if row.get("root") and row["dev"] != "lo"]


async def _tc(state: InstanceFaultState, world: World, *args: str) -> str:
    """The output of tc in the container's namespace, "" when that is gone. Raises InjectError with its complaint."""
    with namespace_of(world, state.instance, state.identity) as netns:
        if netns is None:
            return ""
        code, out, err = await run(["tc", *args], "", netns)
    if code != 0:
        raise InjectError(f"tc refused: {err}")
    return out
