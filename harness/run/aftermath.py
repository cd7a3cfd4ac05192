"""Finishing a run that cannot finish itself, from its journal alone. The reaper and `recover` are both this."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, RevertError
from harness.model.catalog import Catalog
from harness.run.journal import PROXY, REAPER, Closed, Intent, Journal, JournalView, Reverted
from harness.run.process import end_process, is_alive
from harness.run.undo import finish, patience_ns
from harness.run.world import RunWorld, revive_world
from harness.stacks.client import end_stack

__all__ = ["Aftermath", "resolve", "revert_intents"]

REVERT_LIMIT_NS = 10_000_000_000
BEGAN_GRACE_NS = 3_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What was put back, what was not (with the reason and the commands to do it by hand), and which processes were ended."""

    run_id: str
    reverted: tuple[str, ...]
    unresolved: tuple[tuple[str, str, tuple[str, ...]], ...]
    ended: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not self.unresolved


async def resolve(path: Path, catalog: Catalog, *, by: str, end_spawned: bool = True) -> Aftermath:
    """Revert every unresolved intent of a journal, then end what the run started. Idempotent; legal on a closed journal.

    Faults first: a process that is about to be ended must still be thawed. Targets in parallel, newest intent first on
    each; one failure never stops the rest. Raises StoreError for an unreadable journal only.
    """
    view = JournalView.read(path)
    if view.opened is None:
        return Aftermath(run_id=path.parent.name, reverted=(), unresolved=(), ended=())
    journal = Journal(path)
    try:
        world = revive_world(view.opened, catalog)
        outcomes = await revert_intents(view.unresolved, world, catalog, journal, by)
        left = await _end_began(view, world) if end_spawned and not view.closed else []
        ended = await _end_spawned(view) if end_spawned else ()
        unresolved = (*((name, what, commands) for name, what, commands in outcomes if what), *left)
        if not unresolved and not view.closed and end_spawned:
            journal.append(Closed(by=by))
    finally:
        journal.close()
    reverted = tuple(name for name, what, _ in outcomes if not what)
    return Aftermath(run_id=view.opened.run_id, reverted=reverted, unresolved=unresolved, ended=ended)


async def revert_intents(
    intents: tuple[Intent, ...], world: RunWorld, catalog: Catalog, journal: Journal, by: str
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Revert and verify intents, newest first on each target, targets in parallel: (id, problem or "", commands) of each."""
    lanes: dict[str, list[Intent]] = defaultdict(list)
    for intent in intents:
        lanes[intent.target.name].append(intent)
    outcomes: list[tuple[str, str, tuple[str, ...]]] = []

    async def lane(queue: list[Intent]) -> None:
        for intent in queue:
            problem, commands = await _revert_one(intent, world, catalog)
            what = problem or "reverted and verified"
            journal.append(Reverted(id=intent.id, verified=not problem, by=by, what=what))
            outcomes.append((intent.id, problem, commands))

    async with asyncio.TaskGroup() as group:
        for queue in lanes.values():
            group.create_task(lane(queue))
    return outcomes


async def _revert_one(intent: Intent, world: RunWorld, catalog: Catalog) -> tuple[str, tuple[str, ...]]:
    kind = catalog.fault(intent.kind)
    injector = kind.load()(kind.params.model_validate(intent.params))
    state = injector.state_type.model_validate(intent.state)

    async def put_back() -> None:
        await injector.revert(state, world)
        evidence = await injector.verify(state, world)
        if evidence.present:
            raise RevertError(evidence.what)

    try:
        await finish(put_back, max(REVERT_LIMIT_NS, 2 * patience_ns(injector)), intent.id)
    except HarnessError as exc:
        return str(exc), getattr(exc, "commands", ())
    return "", ()


async def _end_began(view: JournalView, world: RunWorld) -> list[tuple[str, str, tuple[str, ...]]]:
    """Stop what the run attached to and started, because it did not run: (instance, problem, commands) of what would not end."""
    left: list[tuple[str, str, tuple[str, ...]]] = []

    async def end(name: str) -> None:
        try:
            await world.host(name).stop(BEGAN_GRACE_NS)
        except HarnessError as exc:
            left.append((name, f"started by the run, cannot be stopped: {exc}", ("blackstart recover",)))
        finally:
            await world.host(name).close()

    async with asyncio.TaskGroup() as group:
        for name in dict.fromkeys(view.began):
            group.create_task(end(name))
    return left


async def _end_spawned(view: JournalView) -> tuple[str, ...]:
    """End load workers, then the stack with its process host, then the fault proxy that the stack ran through."""
    ended = await _end_processes(view, range(PROXY))
    if view.opened is not None and view.opened.state_dir is not None:
        ended += await end_stack(view.opened.state_dir)
        shutil.rmtree(view.opened.state_dir, ignore_errors=True)
    return ended + await _end_processes(view, range(PROXY, REAPER + 1))


async def _end_processes(view: JournalView, orders: range) -> tuple[str, ...]:
    ended: tuple[str, ...] = ()
    for order in sorted({spawned.order for spawned in view.spawned if spawned.order in orders}):
        ours = [spawned for spawned in view.spawned if spawned.order == order and spawned.pid != os.getpid()]
        alive = [spawned for spawned in ours if is_alive(spawned.pid, spawned.ticks)]
        async with asyncio.TaskGroup() as group:
            for spawned in alive:
                group.create_task(end_process(spawned.pid, spawned.ticks, grace_s=5.0))
        ended += tuple(f"{spawned.what} (pid {spawned.pid})" for spawned in alive)
    return ended
