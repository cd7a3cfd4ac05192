"""The main job: `run`, and `report`, which judges and renders a recorded run again."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.documents import ProfileOption, SetOption, load, the_only_experiment
from harness.cli.evidence import ReportsOption
from harness.cli.output import JsonFlag, say, show_json, show_rows
from harness.cli.pipeline import tell_pipeline
from harness.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.history.events import Event, NoteEvent
    from harness.model.experiment import Experiment
    from harness.model.plan import Plan
    from harness.model.result import Result
    from harness.run.lock import Locks
    from harness.run.permit import Consent
    from harness.store.rundir import RunDir

__all__ = ["carry_out", "register", "show"]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Examples: blackstart run region-kill; blackstart run my.yaml --times 3 --json")(run)
    app.command(epilog="Examples: blackstart report last; blackstart report 20261123T100002Z-region-kill-7f3a")(report)


def run(
    experiment: Annotated[
        str | None,
        typer.Argument(help="Name or path; default: the plan's with --plan, else the only one in experiments/."),
    ] = None,
    sets: SetOption = None,
    profile: ProfileOption = None,
    reports: ReportsOption = Path("reports"),
    frozen: Annotated[
        Path | None, typer.Option("--plan", help="Run only if this is still the plan: a file of `plan --json`.")
    ] = None,
    confirm_target: Annotated[
        str | None, typer.Option(help="The stack's name, to drill a protected environment.")
    ] = None,
    during_blackout: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Run in a blackout window all the same; the reason is recorded."),
    ] = None,
    expect: Annotated[str | None, typer.Option(help="Exit 0 when exactly this comes, such as FAIL:durable.")] = None,
    times: Annotated[
        int | None, typer.Option(min=1, help="How often to run it; default: `runs.times` of the file.")
    ] = None,
    locust_workers: Annotated[
        int | None,
        typer.Option(min=1, help="Locust over a master and so many workers here; more may join it: see docs."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Run an experiment: start or attach, steady state, break, heal, read back, judge, report. Exit codes: see README."""
    from harness.plan.make import make_plan
    from harness.registry import catalog
    from harness.run.permit import Consent
    from harness.run.repeat import seeds

    if locust_workers is not None:
        sets = [*(sets or ()), f"load.locust.workers={locust_workers}"]
    spec = _experiment(experiment, sets, profile, frozen)
    if expect is not None:
        _check_expected(expect)
    plans = [make_plan(replace(spec, seed=seed), catalog()) for seed in seeds(spec.seed, times or spec.runs.times)]
    consent = Consent(confirmed=confirm_target, during_blackout=during_blackout)
    if len(plans) > 1:
        raise typer.Exit(_run_series(plans, reports, consent, expect, json))
    result, run_dir = carry_out(plans[0], reports, consent)
    show(result, run_dir, json)
    code = _exit_code(result, expect)
    tell_pipeline(result, run_dir, as_expected=code == 0)
    raise typer.Exit(code)


def _experiment(name: str | None, sets: list[str] | None, profile: str | None, frozen: Path | None) -> Experiment:
    """The experiment to run. Raises SpecError without any, UnsafeError when it no longer gives the frozen plan."""
    from harness.errors import SpecError, UnsafeError
    from harness.plan.drift import drift
    from harness.plan.make import load_plan, make_plan
    from harness.registry import catalog

    if frozen is None:
        spec: Experiment = load(name or the_only_experiment("run", "or --plan FILE"), sets, profile).value
        return spec
    try:
        agreed = load_plan(frozen.read_text())
    except OSError as exc:
        raise SpecError(f"--plan {frozen}: cannot read it: {exc.strerror}") from exc
    spec = load(name or agreed.experiment.source, sets, profile or agreed.experiment.profile).value
    changes = drift(agreed, make_plan(spec, catalog()))
    if changes:
        raise UnsafeError(
            "the plan is not what was agreed to any more:\n  " + "\n  ".join(changes) + "\n",
            remedy="give the same --set and --profile as `plan --json` had, or have the new plan agreed to",
        )
    return spec


