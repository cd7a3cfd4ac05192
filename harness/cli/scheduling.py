"""`drill schedule`: which drills are due, and their schedule for other schedulers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.drills import find_drill, group, is_drill, load_drill_named, planned
from harness.cli.evidence import ReportsOption
from harness.cli.given import duration_of
from harness.cli.output import JsonFlag, say, show_json, show_rows

if TYPE_CHECKING:
    from harness.drill.schedule import Due
    from harness.model.drill import Drill

__all__ = ["project_dues", "register"]


def register(app: typer.Typer) -> None:
    """Add this command to the group `drill`."""
    group.command(
        epilog="Examples: blackstart drill schedule; blackstart drill schedule quarterly-region-loss --write schedules"
    )(schedule)


def schedule(
    drill: Annotated[
        str | None, typer.Argument(metavar="[DRILL]", help="Name or path; default: all in drills/.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write files for GitHub, GitLab, Kubernetes, systemd and calendars."),
    ] = None,
    answers: Annotated[str | None, typer.Option(help="The answers file that written schedules name.")] = None,
    image: Annotated[str, typer.Option(help="The image of the Kubernetes CronJob.")] = "blackstart:latest",
    due_within: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Exit 0 if it was due so lately, else 4: a guard for schedulers."),
    ] = None,
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Show which drills are due and overdue, from the drills carried out; write the schedule for other schedulers."""
    now = datetime.now(UTC)
    if due_within is not None:
        raise typer.Exit(_due_now(load_drill_named(drill, None, None), due_within, now))
    if write is not None:
        _write_schedule(drill, write, answers, image, now)
        return
    rows = project_dues(reports, now, drill)
    if json:
        show_json([{key: getattr(row, key) for key in row.__slots__} for row in rows])
        return
    show_rows(
        ("drill", "state", "next", "last", "verdict"),
        [(row.name, row.state, _minute(row.next), _minute(row.last), row.last_verdict or "-") for row in rows],
    )


def project_dues(reports: Path, now: datetime, drill: str | None = None) -> list[Due]:
    """How each drill in `drills/` stands at `now`, or the one named. Raises SpecError for a document that does not load."""
    from harness.drill.rundir import earlier_drills
    from harness.drill.schedule import due_of

    here = sorted(Path("drills").glob("*.yaml"))
    names = [drill] if drill is not None else [str(path) for path in here if is_drill(path)]
    past = earlier_drills(reports)
    return [due_of(load_drill_named(name, None, None), past, now) for name in names]


def _minute(moment: datetime | None) -> str:
    return "-" if moment is None else moment.isoformat(sep=" ", timespec="minutes")


def _due_now(drill: Drill, within: str, now: datetime) -> int:
    """0 when the drill was due within that time before now, else the exit code of a refusal."""
    from datetime import timedelta

    from harness.drill.schedule import due_since
    from harness.errors import SpecError
    from harness.model.verdict import EXIT_CODES, Verdict

    span = timedelta(microseconds=duration_of("--due-within", within) / 1_000)
    if drill.schedule is None:
        raise SpecError(f"{drill.source}: drill {drill.name} has no `schedule:`")
    since = due_since(drill.schedule, now)
    if since is not None and now - since <= span:
        say(f"{drill.name} is due since {_minute(since)}")
        return 0
    say(f"{drill.name} is not due now; last due {_minute(since)}")
    return EXIT_CODES[Verdict.REFUSED]


def _write_schedule(drill: str | None, folder: Path, answers: str | None, image: str, now: datetime) -> None:
    from harness.drill.schedule_files import Command, schedule_files
    from harness.errors import StoreError

    path = find_drill(drill)
    made = planned(drill, None, None)
    inside = path if not path.is_absolute() else Path(made.drill.name)
    command = Command(
        document=str(inside), answers=answers, image=image, longest_ns=made.longest_ns, folder=str(Path.cwd())
    )
    for name, text in schedule_files(made.drill, command, now).items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode())
        except OSError as exc:
            raise StoreError(f"{target}: cannot write: {exc.strerror}") from exc
        sys.stdout.write(f"{target}\n")
