"""`halt`: stop a live run from another shell."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.given import duration_of
from harness.cli.output import JsonFlag, say, show_json
from harness.errors import UnsafeError
from harness.model.verdict import EXIT_CODES, Verdict

if TYPE_CHECKING:
    from harness.run.lock import LiveRun

__all__ = ["register"]

_LOOK_S = 0.1


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Examples: blackstart halt; blackstart halt 20261123T100002Z-region-kill-7f3a --within 2m")(halt)


def halt(
    run: Annotated[
        str | None, typer.Argument(help="A run id as `status` lists it; not needed when just one is live.")
    ] = None,
    within: Annotated[str, typer.Option(help="How long to wait for its faults to be put back.")] = "60s",
    json: JsonFlag = False,
) -> None:
    """Stop a live run as its own Ctrl-C would, and wait until every fault is put back. Exit 7 when that is not proven.

    A conductor that no longer answers (stopped, hung) is relieved by its reaper, which puts the faults back by itself.
    """
    from harness.run.lock import live_runs

    limit_s = duration_of("--within", within) / 1e9
    chosen = _choose([live for live in live_runs() if live.alive], run)
    os.kill(chosen.pid, signal.SIGINT)
    say(f"{chosen.run_id}: asked pid {chosen.pid} to stop; waiting until everything is put back")
    state = _wait(chosen, time.monotonic() + limit_s)
    if json:
        show_json({"run_id": chosen.run_id, "run_dir": chosen.run_dir, "state": state})
    say(f"{chosen.run_id}: {state}")
    if state != "put back":
        say(f"   see `blackstart status`; once pid {chosen.pid} is gone: blackstart recover {chosen.run_dir}")
        raise typer.Exit(EXIT_CODES[Verdict.DIRTY])


def _choose(live: list[LiveRun], wanted: str | None) -> LiveRun:
    """The run that is meant. Raises UnsafeError when it is not live, or when it is not clear which one."""
    if wanted is not None:
        live = [one for one in live if wanted in (one.run_id, one.run_dir)]
        if not live:
            raise UnsafeError(f"no live run {wanted!r}", remedy="`blackstart status` lists them")
    if not live:
        raise UnsafeError("no run is under way", remedy="`blackstart recover --all` finishes dead ones")
    if len(live) > 1:
        names = ", ".join(one.run_id for one in live)
        raise UnsafeError(f"{len(live)} runs are under way: {names}", remedy="say which one to halt")
    return live[0]


def _wait(run: LiveRun, deadline_s: float) -> str:
    """ "put back", "still running" or "not proven put back": read from the journal, whoever wrote its end."""
    while True:
        if _is_closed(Path(run.run_dir) / "undo.jsonl"):
            return "put back"
        if not run.alive and time.monotonic() > deadline_s:
            return "not proven put back"
        if time.monotonic() > deadline_s:
            return "still running"
        time.sleep(_LOOK_S)


def _is_closed(journal: Path) -> bool:
    from harness.errors import StoreError
    from harness.run.journal import JournalView

    try:
        view = JournalView.read(journal)
    except (OSError, StoreError):
        return False
    return view.closed and not view.unresolved