def _run_series(plans: list[Plan], reports: Path, consent: Consent, expect: str | None, json: bool) -> int:
    """The exit code of an experiment run several times, each run with a seed, directory and report of its own."""
    from harness.judge import matches_expectation
    from harness.model.verdict import EXIT_CODES, Verdict
    from harness.report.terminal import render_terminal
    from harness.run.repeat import ENDS_SERIES, is_flaky, overall

    runs = []
    for number, plan in enumerate(plans, start=1):
        say(f"\n== run {number} of {len(plans)}")
        result, run_dir = carry_out(plan, reports, consent)
        as_expected = result.verdict is Verdict.PASS if expect is None else matches_expectation(result, expect)
        tell_pipeline(result, run_dir, as_expected=as_expected)
        runs.append((plan, result, run_dir))
        if not json:
            sys.stdout.write(render_terminal(result, 100, sys.stdout.isatty()) + "\n")
        if result.verdict in ENDS_SERIES:
            say(f"{result.verdict}: the other {len(plans) - number} run(s) are not begun")
            break
    verdicts = [result.verdict for _, result, _ in runs]
    require = plans[0].experiment.runs.require
    verdict = overall(verdicts, require)
    rows = [
        {
            "run_id": run_dir.run_id,
            "seed": plan.experiment.seed,
            "verdict": str(result.verdict),
            "report": str(run_dir.path / "report.html"),
        }
        for plan, result, run_dir in runs
    ]
    if json:
        show_json(
            {
                "verdict": str(verdict),
                "exit_code": EXIT_CODES[verdict],
                "flaky": is_flaky(verdicts),
                "require": require,
                "runs": rows,
            }
        )
    else:
        show_rows(
            ("run", "verdict", "seed"), [[str(row[column]) for column in ("run_id", "verdict", "seed")] for row in rows]
        )
    flaky = ", flaky" if is_flaky(verdicts) else ""
    say(f"{verdict}{flaky}: {verdicts.count(Verdict.PASS)} of {len(plans)} runs passed, {require} must")
    if expect is None:
        return EXIT_CODES[verdict]
    odd = [result for _, result, _ in runs if not matches_expectation(result, expect)]
    say(f"as expected: {expect}, every time" if not odd else f"expected {expect}, {len(odd)} run(s) came out otherwise")
    if not odd and len(runs) == len(plans):
        return 0
    return EXIT_CODES[verdict] or EXIT_CODES[Verdict.FAIL]


def _check_expected(expect: str) -> None:
    """Raises SpecError for an expectation that no run can meet, before anything is run."""
    from harness.errors import SpecError
    from harness.model.verdict import Verdict

    name = expect.partition(":")[0].strip().upper()
    if name not in Verdict.__members__:
        raise SpecError(f"--expect: no verdict {name!r}; there are {', '.join(Verdict)}")


def _exit_code(result: Result, expect: str | None) -> int:
    from harness.judge import matches_expectation
    from harness.model.verdict import EXIT_CODES, Verdict

    if expect is None:
        return result.exit_code
    if matches_expectation(result, expect):
        say(f"as expected: {expect}")
        return 0
    say(f"expected {expect}, got {result.verdict}")
    return result.exit_code or EXIT_CODES[Verdict.FAIL]


