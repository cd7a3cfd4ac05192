"""`blackstart recover`: finish dead runs from another shell, as often as one likes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from harness.errors import UnsafeError
from harness.model.catalog import Catalog
from harness.run.aftermath import Aftermath, resolve
from harness.run.journal import REAPER, JournalView
from harness.run.lock import LiveRun, forget, is_finished, live_runs
from harness.run.process import is_alive

__all__ = ["finish_earlier", "is_unfinished", "recover_run", "unfinished_runs"]

_REAPER_LIMIT_S = 30.0


def is_unfinished(run: LiveRun) -> bool:
    """Whether a listed run is dead and left something, or may have. A journal that cannot be read counts as unfinished."""
    return not run.alive and not is_finished(Path(run.run_dir))


def unfinished_runs() -> tuple[LiveRun, ...]:
    """Every listed run that died before it was done."""
    return tuple(run for run in live_runs() if is_unfinished(run))


async def recover_run(run_dir: Path, catalog: Catalog) -> Aftermath:
    """Undo what one run left. Raises UnsafeError while its conductor lives (that is what `halt` is for)."""
    journal = run_dir / "undo.jsonl"
    opened = JournalView.read(journal).opened
    if opened is not None and is_alive(opened.pid, opened.ticks):
        raise UnsafeError(
            f"run {opened.run_id} is under way (pid {opened.pid})",
            remedy="`blackstart halt` it; recover is for dead runs",
        )
    outcome = await resolve(journal, catalog, by="recover")
    if outcome.clean:
        forget(run_dir.name)
    return outcome


async def finish_earlier(run_dir: Path, catalog: Catalog) -> Aftermath:
    """Put back what a dead run left, before another begins on the same ground; its own reaper gets the time to do it first.

    Raises UnsafeError, with the command to repeat it, when something could not be put back.
    """
    journal = run_dir / "undo.jsonl"
    deadline_s = time.monotonic() + _REAPER_LIMIT_S
    while time.monotonic() < deadline_s:
        view = JournalView.read(journal)
        reapers = [one for one in view.spawned if one.order == REAPER]
        if view.closed or not any(is_alive(reaper.pid, reaper.ticks) for reaper in reapers):
            break
        await asyncio.sleep(0.05)
    outcome = await recover_run(run_dir, catalog)
    if not outcome.clean:
        left = "; ".join(f"{name}: {what}" for name, what, _ in outcome.unresolved)
        raise UnsafeError(
            f"an earlier run, {outcome.run_id}, left something that could not be put back: {left}",
            remedy=f"run `blackstart recover {run_dir}`",
        )
    return outcome
