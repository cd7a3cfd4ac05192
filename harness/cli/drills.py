"""`drill`: rehearsals of ordered experiments and human steps: plan, approve, run."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.documents import BUILTIN, ProfileOption, SetOption
from harness.cli.evidence import ReportsOption
from harness.cli.output import JsonFlag, say, show_json, show_rows
from harness.cli.pipeline import tell_pipeline_of_drill

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.drill.answers import Answers
    from harness.drill.plan import DrillPlan
    from harness.drill.schedule import Due
    from harness.history.events import Event
    from harness.model.drill import Drill
    from harness.model.drill_result import DrillResult
    from harness.model.plan import Plan
    from harness.model.result import Result
    from harness.run.permit import Consent
    from harness.store.rundir import RunDir

__all__ = ["find_drill", "group", "is_drill", "load_drill_named", "project_dues", "register", "show_drill"]

DrillArgument = Annotated[
    str | None, typer.Argument(metavar="[DRILL]", help="Name or path; default: the only one in drills/.")
]

group = typer.Typer(
    no_args_is_help=True, help="Rehearse: ordered experiments and human steps, people, comms, schedule."
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group.command(
        epilog="Examples: blackstart drill plan quarterly-region-loss; blackstart drill plan drills/mine.yaml --json"
    )(plan)
    group.command(epilog="Examples: blackstart drill approve quarterly-region-loss --by oncall --note 'read it all'")(
        approve
    )
    group.command(
        epilog="Examples: blackstart drill run quarterly-region-loss --mode tabletop;"
        " blackstart drill run mine.yaml --mode rehearse --answers answers.yaml --json"
    )(run)
    group.command(
        epilog="Examples: blackstart drill schedule; blackstart drill schedule quarterly-region-loss --write schedules"
    )(schedule)
    app.add_typer(group, name="drill")


def find_drill(name: str | None) -> Path:
    """The path of a drill. Raises SpecError naming those there are."""
    from harness.errors import SpecError
    from harness.spec.find import find_document

    if name is not None:
        return find_document(name, "drill", (Path("."), BUILTIN.parent))
    found = [path for path in sorted(Path("drills").glob("*.yaml")) if is_drill(path)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.stem for path in found) or "none"
    raise SpecError(f"say which drill; in drills/: {names}")


def load_drill_named(name: str | None, sets: list[str] | None, profile: str | None) -> Drill:
    """The drill of that name or path, loaded; its warnings go to stderr. Raises SpecError."""
    from harness.registry import catalog
    from harness.spec.load_drill import load_drill

    loaded = load_drill(find_drill(name), catalog=catalog(), sets=tuple(sets or ()), profile=profile, builtin=BUILTIN)
    for warning in loaded.warnings:
        say(str(warning))
    return loaded.value


def _planned(name: str | None, sets: list[str] | None, profile: str | None) -> DrillPlan:
    from harness.drill.plan import make_drill_plan
    from harness.registry import catalog

    return make_drill_plan(load_drill_named(name, sets, profile), catalog())


def plan(
    drill: DrillArgument = None,
    sets: SetOption = None,
    profile: ProfileOption = None,
    json: JsonFlag = False,
) -> None:
    """Show what a drill would do: every step, command, inject and hash. Touches nothing."""
    from harness.drill.plan import dump_drill_plan, plan_lines

    made = _planned(drill, sets, profile)
    sys.stdout.write((dump_drill_plan(made) if json else "\n".join(plan_lines(made))) + "\n")


def approve(
    drill: DrillArgument = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Who approves; default: $USER. Recorded, not verified.")
    ] = None,
    note: Annotated[str, typer.Option("--note", help="A remark that is kept with it.")] = "",
    sets: SetOption = None,
    profile: ProfileOption = None,
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Approve a drill's plan as it is now, by its hash. A changed drill needs new approvals."""
    from harness.drill.approvals import approve as record
    from harness.drill.approvals import now_utc
    from harness.errors import SpecError
    from harness.model.drill_result import Approval

    who = (by or os.environ.get("USER") or "").strip()
    if not who:
        raise SpecError("--by: say who approves")
    made = _planned(drill, sets, profile)
    approval = Approval(by=who, at_utc=now_utc(datetime.now(UTC)), plan_hash=made.hash, note=note)
    known = record(reports, made.drill.name, approval)
    required = made.drill.approvals.required
    if json:
        value = {"drill": made.drill.name, "plan_hash": made.hash, "required": required}
        show_json({**value, "approvals": [one.model_dump() for one in known]})
        return
    show_rows(("approved by", "at", "note"), [(one.by, one.at_utc, one.note) for one in known])
    say(f"plan {made.hash[:12]} of {made.drill.name}: {len({one.by for one in known})} of {required} approvals")


