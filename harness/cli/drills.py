"""`drill`: rehearsals of ordered experiments and human steps: plan, approve, run."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.documents import BUILTIN, ProfileOption, SetOption
from harness.cli.evidence import ReportsOption
from harness.cli.given import duration_of
from harness.cli.output import JsonFlag, say, show_json, show_rows
from harness.cli.pipeline import tell_pipeline_of_drill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.drill.answers import Answers
    from harness.drill.plan import DrillPlan
    from harness.history.events import Event
    from harness.model.drill import Drill
    from harness.model.drill_result import DrillResult
    from harness.model.plan import Plan
    from harness.model.result import Result
    from harness.run.permit import Consent
    from harness.store.rundir import RunDir

__all__ = ["find_drill", "group", "is_drill", "load_drill_named", "planned", "register", "show_drill"]

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


def planned(name: str | None, sets: list[str] | None, profile: str | None) -> DrillPlan:
    """Its plan as it is now. Raises SpecError."""
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

    made = planned(drill, sets, profile)
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
    made = planned(drill, sets, profile)
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
    ask_on_page: Annotated[
        bool, typer.Option("--ask-on-page", help="Ask what no file answers on the page of `drill serve`.")
    ] = False,
    wait: Annotated[str, typer.Option(help="How long an answer of a person is waited for.")] = "1h",
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
    from harness.run.controls import project_controls
    from harness.run.permit import Consent

    if mode == "plan":
        plan(drill, sets, profile, json)
        return
    chosen = next((one for one in MODES if one == mode), None)
    if chosen is None:
        raise SpecError(f"--mode: expected plan, {', '.join(MODES)}, got {mode!r}")
    made = planned(drill, sets, profile)
    wait_ns = duration_of("--wait", wait)
    source = _answers(made.drill, answers, wait_ns, on_page=ask_on_page)
    now = datetime.now(UTC)
    given = approvals_of(reports, made.drill.name, made.hash)
    if chosen == "live":
        require_approvals(given, made.drill.approvals.required, made.hash, made.drill.name)
    consent = Consent(confirmed=confirm_target, during_blackout=during_blackout)
    if chosen == "rehearse":
        _not_protected(made)
    if chosen != "tabletop":
        _permitted(made, now, consent)
    setting = Setting(mode=chosen, reports=reports, started=now, approvals=given, controls=project_controls())
    signal.signal(signal.SIGTERM, _interrupted)
    runs: list[Result] = []
    with _on_page(made.drill, reports, source, wait_ns) if ask_on_page else nullcontext(source) as asked:
        seams = Seams(answers=asked, run=_runner(reports, consent, runs), say=say)
        result, run_dir = carry_out_drill(made, setting, seams, lambda where: say(f"drill {where.run_id}, {chosen}"))
    tell_pipeline_of_drill(result, run_dir, runs, made.drill.lines)
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


def _answers(drill: Drill, file: Path | None, wait_ns: int, *, on_page: bool) -> Answers:
    from harness.drill.answers import FileAnswers, Nobody, TerminalAnswers, at_terminal

    if file is not None:
        names = [step.id for step in drill.steps]
        return FileAnswers.read(file, [*names, *(f"{name}.rollback" for name in names)], say)
    if on_page:
        return Nobody()
    if not at_terminal():
        say("no terminal and no --answers: human steps will not be performed")
        return Nobody()
    return TerminalAnswers(sys.stdin, say, wait_ns)


@contextmanager
def _on_page(drill: Drill, reports: Path, before: Answers, wait_ns: int) -> Iterator[Answers]:
    """What a file answers, and the people at the page for the rest, who need a `drill serve` of the same reports."""
    from harness.drill.answers import Nobody
    from harness.drill.desk import DESK, PageAnswers, open_desk

    with open_desk(reports / DESK, drill.name) as desk:
        yield PageAnswers(desk, say, wait_ns, None if isinstance(before, Nobody) else before)


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
    from harness.drill.page import found, took
    from harness.report.text import clean

    if json:
        sys.stdout.write(dump_drill_result(result))
    else:
        rows = [
            (step.id, str(step.verdict), step.outcome, took(step) or "-", clean(step.note or found(step)))
            for step in result.steps
        ]
        show_rows(("step", "verdict", "outcome", "took", "note"), rows)
        for one in result.findings:
            sys.stdout.write(
                f"{one.number} {one.severity} {one.state}: {clean(one.text)} ({one.owner}, due {one.due})\n"
            )
        sys.stdout.write(f"{result.verdict}: {clean(result.sentence)}\n")
    say(f"report: {run_dir.path / 'report.html'}")
    return result.exit_code


def is_drill(path: Path) -> bool:
    """Whether the document says that it is a drill: gates are kept in the same folder."""
    from harness.spec.nodes import ScalarNode
    from harness.spec.yaml_text import read

    kind = read(path).get("kind")
    return isinstance(kind, ScalarNode) and kind.value == "drill"
