"""Finishing a run that cannot finish itself, from its journal alone. The reaper and `recover` are both this."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, InjectError, RevertError, StoreError
from harness.model.catalog import Catalog
from harness.model.ports import Injector
from harness.proxy.client import PlainLinks
from harness.run.journal import PROXY, REAPER, Closed, Intent, Journal, JournalView, Reverted
from harness.run.process import end_process, is_alive
from harness.run.undo import finish, patience_ns
from harness.run.world import RunWorld, revive_world
from harness.stacks.client import end_stack
from harness.stacks.compose_project import bring_down
from harness.stacks.netns import remove_networks
from harness.store.rundir import RunDir

__all__ = ["Aftermath", "resolve", "revert_intents"]

REVERT_LIMIT_NS = 10_000_000_000
BEGAN_GRACE_NS = 3_000_000_000
Outcome = tuple[str, str, tuple[str, ...]]
"""What it was, the problem ("" when it is put back) and the commands that would do it by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What was put back, what was not (with the reason and the commands to do it by hand), and which processes were ended.

    `earlier` are the faults that had been put back before, each with who did it. `unmasked` are variables of the environment
    that the run used and whose values nobody knows here any more: logs may hold them.
    """

    run_id: str
    reverted: tuple[str, ...]
    unresolved: tuple[tuple[str, str, tuple[str, ...]], ...]
    ended: tuple[str, ...]
    earlier: tuple[tuple[str, str], ...] = ()
    unmasked: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.unresolved


async def resolve(path: Path, catalog: Catalog, *, by: str, end_spawned: bool = True) -> Aftermath:
    """Revert every unresolved intent of a journal, then end what the run started. Idempotent; legal on a closed journal.

    Faults first: a process that is about to be ended must still be thawed. Targets in parallel, newest intent first on
    each; one failure never stops the rest, not even one to write to the journal. Last, secrets are taken out of what
    processes logged, as far as this process's environment tells them. Raises StoreError for a journal that cannot be read
    or opened.
    """
    view = JournalView.read(path)
    if view.opened is None and not view.spawned:
        return Aftermath(run_id=path.parent.name, reverted=(), unresolved=(), ended=())
    journal = Journal(path)
    try:
        outcomes: list[Outcome] = []
        world = revive_world(view.opened, catalog) if view.opened is not None else None
        if world is not None:
            outcomes = await revert_intents(view.unresolved, world, catalog, journal, by)
        ended: tuple[str, ...] = ()
        if end_spawned:
            outcomes += await _end_began(view, world) if world is not None and not view.closed else []
            ended, left = await _end_spawned(view, world)
            outcomes = [_over(outcome, view, catalog, journal, by) for outcome in outcomes] + left
        unresolved = tuple(outcome for outcome in outcomes if outcome[1])
        if not unresolved and not view.closed and end_spawned:
            _write(journal, Closed(by=by))
    finally:
        journal.close()
    reverted = tuple(name for name, what, _ in outcomes if not what)
    run_id = view.opened.run_id if view.opened is not None else path.parent.name
    run_dir = RunDir(path.parent)
    _scrub(run_dir)
    return Aftermath(
        run_id=run_id,
        reverted=reverted,
        unresolved=unresolved,
        ended=ended,
        earlier=tuple((intent.id, view.ended_by[intent.id]) for intent in view.intents if intent.id in view.ended_by),
        unmasked=tuple(name for name in run_dir.environment_names() if name not in os.environ),
    )


def _scrub(run_dir: RunDir) -> None:
    """Take what the run had from this process's environment out of its logs; where that cannot be done (a full disk), say so."""
    try:
        run_dir.scrub(run_dir.environment_values(os.environ))
    except OSError as exc:
        sys.stderr.write(f"blackstart: {run_dir.path}: cannot take secrets out of the logs: {exc}\n")


async def revert_intents(
    intents: tuple[Intent, ...], world: RunWorld, catalog: Catalog, journal: Journal, by: str
) -> list[Outcome]:
    """Revert and verify intents, newest first on each target, targets in parallel: (id, problem or "", commands) of each."""
    lanes: dict[tuple[str, str], list[Intent]] = defaultdict(list)
    for intent in intents:
        lanes[intent.target.kind, intent.target.name].append(intent)
    outcomes: list[Outcome] = []

    async def lane(queue: list[Intent]) -> None:
        for intent in queue:
            problem, commands = await _revert_one(intent, world, catalog)
            what = problem or "reverted and verified"
            _write(journal, Reverted(id=intent.id, verified=not problem, by=by, what=what))
            outcomes.append((intent.id, problem, commands))

    async with asyncio.TaskGroup() as group:
        for queue in lanes.values():
            group.create_task(lane(queue))
    return outcomes


