"""What was recorded: `runs`, `verify`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.given import duration_of
from harness.cli.output import JsonFlag, say, show_json, show_rows
from harness.model.verdict import EXIT_CODES, Verdict
from harness.units import format_duration

if TYPE_CHECKING:
    from harness.store.index import RunRow

__all__ = ["ReportsOption", "register"]

ReportsOption = Annotated[Path, typer.Option("--reports", help="Where runs are kept.", envvar="BLACKSTART_REPORTS")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Examples: blackstart runs; blackstart runs region-kill --json; blackstart runs --html")(runs)
    app.command(epilog="Examples: blackstart verify last; blackstart verify reports/20261123T100002Z-region-kill-7f3a")(
        verify
    )


def runs(
    name: Annotated[str | None, typer.Argument(help="Only runs of this experiment or drill.")] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Write the portfolio page, REPORTS/index.html, and print its path.")
    ] = False,
    fresh: Annotated[str, typer.Option(help="How long a pass stays fresh on the portfolio page.")] = "30d",
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """List judged runs and drills, oldest first: verdict, recovery time, lost data; or write the portfolio page of all."""
    from harness.store.index import index_runs

    rows = index_runs(reports, name, None)
    if html:
        path = _write_portfolio(rows, name, reports, fresh)
        if json:
            show_json({"page": str(path)})
        else:
            sys.stdout.write(f"{path}\n")
        return
    if json:
        show_json([asdict(row) for row in rows])
        return
    show_rows(
        ("run", "kind", "verdict", "recovery", "lost", "in words"),
        [
            (
                row.run_id,
                row.kind if row.kind == "experiment" else f"drill, {row.mode}",
                row.verdict,
                _span(row.recovery_lo_ns, row.recovery_hi_ns),
                _count(row.lost),
                row.sentence,
            )
            for row in rows
        ],
    )


def _write_portfolio(rows: tuple[RunRow, ...], name: str | None, reports: Path, fresh: str) -> Path:
    """The page of all that was run, and of all that the project's folders say could be. Raises SpecError, StoreError."""
    from harness.cli.scheduling import project_dues
    from harness.drill.portfolio import Portfolio, render_portfolio
    from harness.store.whole import write_whole

    fresh_ns = duration_of("--fresh", fresh)
    now = datetime.now(UTC)
    made = Portfolio(
        rows=rows,
        names=tuple(one for one in _project_experiments() if name in (None, one)),
        dues=tuple(due for due in project_dues(reports, now) if name in (None, due.name)),
        now=now,
        fresh_ns=fresh_ns,
    )
    path = reports / "index.html"
    write_whole(path, render_portfolio(made), make_folder=True)
    return path


def _project_experiments() -> list[str]:
    """The names of the experiments in `experiments/`; a file that others only extend (no timeline of its own) is none."""
    from harness.errors import SpecError
    from harness.spec.nodes import ScalarNode
    from harness.spec.yaml_text import read

    names = []
    for path in sorted(Path("experiments").glob("*.y*ml")):
        try:
            document = read(path)
        except SpecError as exc:
            say(str(exc))
            continue
        kind, name = document.get("kind"), document.get("name")
        whole = document.get("timeline") is not None or document.get("extends") is not None
        if whole and isinstance(kind, ScalarNode) and kind.value == "experiment" and isinstance(name, ScalarNode):
            names.append(str(name.value))
    return names


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
