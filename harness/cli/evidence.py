"""What was recorded: `runs`, `verify`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import JsonFlag, say, show_json, show_rows
from harness.model.verdict import EXIT_CODES, Verdict
from harness.units import format_duration

__all__ = ["ReportsOption", "register"]

ReportsOption = Annotated[Path, typer.Option("--reports", help="Where runs are kept.", envvar="BLACKSTART_REPORTS")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Examples: blackstart runs; blackstart runs region-kill --json")(runs)
    app.command(epilog="Examples: blackstart verify last; blackstart verify reports/20261123T100002Z-region-kill-7f3a")(
        verify
    )


def runs(
    name: Annotated[str | None, typer.Argument(help="Only runs of this experiment.")] = None,
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """List judged runs, oldest first: verdict, recovery time, lost data."""
    from harness.store.index import index_runs

    rows = index_runs(reports, name)
    if json:
        show_json([asdict(row) for row in rows])
        return
    show_rows(
        ("run", "verdict", "recovery", "lost", "in words"),
        [
            (row.run_id, row.verdict, _span(row.recovery_lo_ns, row.recovery_hi_ns), _count(row.lost), row.sentence)
            for row in rows
        ],
    )


def _span(lo_ns: int | None, hi_ns: int | None) -> str:
    if lo_ns is None:
        return "-"
    return f"> {format_duration(lo_ns)}" if hi_ns is None else format_duration(hi_ns)


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def verify(
    run: Annotated[str, typer.Argument(help='A run directory, a run id, or "last".')],
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Check a run's files against its manifest, and that each line of its events follows the one before it.

    Exit 0 when they are as sealed, 1 when anything was changed, added or is missing.
    """
    from harness.history.chain import Chain, check_chain
    from harness.store.rundir import find_run

    run_dir = find_run(run, reports)
    problems = run_dir.verify()
    chain = check_chain(run_dir.events) if run_dir.events.exists() else Chain(lines=0, chained=False)
    if json:
        show_json({"intact": not problems, "problems": problems, "chain": asdict(chain)})
    else:
        sys.stdout.write("".join(f"{problem}\n" for problem in problems) or "every file is as sealed\n")
    if not chain.chained:
        say("its events carry no chain: recorded by an older version, held by the manifest alone")
    if problems:
        raise typer.Exit(EXIT_CODES[Verdict.FAIL])