async def _revert_one(intent: Intent, world: RunWorld, catalog: Catalog) -> tuple[str, tuple[str, ...]]:
    try:
        kind = catalog.fault(intent.kind)
        injector: Injector = kind.load()(kind.params.model_validate(intent.params))
        state = injector.state_type.model_validate(intent.state)
    except Exception as exc:  # a plugin that is gone or broken: said, and no obstacle to the others
        return f"{intent.id}: cannot tell how to undo it: {exc}", ()

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


def _over(outcome: Outcome, view: JournalView, catalog: Catalog, journal: Journal, by: str) -> Outcome:
    """The outcome; no problem any more where what was broken were processes of the run's own, which ended with its stack."""
    name, problem, _ = outcome
    intent = next((intent for intent in view.unresolved if intent.id == name), None)
    if not problem or intent is None or intent.target.kind != "instance" or view.opened is None:
        return outcome
    made = view.opened.hosts.get(intent.target.name)
    if made is None or view.opened.state_dir is None or os.path.exists(view.opened.state_dir):
        return outcome
    try:
        kind, host = catalog.fault(intent.kind), catalog.host(str(made["kind"]))
    except (HarnessError, KeyError):
        return outcome
    if not host.started_by_run or kind.holds != ("process",):
        return outcome
    what = f"its processes were the run's own and ended with their stack ({problem})"
    _write(journal, Reverted(id=name, verified=True, by=by, what=what))
    return name, "", ()


async def _end_began(view: JournalView, world: RunWorld) -> list[tuple[str, str, tuple[str, ...]]]:
    """Stop what the run attached to and started, because it did not run: (instance, problem, commands) of what would not end."""
    left: list[tuple[str, str, tuple[str, ...]]] = []

    async def end(name: str) -> None:
        try:
            host = world.host(name)
            try:
                await host.stop(BEGAN_GRACE_NS)
            finally:
                await host.close()
        except HarnessError as exc:
            left.append((name, f"started by the run, cannot be stopped: {exc}", ("blackstart recover",)))

    async with asyncio.TaskGroup() as group:
        for name in dict.fromkeys(view.began):
            group.create_task(end(name))
    return left


def _write(journal: Journal, record: Reverted | Closed) -> None:
    """Journal it if that can be done: on a full disk things are put back all the same, and again by the next who looks."""
    try:
        journal.append(record)
    except StoreError as exc:
        sys.stderr.write(f"blackstart: {exc}\n")


async def _end_spawned(view: JournalView, world: RunWorld | None) -> tuple[tuple[str, ...], list[Outcome]]:
    """End load workers, then the stack with its process host, then links made at others' fault proxies, then our own proxy.

    Who was ended, and what could not be.
    """
    ended = await _end_processes(view, range(PROXY))
    left: list[Outcome] = []
    if view.opened is not None and view.opened.state_dir is not None:
        try:
            ended += await end_stack(view.opened.state_dir)
            shutil.rmtree(view.opened.state_dir, ignore_errors=True)
        except HarnessError as exc:
            left.append((f"stack {view.opened.stack}", str(exc), ()))
    left += await _unmake(view, world)
    ended += await _end_processes(view, range(PROXY, REAPER))
    left += await _remove_networks(view)
    left += await _lower(view)
    return ended + await _end_processes(view, range(REAPER, REAPER + 1)), left


async def _lower(view: JournalView) -> list[Outcome]:
    """Bring down the Compose projects that the run brought up."""
    left: list[Outcome] = []
    for project in view.raised if not view.closed else ():
        try:
            await bring_down(project)
        except RevertError as exc:
            left.append((f"Compose project {project.name}", str(exc), exc.commands))
    return left


async def _remove_networks(view: JournalView) -> list[Outcome]:
    """Remove the network namespaces that the run made for its stack: a stack that it attached to keeps its own."""
    if view.opened is None or view.opened.state_dir is None:
        return []
    try:
        await remove_networks(view.opened.wiring.networks)
    except RevertError as exc:
        return [("network namespaces", str(exc), exc.commands)]
    return []


async def _unmake(view: JournalView, world: RunWorld | None) -> list[Outcome]:
    left: list[Outcome] = []
    if world is None or not view.made:
        return left
    links = world.links
    assert isinstance(links, PlainLinks)  # what `revive_world` gives
    for made in view.made:
        try:
            await links.delete_made(made.link, made.listen, made.upstream)
        except InjectError as exc:
            command = f"curl -X DELETE {links.url}/proxies/{made.link}"
            left.append((f"link {made.link}", str(exc), (command,)))
    return left


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
