"""The life of one planned fault: prepare, journal, apply, witness, and in the end witness again, revert, verify.

Each target lives on its own, in parallel. The intent is on disk before `apply`; whatever `apply` did or half did, `revert`
follows. On what another fault holds already it stands as one more layer (see `holds`). A fault on three targets of which
one cannot be applied is reverted on all three, and the run proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError, InjectError, RevertError, StoreError
from harness.history.events import FaultEvent, FaultStage
from harness.model.catalog import FaultKind
from harness.model.plan import PlannedFault, Target
from harness.model.ports import Deadlined, Injector, Layered
from harness.run.holds import Hold, Holds, Layer, hold_of
from harness.run.journal import Intent, Journal, JournalView, Reverted
from harness.run.recorder import Recorder
from harness.run.undo import finish, patience_ns
from harness.run.world import RunWorld

__all__ = ["FaultLife", "Unreverted"]

APPLY_LIMIT_S = 30.0
WITNESS_LIMIT_S = 10.0
REVERT_LIMIT_NS = 15_000_000_000
DEADLINE_SLACK_NS = 45_000_000_000
"""How long past its planned end a fault may stand before the reaper reverts it over the conductor's head.

Longer than `apply` may take: what the reaper put back must not be applied after it.
"""
RETURNED = "an instant fault: its return is part of it, and was seen"
ENDED = "the reaper has put it back already: this process was stopped, or is too late"


@dataclass(slots=True)
class _Standing:
    """One target of a fault that was (or may have been) applied."""

    intent: Intent
    target: Target
    injector: Injector
    state: Any
    hold: Hold | None = None
    witnessed: bool = False
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreverted:
    """A fault that could not be put back, why, and what a person would type."""

    id: str
    what: str
    commands: tuple[str, ...]


class FaultLife:
    """Injects and reverts one planned fault. `inject` and `revert` are each called once; `revert` may come first."""

    def __init__(
        self, fault: PlannedFault, world: RunWorld, kind: FaultKind, records: tuple[Journal, Recorder], holds: Holds
    ) -> None:
        self.fault = fault
        self.kind = kind
        self._world = world
        self._journal, self._recorder = records
        self._holds = holds
        self._standing: list[_Standing] = []
        self._settled = asyncio.Lock()
        self._unrecorded: list[StoreError] = []

    @property
    def stands(self) -> bool:
        """Whether something was applied that has not been reverted."""
        return any(not standing.done for standing in self._standing)

    @property
    def patience_ns(self) -> int:
        """How long one call of its injector may take beyond the usual limits."""
        return patience_ns(self._made())

    def _made(self) -> Injector:
        injector: Injector = self.kind.load()(self.kind.params.model_validate(self.fault.params))
        return injector

    @property
    def touched(self) -> frozenset[tuple[str, str]]:
        """Kind and name of every target that was applied to, role holders by their own names."""
        return frozenset((standing.target.kind, standing.target.name) for standing in self._standing)

    async def inject(self, resolve_role: Callable[[Target], Any], until_ns: int) -> None:
        """Apply to every target and witness. Raises InjectError when any target could not be prepared or applied."""
        async with self._settled, AsyncExitStack() as locks:
            targets = [await resolve_role(target) if target.roles else target for target in self.fault.targets]
            holds = {hold for target in targets if (hold := self._hold(target)) is not None}
            for hold in sorted(holds, key=lambda hold: (hold.target, hold.what)):  # one order for all: no deadlock
                await locks.enter_async_context(self._holds.lock(hold))
            prepared = await self._each(targets, self._prepare)
            deadline_ns = until_ns + DEADLINE_SLACK_NS + 4 * self.patience_ns
            for target, injector, state in prepared:
                if isinstance(injector, Deadlined):
                    state = injector.with_deadline(state, deadline_ns)
                intent = Intent(
                    id=f"{self.fault.id}@{target.name}",
                    fault=self.fault.id,
                    kind=self.fault.kind,
                    params=self.fault.params,
                    target=target,
                    state=state.model_dump(mode="json"),
                    deadline_ns=deadline_ns,
                )
                self._journal.append(intent)
                self._standing.append(_Standing(intent, target, injector, state, self._hold(target)))
            await self._each(list(self._standing), self._apply)
            if self.kind.instant:
                for standing in self._standing:
                    if not standing.witnessed:  # nobody saw it return: heal puts it back
                        continue
                    self._close(standing, RETURNED)
                    self._tell(standing.target, "returned", RETURNED)
                    if standing.hold is not None:
                        self._holds.drop(standing.hold, self.fault.id)

    def _hold(self, target: Target) -> Hold | None:
        return hold_of(self.kind, self.fault.params, target)

    async def _each(self, items: list[Any], act: Callable[[Any], Any]) -> list[Any]:
        """Act on all in parallel, to the end; then raise InjectError with every failure."""
        results = await asyncio.gather(*(act(item) for item in items), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, HarnessError):
                raise failure
        if failures:
            raise InjectError(f"fault {self.fault.id!r}: " + "; ".join(str(failure) for failure in failures))
        return results

    async def _prepare(self, target: Target) -> tuple[Target, Injector, Any]:
        injector, hold = self._made(), self._hold(target)
        try:
            below = () if hold is None else self._holds.below(hold, self.kind, self.fault.params)
            if not below:
                async with asyncio.timeout(_limit_s(WITNESS_LIMIT_S, injector)):
                    state = await injector.prepare(target, self._world)
            else:
                state = below[-1].state
                state = injector.over(state) if isinstance(injector, Layered) else state
        except (HarnessError, TimeoutError) as exc:
            self._emit(target, "failed", f"prepare: {exc or 'took too long'}")
            raise InjectError(f"{target.name}: {exc or 'prepare took too long'}") from exc
        self._emit(target, "prepared")
        return target, injector, state

    async def _apply(self, standing: _Standing) -> None:
        self._emit(standing.target, "applying")
        try:
            self._refuse_ended(standing)
            async with asyncio.timeout(_limit_s(APPLY_LIMIT_S, standing.injector)):
                await self._apply_layer(standing)
            if self._is_ended(standing):  # in that very moment: it stands again, and the journal must say so
                self._journal.append(standing.intent)
                raise InjectError(ENDED)
        except (HarnessError, TimeoutError) as exc:
            self._emit(standing.target, "failed", f"apply: {exc or 'took too long'}")
            raise InjectError(f"{standing.target.name}: {exc or 'apply took too long'}") from exc
        self._emit(standing.target, "applied")
        present, what, seen_ns = await self._look(standing)
        standing.witnessed = present
        self._emit(standing.target, "witnessed" if present else "not-witnessed", what, seen_ns)

    def _is_ended(self, standing: _Standing) -> bool:
        """Whether the reaper has put this intent back: this process was stopped for long, or is very late."""
        if not self._journal.disturbed:
            return False
        return standing.intent.id not in JournalView.read(self._journal.path).open

    def _refuse_ended(self, standing: _Standing) -> None:
        if self._is_ended(standing):
            raise InjectError(ENDED)

    async def _apply_layer(self, standing: _Standing) -> None:
        """Apply; over layers of the same kind only what this one adds."""
        hold, injector = standing.hold, standing.injector
        below = () if hold is None else self._holds.standing(hold)
        if hold is not None:
            layer = Layer(
                fault=self.fault.id,
                kind=self.kind,
                params=self.fault.params,
                injector=injector,
                state=standing.state,
            )
            self._holds.add(hold, layer)
        if not below:
            await injector.apply(standing.state, self._world)
        elif isinstance(injector, Layered):
            layers = [*(layer.injector for layer in below), injector]
            await injector.compose(standing.state, layers, self._world)

    async def _look(self, standing: _Standing) -> tuple[bool, str, int]:
        """Whether the effect is there, what was seen, and when: a witness may go on looking at more after that.

        Whatever goes wrong in a witness, a defect of its own too, is no sighting; it keeps nothing from being put back.
        """
        try:
            async with asyncio.timeout(_limit_s(WITNESS_LIMIT_S, standing.injector)):
                evidence = await standing.injector.witness(standing.state, self._world)
        except (HarnessError, TimeoutError) as exc:
            return False, f"witness failed: {exc or 'took too long'}", self._world.clock.now_ns()
        except Exception as exc:
            return False, f"witness failed: {type(exc).__name__}: {exc}", self._world.clock.now_ns()
        return evidence.present, evidence.what, evidence.at_ns

    async def revert(self) -> tuple[Unreverted, ...]:
        """Put back every target that may be broken; what could not be. A cancel meanwhile is raised after the reverts.

        What cannot be recorded (a full disk) does not keep anything from being put back: StoreError comes afterwards.
        """
        async with self._settled:
            open_ = [standing for standing in self._standing if not standing.done]
            results = await asyncio.gather(*(self._revert(standing) for standing in open_), return_exceptions=True)
        unreverted = []
        for standing, result in zip(open_, results, strict=True):
            if isinstance(result, RevertError):
                unreverted.append(Unreverted(id=standing.intent.id, what=str(result), commands=result.commands))
            elif isinstance(result, BaseException):
                raise result
        if self._unrecorded:
            raise self._unrecorded[0]
        return tuple(unreverted)

    async def _revert(self, standing: _Standing) -> None:
        if standing.hold is None:
            await self._end(standing, (), ())
            return
        async with self._holds.lock(standing.hold):
            layers = self._holds.standing(standing.hold)
            names = [layer.fault for layer in layers]
            above = layers[names.index(self.fault.id) + 1 :] if self.fault.id in names else ()
            self._holds.drop(standing.hold, self.fault.id)
            await self._end(standing, self._holds.standing(standing.hold), above)

    async def _end(self, standing: _Standing, left: tuple[Layer, ...], above: tuple[Layer, ...]) -> None:
        """Witness again, then put back, or leave to the layers that stay."""
        present, what, _ = await self._look(standing)
        if not present and above and self.kind.layers:
            present, what = True, f"covered by {', '.join(layer.fault for layer in above)}: {what}"
        self._tell(standing.target, "still-there" if present else "gone-early", what)
        self._tell(standing.target, "reverting")
        limit_ns = max(REVERT_LIMIT_NS, 2 * patience_ns(standing.injector))
        try:
            await finish(lambda: self._put_back(standing, left), limit_ns, standing.intent.id)
        except RevertError as exc:
            self._tell(standing.target, "unverified", str(exc))
            self._journaled(Reverted(id=standing.intent.id, verified=False, by="conductor", what=str(exc)))
            raise

    async def _put_back(self, standing: _Standing, left: tuple[Layer, ...]) -> None:
        if left:
            if isinstance(standing.injector, Layered):
                await standing.injector.compose(standing.state, [layer.injector for layer in left], self._world)
                top = left[-1]
                evidence = await top.injector.witness(top.state, self._world)
                if not evidence.present:
                    raise RevertError(f"taken out from beside {top.fault!r}, which is not there now: {evidence.what}")
            what = f"left to {', '.join(layer.fault for layer in left)}, which stands on the same original"
            self._tell(standing.target, "reverted")
            self._tell(standing.target, "verified", what)
            self._close(standing, what)
            return
        await standing.injector.revert(standing.state, self._world)
        self._tell(standing.target, "reverted")
        evidence = await standing.injector.verify(standing.state, self._world)
        if evidence.present:
            raise RevertError(evidence.what)
        self._tell(standing.target, "verified", evidence.what)
        self._close(standing, evidence.what)

    def _close(self, standing: _Standing, what: str) -> None:
        standing.done = True
        self._journaled(Reverted(id=standing.intent.id, verified=True, by="conductor", what=what))

    def _journaled(self, record: Reverted) -> None:
        try:
            self._journal.append(record)
        except StoreError as exc:
            self._unrecorded.append(exc)

    def _tell(self, target: Target, stage: FaultStage, what: str = "") -> None:
        try:
            self._emit(target, stage, what)
        except StoreError as exc:
            self._unrecorded.append(exc)

    def _emit(self, target: Target, stage: FaultStage, what: str = "", at_ns: int | None = None) -> None:
        self._recorder.emit(
            FaultEvent(
                at_ns=self._world.clock.now_ns() if at_ns is None else at_ns,
                id=self.fault.id,
                kind=self.fault.kind,
                target=target.name,
                stage=stage,
                what=what,
            )
        )


def _limit_s(usual_s: float, injector: Injector) -> float:
    return max(usual_s, patience_ns(injector) / 1e9)
