"""Runs against one another: `compare`, `baseline`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.evidence import ReportsOption
from harness.cli.output import JsonFlag, say, show_json, show_rows

if TYPE_CHECKING:
    from harness.drill.compare import Comparison

__all__ = ["BaselinesOption", "register"]

BaselinesOption = Annotated[
    Path, typer.Option("--baselines", help="Where baselines are kept.", envvar="BLACKSTART_BASELINES")
]
_baseline = typer.Typer(no_args_is_help=True, help="Accepted runs that later ones are compared with.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        epilog="Examples: blackstart compare baseline:region-kill region-kill#3; blackstart compare 7f3a c01d;"
        " blackstart compare region-kill@4f2a9c1 region-kill@b81e07d --block"
    )(compare)
    app.add_typer(_baseline, name="baseline")


def compare(
    old: Annotated[
        str, typer.Argument(metavar="A", help="The old runs: RUN[,RUN...], NAME[@COMMIT][#N], baseline:NAME.")
    ],
    new: Annotated[str, typer.Argument(metavar="B", help="The new runs, named in the same ways.")],
    block: Annotated[
        bool, typer.Option("--block", help="Exit 1 when a measure got worse; a warning otherwise.")
    ] = False,
    reports: ReportsOption = Path("reports"),
    baselines: BaselinesOption = Path("baselines"),
    json: JsonFlag = False,
) -> None:
    """Compare two runs, or two sets of runs. Exit code: the new runs' own verdict, then 1 for a regression with --block.

    A change is called one with 5 old and 3 new comparable runs, an exact one-sided Mann-Whitney p of at most 5 %, an effect
    of at least 20 % and of twice the resolution; with fewer it says that there are not enough.
    """
    from harness.drill.baselines import select
    from harness.drill.compare import compare as compared

    result = compared(select(old, reports, baselines), select(new, reports, baselines))
    code = result.exit_code(block=block)
    if json:
        show_json({"exit_code": code, "worse": result.worse, **asdict(result)})
    else:
        _show(result)
    for caution in result.cautions:
        say(f"caution: {caution}")
    raise typer.Exit(code)


def _show(result: Comparison) -> None:
    from harness.drill.compare import spread

    sys.stdout.write(
        f"old: {len(result.old)} runs; new: {len(result.new)} runs; verdict of the new: {result.verdict}\n"
    )
    sys.stdout.write("".join(f"missed: {text}\n" for text in result.missed))
    sys.stdout.write("".join(f"near its limit: {text}\n" for text in result.near))
    for one in result.left_out:
        sys.stdout.write(f"left out {one.run_id}: {one.why}\n")
    rows = [
        (one.measure, spread(one.old, one.unit), spread(one.new, one.unit), f"{one.finding}: {one.words}")
        for one in result.measures
    ]
    show_rows(("measure", "old", "new", "finding"), rows)


@_baseline.command(
    epilog="Examples: blackstart baseline accept last; blackstart baseline accept 20261123T100002Z-region-kill-7f3a c01d"
)
def accept(
    runs: Annotated[list[str], typer.Argument(help='Runs that passed: directories, ids, or "last".')],
    reports: ReportsOption = Path("reports"),
    baselines: BaselinesOption = Path("baselines"),
    json: JsonFlag = False,
) -> None:
    """Add passed runs to their experiment's baseline, baselines/NAME.json: a file to review and commit."""
    from harness.drill.baselines import accept as accepted
    from harness.drill.samples import read_sample
    from harness.store.rundir import find_run

    samples = [read_sample(find_run(run, reports)) for run in runs]
    done = accepted(samples, baselines)
    for one in samples:
        if one.dirty:
            say(f"caution: {one.run_id} was run from a work tree with changes")
    if json:
        show_json(asdict(done))
        return
    sys.stdout.write(f"{done.path}: {len(done.runs)} runs\n")
    if done.dropped:
        say(f"gone from it: {', '.join(done.dropped)} ({done.why})")


@_baseline.command(epilog="Example: blackstart baseline show region-kill")
def show(
    name: Annotated[str, typer.Argument(help="The experiment's name, or the path of a baseline.")],
    baselines: BaselinesOption = Path("baselines"),
    json: JsonFlag = False,
) -> None:
    """Show the accepted runs of an experiment."""
    from harness.drill.baselines import baseline_path, read_baseline
    from harness.drill.compare import shown

    path = Path(name) if name.endswith(".json") else baseline_path(baselines, name)
    samples = read_baseline(path)
    if json:
        show_json([one.model_dump(mode="json") for one in samples])
        return
    rows = []
    for one in samples:
        recovery = one.figures.get("recovery_time")
        rows.append(
            (one.run_id, (one.commit or "-")[:12], "-" if recovery is None else shown(recovery.value, recovery.unit))
        )
    show_rows(("run", "commit", "recovery"), rows)