def run(
    drill: DrillArgument = None,
    mode: Annotated[
        str,
        typer.Option(
            help="plan (shown), tabletop (talked through), rehearse (a stack that is not production), live (approved)."
        ),
    ] = "rehearse",
    answers: Annotated[
        Path | None, typer.Option(help="A YAML file that answers for the human steps: `STEP: done`.")
    ] = None,
    wait: Annotated[str, typer.Option(help="How long an answer at the terminal is waited for.")] = "1h",
    confirm_target: Annotated[
        str | None, typer.Option(help="The stack's name, to drill a protected environment (live).")
    ] = None,
    during_blackout: Annotated[
        str | None, typer.Option(metavar="REASON", help="Drill in a blackout window all the same; on record.")
    ] = None,
    sets: SetOption = None,
    profile: ProfileOption = None,
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Carry a drill out, step by step, timed. A step that nobody answers is not performed, and the drill then no PASS."""
    from harness.drill.approvals import approvals_of, require_approvals
    from harness.drill.conduct import Seams
    from harness.drill.rundir import Setting, carry_out_drill
    from harness.errors import SpecError
    from harness.model.drill_result import MODES
    from harness.run.permit import Consent

    if mode == "plan":
        plan(drill, sets, profile, json)
        return
    chosen = next((one for one in MODES if one == mode), None)
    if chosen is None:
        raise SpecError(f"--mode: expected plan, {', '.join(MODES)}, got {mode!r}")
    made = _planned(drill, sets, profile)
    source = _answers(made.drill, answers, wait)
    now = datetime.now(UTC)
    given = approvals_of(reports, made.drill.name, made.hash)
    if chosen == "live":
        require_approvals(given, made.drill.approvals.required, made.hash, made.drill.name)
    consent = Consent(confirmed=confirm_target, during_blackout=during_blackout)
    if chosen == "rehearse":
        _not_protected(made)
    if chosen != "tabletop":
        _permitted(made, now, consent)
    setting = Setting(mode=chosen, reports=reports, started=now, approvals=given)
    signal.signal(signal.SIGTERM, _interrupted)
    runs: list[Result] = []
    seams = Seams(answers=source, run=_runner(reports, consent, runs), say=say)
    result, run_dir = carry_out_drill(made, setting, seams, lambda where: say(f"drill {where.run_id}, {chosen}"))
    tell_pipeline_of_drill(result, run_dir, runs)
    raise typer.Exit(show_drill(result, run_dir, json))


def _plans(made: DrillPlan) -> list[Plan]:
    return [plan for variants in made.runs.values() for plans in variants for plan in plans]


def _not_protected(made: DrillPlan) -> None:
    """Raises UnsafeError when any experiment is of a protected environment: a rehearsal keeps off those."""
    from harness.errors import UnsafeError

    protected = next((one.experiment.stack for one in _plans(made) if one.protected), None)
    if protected is not None:
        remedy = f"--mode live, with its approvals and --confirm-target {protected.name}"
        raise UnsafeError(
            f"a rehearsal keeps off {protected.environment!r}, where {protected.name!r} is", remedy=remedy
        )


def _permitted(made: DrillPlan, now: datetime, consent: Consent) -> None:
    """Raises SpecError for what this machine cannot do, UnsafeError for what may not be run now, before anything begins."""
    from harness.drill.commands import require_commands
    from harness.drill.comms import require_channels
    from harness.errors import UnsafeError
    from harness.registry import catalog
    from harness.run.able import require_able
    from harness.run.permit import permit

    require_commands(made.drill)
    require_channels(made.drill)
    for plan in _plans(made):
        require_able(plan, catalog())
        permit(plan, consent, now)
    schedule = made.drill.schedule
    for window in () if schedule is None or (consent.during_blackout or "").strip() else schedule.blackouts:
        if datetime.fromisoformat(window.from_utc) <= now < datetime.fromisoformat(window.until_utc):
            raise UnsafeError(
                f"the drill would fall into a blackout window: {window.why} ({window.from_utc} to {window.until_utc})",
                remedy='run it later, or say --during-blackout "REASON"',
            )


def _answers(drill: Drill, file: Path | None, wait: str) -> Answers:
    from harness.drill.answers import FileAnswers, Nobody, TerminalAnswers, at_terminal
    from harness.errors import SpecError
    from harness.units import parse_duration

    if file is not None:
        names = [step.id for step in drill.steps]
        return FileAnswers.read(file, [*names, *(f"{name}.rollback" for name in names)], say)
    if not at_terminal():
        say("no terminal and no --answers: human steps will not be performed")
        return Nobody()
    try:
        return TerminalAnswers(sys.stdin, say, parse_duration(wait))
    except ValueError as exc:
        raise SpecError(f"--wait: {exc}") from exc


def _runner(
    reports: Path, consent: Consent, made: list[Result]
) -> Callable[[Plan, Callable[[Event], None]], tuple[Result, RunDir]]:
    """What carries out an experiment of a drill; each result is added to `made`."""
    from harness.cli.drilling import carry_out

    def runner(plan: Plan, listen: Callable[[Event], None]) -> tuple[Result, RunDir]:
        try:
            result, run_dir = carry_out(plan, reports, consent, listen)
            made.append(result)
            return result, run_dir
        finally:
            signal.signal(signal.SIGTERM, _interrupted)  # the run's own loop leaves the default behind

    return runner


def _interrupted(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def show_drill(result: DrillResult, run_dir: RunDir, json: bool) -> int:
    """The verdict on stdout, the place of the report on stderr; the exit code."""
    from harness.drill.outputs import dump_drill_result
    from harness.drill.page import took
    from harness.report.text import clean

    if json:
        sys.stdout.write(dump_drill_result(result))
    else:
        rows = [
            (step.id, str(step.verdict), step.outcome, took(step) or "-", clean(step.note)) for step in result.steps
        ]
        show_rows(("step", "verdict", "outcome", "took", "note"), rows)
        for one in result.findings:
            sys.stdout.write(
                f"{one.number} {one.severity} {one.state}: {clean(one.text)} ({one.owner}, due {one.due})\n"
            )
        sys.stdout.write(f"{result.verdict}: {clean(result.sentence)}\n")
    say(f"report: {run_dir.path / 'report.html'}")
    return result.exit_code


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


def is_drill(path: Path) -> bool:
    """Whether the document says that it is a drill: gates are kept in the same folder."""
    from harness.spec.nodes import ScalarNode
    from harness.spec.yaml_text import read

    kind = read(path).get("kind")
    return isinstance(kind, ScalarNode) and kind.value == "drill"


def _minute(moment: datetime | None) -> str:
    return "-" if moment is None else moment.isoformat(sep=" ", timespec="minutes")


def _due_now(drill: Drill, within: str, now: datetime) -> int:
    """0 when the drill was due within that time before now, else the exit code of a refusal."""
    from datetime import timedelta

    from harness.drill.schedule import due_since
    from harness.errors import SpecError
    from harness.model.verdict import EXIT_CODES, Verdict
    from harness.units import parse_duration

    try:
        span = timedelta(microseconds=parse_duration(within) / 1_000)
    except ValueError as exc:
        raise SpecError(f"--due-within: {exc}") from exc
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
    made = _planned(drill, None, None)
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
