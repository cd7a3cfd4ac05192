"""Carries out the timeline: every entry at its planned instant after T0. At one instant: reverts, then steps, then faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from harness.errors import InjectError
from harness.history.events import NoteEvent, StepEvent
from harness.model.plan import PlannedFault, PlannedStep, Target
from harness.model.ports import Clock
from harness.model.wiring import Wiring
from harness.run.faultlife import FaultLife, Unreverted
from harness.run.recorder import Recorder

__all__ = ["Scene", "Timeline", "placed", "run_step"]

_REVERT, _STEP, _FAULT = range(3)
_OUTPUT_LIMIT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    at_ns: int
    rank: int
    act: Callable[[], Awaitable[None]]


class Scene(Protocol):
    """What the timeline asks of whoever knows the running stack."""

    def exposed(self, fault: PlannedFault) -> None:
        """Record that load reaches a fault's targets, just before it is applied."""
        ...

    async def resolve(self, target: Target) -> Target:
        """The instance that holds a role now. Raises InjectError."""
        ...


class Timeline:
    """The planned faults and steps of one run, from T0 on. What could not be reverted gathers in `unreverted`."""

    def __init__(
        self,
        lives: Iterable[FaultLife],
        steps: Iterable[PlannedStep],
        clock: Clock,
        recorder: Recorder,
        scene: Scene,
    ) -> None:
        self.lives = tuple(lives)
        self._steps = tuple(steps)
        self._clock = clock
        self._recorder = recorder
        self._scene = scene
        self.unreverted: list[Unreverted] = []

    async def run(self, t0_ns: int, observe_ns: int = 0) -> None:
        """Return when the last entry is applied or, with `for`, reverted. `observe_ns`: how long the rest stands after that.

        Raises InjectError (in a group) when a fault or step fails: the rest of the timeline is then off.
        """
        actions = [
            _Action(at_ns=step.at_ns, rank=_STEP, act=lambda step=step: self._step(step))  # type: ignore[misc]
            for step in self._steps
        ]
        heal_ns = t0_ns + self._last_ns() + observe_ns
        for life in self.lives:
            fault = life.fault
            until_ns = heal_ns if fault.for_ns is None else t0_ns + fault.at_ns + fault.for_ns
            actions.append(
                _Action(at_ns=fault.at_ns, rank=_FAULT, act=lambda li=life, un=until_ns: self._inject(li, un))  # type: ignore[misc]
            )
            if fault.for_ns is not None:
                end_ns = fault.at_ns + fault.for_ns
                actions.append(_Action(at_ns=end_ns, rank=_REVERT, act=lambda li=life: self._revert(li)))  # type: ignore[misc]
        actions.sort(key=lambda action: (action.at_ns, action.rank))
        async with asyncio.TaskGroup() as group:
            for (at_ns, rank), due in groupby(actions, key=lambda action: (action.at_ns, action.rank)):
                await self._clock.sleep_until(t0_ns + at_ns)
                begun = [group.create_task(_run(action.act)) for action in due]
                if rank == _REVERT and any(action.at_ns == at_ns and action.rank != _REVERT for action in actions):
                    await asyncio.wait(begun)  # what follows at this instant finds it put back

    def _last_ns(self) -> int:
        """The latest that the timeline ends, after T0, other people's code taking all the time it may."""
        ends = [life.fault.at_ns + (life.fault.for_ns or 0) + 4 * life.patience_ns for life in self.lives]
        return max([*ends, *(step.at_ns + step.within_ns for step in self._steps)], default=0)

    async def heal(self) -> None:
        """Revert everything that still stands: last in first out where faults share a target, all others at once.

        One failure never stops the rest; what could not be recorded is raised when all is done (StoreError, in a group).
        """
        failures: list[Exception] = []
        begun: list[tuple[FaultLife, asyncio.Task[None]]] = []

        async def one(life: FaultLife, later: list[asyncio.Task[None]]) -> None:
            if later:
                await asyncio.wait(later)
            try:
                await self._revert(life)
            except Exception as exc:  # raised below, once nothing is left to revert
                failures.append(exc)

        async with asyncio.TaskGroup() as group:
            for life in sorted(self.lives, key=lambda each: each.fault.at_ns, reverse=True):
                if life.stands:
                    later = [task for other, task in begun if other.touched & life.touched]
                    begun.append((life, group.create_task(one(life, later))))
        if failures:
            raise ExceptionGroup("not all of it could be put back and recorded", failures)

    async def _inject(self, life: FaultLife, until_ns: int) -> None:
        self._scene.exposed(life.fault)
        await life.inject(self._scene.resolve, until_ns)

    async def _revert(self, life: FaultLife) -> None:
        left = await life.revert()
        for unreverted in left:
            self._recorder.emit(
                NoteEvent(
                    at_ns=self._clock.now_ns(),
                    code="unreverted",
                    text=f"{unreverted.id}: {unreverted.what}",
                    level="dirty",
                    data={"commands": list(unreverted.commands)},
                )
            )
        self.unreverted += left

    async def _step(self, step: PlannedStep) -> None:
        await run_step(step, self._clock, self._recorder)


async def _run(act: Callable[[], Awaitable[None]]) -> None:
    await act()


def placed(step: PlannedStep, wiring: Wiring) -> PlannedStep:
    """The step with the addresses of this run in its command: plans, which have a hash, know none."""
    return replace(step, argv=tuple(map(wiring.text, step.argv)), cwd=wiring.text(step.cwd))


async def run_step(step: PlannedStep, clock: Clock, recorder: Recorder) -> None:
    """Run one scenario step to its end. Raises InjectError when it cannot start, is not done in time, or does not end with 0."""
    recorder.emit(StepEvent(at_ns=clock.now_ns(), id=step.id, stage="started"))
    try:
        process = await asyncio.create_subprocess_exec(
            *step.argv,
            cwd=step.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as exc:
        recorder.emit(StepEvent(at_ns=clock.now_ns(), id=step.id, stage="failed", output=str(exc)))
        raise InjectError(f"step {step.id!r}: cannot run {step.argv[0]!r}: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(step.within_ns / 1e9):
            raw, _ = await process.communicate()
    except TimeoutError as exc:
        recorder.emit(
            StepEvent(
                at_ns=clock.now_ns(), id=step.id, stage="failed", output=f"not done within {step.within_ns / 1e9:g} s"
            )
        )
        raise InjectError(f"step {step.id!r}: not done within {step.within_ns / 1e9:g} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    output = raw.decode(errors="replace")[-_OUTPUT_LIMIT:]
    stage = "ended" if process.returncode == 0 else "failed"
    recorder.emit(StepEvent(at_ns=clock.now_ns(), id=step.id, stage=stage, exit_code=process.returncode, output=output))  # type: ignore[arg-type]
    if process.returncode != 0:
        raise InjectError(f"step {step.id!r}: ended with {process.returncode}: {output.strip()[-200:]}")