def report(
    run: Annotated[str, typer.Argument(help='A run directory, a run id, or "last".')],
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Judge a recorded run or drill again from its history alone, and write every output anew."""
    from harness.cli.drills import show_drill
    from harness.drill.rundir import is_drill, rejudge_drill
    from harness.registry import catalog
    from harness.run.outcome import rejudge
    from harness.store.rundir import find_run

    run_dir = find_run(run, reports)
    _refuse_live(run_dir)
    if is_drill(run_dir):
        raise typer.Exit(show_drill(rejudge_drill(run_dir), run_dir, json))
    if not run_dir.sealed:  # it died before anybody took secrets out of its logs
        run_dir.scrub(run_dir.environment_values(os.environ))
    result = rejudge(run_dir, catalog())
    show(result, run_dir, json)
    raise typer.Exit(result.exit_code)


def _refuse_live(run_dir: RunDir) -> None:
    """Raise UnsafeError for a run that is under way: its record is not whole, and a verdict on it would be void."""
    from harness.errors import UnsafeError
    from harness.run.lock import live_runs

    if any(live.alive and Path(live.run_dir) == run_dir.path for live in live_runs()):
        raise UnsafeError(
            f"run {run_dir.run_id} is under way", remedy="it is judged when it ends; `blackstart halt` ends it"
        )


def show(result: Result, run_dir: RunDir, json: bool) -> None:
    """The verdict on stdout, the place of the report on stderr."""
    if json:
        from harness.report.json_ import dump

        sys.stdout.write(dump(result))
    else:
        from harness.report.terminal import render_terminal

        sys.stdout.write(render_terminal(result, 100, sys.stdout.isatty()) + "\n")
    say(f"report: {run_dir.path / 'report.html'}")


def carry_out(
    plan: Plan, reports: Path, consent: Consent | None = None, listen: Callable[[Event], None] | None = None
) -> tuple[Result, RunDir]:
    """Run a plan to its sealed and rendered end, `listen` hearing its events. Ctrl-C puts everything back first.

    Raises UnsafeError, before a run directory is made, for what may not be run now; StoreError.
    """
    import asyncio

    from harness.cli.progress import Progress
    from harness.errors import UnsafeError
    from harness.model.stack import Stack
    from harness.plan.make import dump_plan
    from harness.registry import catalog
    from harness.run.able import require_able
    from harness.run.controls import keep_controls, project_controls
    from harness.run.lock import lock_keys, locked
    from harness.run.lock import register as live
    from harness.run.outcome import rejudge
    from harness.run.permit import Consent, permit
    from harness.run.recover import unfinished_runs
    from harness.run.subject import SUBJECT, subject_note, subject_text
    from harness.store.rundir import RunDir

    require_able(plan, catalog())
    controls = project_controls()
    facts = permit(plan, consent or Consent(), datetime.now(UTC))
    stack: Stack = plan.experiment.stack
    finished: list[NoteEvent] = []
    for dead in unfinished_runs():
        if dead.stack == stack.name:
            _finish(Path(dead.run_dir), finished)
    run_dir = RunDir.create(reports, plan.experiment.name, datetime.now(UTC))
    keys = lock_keys(stack, catalog())
    try:
        with (
            locked(keys, run_dir.run_id, run_dir.path, lambda dead: _finish(dead, finished)) as locks,
            live(run_dir.run_id, run_dir.path, stack.name),
        ):
            run_dir.write("plan.json", dump_plan(plan))
            run_dir.write_inputs(plan.experiment.origin.documents)
            keep_controls(run_dir, controls)
            run_dir.write(SUBJECT, subject_text(plan))
            facts = (*facts, subject_note(plan))
            _invite(plan)
            say(f"run {run_dir.run_id}, at most {format_duration(plan.longest_ns)}; Ctrl-C puts everything back")
            try:
                asyncio.run(_conduct(plan, run_dir, locks, (*facts, *finished), listen))
            finally:  # of a run that could not be recorded to its end, too
                run_dir.scrub(plan.experiment.origin.secrets)
            return rejudge(run_dir, catalog(), Progress(sys.stderr).judging), run_dir
    except UnsafeError:
        run_dir.discard()
        raise


def _invite(plan: Plan) -> None:
    """Say how workers elsewhere join, when the load awaits any."""
    crew = plan.experiment.load.crew
    if crew is not None and crew.remote:
        host, _, port = str(crew.bind).rpartition(":")
        say(
            f"awaiting {crew.remote} Locust worker(s) from elsewhere; on each: "
            f"locust -f - --worker --master-host {host} --master-port {port}"
        )


def _finish(run_dir: Path, notes: list[NoteEvent]) -> None:
    """Put back what a dead run left on this stack, and take note of it. Raises UnsafeError when that fails."""
    import asyncio

    from harness.history.events import NoteEvent
    from harness.registry import catalog
    from harness.run.recover import finish_earlier

    outcome = asyncio.run(finish_earlier(run_dir, catalog()))
    text = (
        f"run {outcome.run_id} had died unfinished; put back first: {', '.join(outcome.reverted) or 'nothing was left'}"
    )
    say(text)
    notes.append(NoteEvent(at_ns=0, code="finished-earlier", text=text, level="warning"))


async def _conduct(
    plan: Plan, run_dir: RunDir, locks: Locks, facts: tuple[NoteEvent, ...], listen: Callable[[Event], None] | None
) -> None:
    import asyncio

    from harness.cli.progress import Progress
    from harness.load.engines import open_engine
    from harness.measure.live import LiveWindow
    from harness.registry import catalog
    from harness.run.conductor import Conductor, Parts
    from harness.run.session import StackSession

    session = StackSession(plan, run_dir, catalog(), locks.renew)
    conductor = Conductor(
        plan,
        run_dir,
        catalog(),
        Parts(session=session, engine=open_engine(plan.experiment.load.engine), live=LiveWindow(plan)),
    )
    conductor.recorder.listen(Progress(sys.stderr).event)
    if listen is not None:
        conductor.recorder.listen(listen)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _interrupt, conductor, number)
    await conductor.conduct(facts)


def _interrupt(conductor: Any, number: signal.Signals) -> None:
    say(f"{number.name}: putting everything back; again to skip waiting, a third time to leave it to the reaper")
    conductor.interrupts.interrupt(number.name)
