"""After something went wrong, or while it goes on: `status`, `recover`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.evidence import ReportsOption
from harness.cli.output import JsonFlag, say, show_json, show_rows
from harness.errors import SpecError
from harness.model.verdict import EXIT_CODES, Verdict

if TYPE_CHECKING:
    from harness.run.aftermath import Aftermath

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Example: blackstart status")(status)
    app.command(epilog="Examples: blackstart recover --all; blackstart recover last")(recover)


def status(json: JsonFlag = False) -> None:
    """List runs that began and were not seen to end. Exit 7 when one died with something left to undo."""
    from harness.run.lock import live_runs
    from harness.run.recover import is_unfinished

    rows = [
        (run, "running" if run.alive else "needs recover" if is_unfinished(run) else "ended") for run in live_runs()
    ]
    if json:
        show_json([{**asdict(run), "state": state} for run, state in rows])
    elif rows:
        show_rows(
            ("run", "state", "stack", "directory"), [(run.run_id, state, run.stack, run.run_dir) for run, state in rows]
        )
    else:
        say("no run is under way, none is unfinished")
    if any(state == "needs recover" for _, state in rows):
        raise typer.Exit(EXIT_CODES[Verdict.DIRTY])


def recover(
    run: Annotated[str | None, typer.Argument(help='A run directory, a run id, or "last".')] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run that died unfinished.")] = False,
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Undo what a dead run left behind, from its journal alone. Safe to repeat. Exit 7 when something could not be undone."""
    import asyncio

    from harness.registry import catalog
    from harness.run.recover import recover_run, unfinished_runs
    from harness.store.rundir import find_run

    if (run is None) == (not every):
        raise SpecError("say which run to recover, or --all")
    folders = [Path(live.run_dir) for live in unfinished_runs()] if run is None else [find_run(run, reports).path]
    outcomes = [asyncio.run(recover_run(folder, catalog())) for folder in folders]
    if json:
        show_json([asdict(outcome) for outcome in outcomes])
    if not outcomes:
        say("nothing to recover")
    for outcome in outcomes:
        say(f"{outcome.run_id}: {_told(outcome)}")
        for name, what, commands in outcome.unresolved:
            say(f"  UNRESOLVED {name}: {what}")
            sys.stderr.write("".join(f"    {command}\n" for command in commands))
        if outcome.unmasked:
            names = ", ".join(outcome.unmasked)
            say(f"  its logs may hold the values of {names}: set them as they were and repeat this, or delete its logs")
    if not all(outcome.clean for outcome in outcomes):
        raise typer.Exit(EXIT_CODES[Verdict.DIRTY])


def _told(outcome: Aftermath) -> str:
    """What was put back, now and before, and by whom."""
    by: dict[str, list[str]] = {}
    for name, who in outcome.earlier:
        by.setdefault(who, []).append(name)
    said = [f"put back by the {who} before: {', '.join(names)}" for who, names in by.items()]
    if outcome.reverted:
        said.append(f"{len(outcome.reverted)} fault(s) reverted now: {', '.join(outcome.reverted)}")
    elif outcome.clean:
        said.append("nothing was left to revert" if said else "nothing stood broken")
    return "; ".join([*said, f"{len(outcome.ended)} process(es) ended"])
