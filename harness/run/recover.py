"""`blackstart recover`: finish dead runs from another shell, as often as one likes."""

from __future__ import annotations

from pathlib import Path

from harness.errors import StoreError, UnsafeError
from harness.model.catalog import Catalog
from harness.run.aftermath import Aftermath, resolve
from harness.run.journal import JournalView
from harness.run.lock import LiveRun, forget, live_runs
from harness.run.process import is_alive

__all__ = ["is_unfinished", "recover_run", "unfinished_runs"]


def is_unfinished(run: LiveRun) -> bool:
    """Whether a listed run is dead and its journal not closed. A journal that cannot be read counts as unfinished."""
    journal = Path(run.run_dir) / "undo.jsonl"
    if run.alive or not journal.exists():
        return False
    try:
        return not JournalView.read(journal).closed
    except StoreError:
        return True


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
