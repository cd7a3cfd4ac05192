"""What is written down, before anything runs: `validate`, `plan`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import JsonFlag, say, show_json
from harness.model.secrets import masked
from harness.units import format_duration, format_ratio

if TYPE_CHECKING:
    from harness.model.plan import Plan
    from harness.model.stack import Blackout
    from harness.spec.load import Loaded

__all__ = ["BUILTIN", "ProfileOption", "SetOption", "load", "register", "the_only_experiment"]

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value: load.arrival.rate=20/s.")
]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the document.")]

_PACKAGE = Path(__file__).parents[1]
BUILTIN = next(
    (path for path in (_PACKAGE / "builtin" / "experiments", _PACKAGE.parent / "experiments") if path.is_dir()),
    _PACKAGE,
)
"""The built-in experiments: inside the wheel, or beside the package in a checkout."""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Examples: blackstart validate; blackstart validate experiments/*.yaml")(validate)
    app.command(
        epilog="Examples: blackstart plan region-kill; blackstart plan my.yaml --set load.arrival.rate=20/s --json"
    )(plan)


def load(name: str, sets: list[str] | None, profile: str | None) -> Any:
    """The experiment of that name or path, loaded; its warnings go to stderr."""
    from harness.registry import catalog
    from harness.spec.find import find_document
    from harness.spec.load import load_experiment

    path = find_document(name, "experiment", (Path("experiments"), BUILTIN))
    loaded = load_experiment(path, catalog=catalog(), sets=tuple(sets or ()), profile=profile, builtin=BUILTIN)
    for warning in loaded.warnings:
        say(str(warning))
    return loaded


def the_only_experiment(verb: str, otherwise: str = "") -> str:
    """The path of the project's experiment when it has just one. Raises SpecError, naming those there are, otherwise."""
    from harness.errors import SpecError

    found = sorted(Path("experiments").glob("*.yaml"))
    if len(found) == 1:
        return str(found[0])
    ways = f"say which experiment to {verb}{f', {otherwise}' if otherwise else ''}"
    names = ", ".join(path.stem for path in found) or "none; `blackstart init` begins a project"
    raise SpecError(f"{ways}; in experiments/: {names}")


def validate(
    documents: Annotated[
        list[str] | None, typer.Argument(help="Names or paths; default: all in experiments/ and drills/.")
    ] = None,
    sets: SetOption = None,
    profile: ProfileOption = None,
    json: JsonFlag = False,
) -> None:
    """Check experiments, stacks, drills, runbooks and gates, every problem of each in one pass. Exit 2 when any is wrong.

    Warnings, among them that the plan would be refused or that a rule cannot be broken, do not change the exit code.
    """
    from harness.errors import SpecError

    folders = [Path("experiments"), Path("drills"), Path("drills/runbooks")]
    names = documents or [
        str(path) for folder in folders for path in sorted(folder.glob("*.yaml")) if _is_document(path)
    ]
    if not names:
        raise SpecError(
            "no document named, and none in experiments/ or drills/; say `blackstart init` to begin a project"
        )
    wrong: list[SpecError] = []
    warned: list[dict[str, str]] = []
    for name in names:
        try:
            warnings = _validated(name, sets, profile)
        except SpecError as exc:
            wrong.append(exc)
            if not json:
                say(str(exc))
            continue
        warned += [{"document": name, "warning": warning} for warning in warnings]
        if not json:
            for warning in warnings:
                say(f"{name}: warning: {warning}")
            sys.stdout.write(f"{name}: ok\n")
    if json:
        problems = [_problem(problem) for error in wrong for problem in error.problems]
        show_json({"ok": not wrong, "problems": problems, "warnings": warned})
    if wrong:
        raise typer.Exit(2)


def _is_document(path: Path) -> bool:
    """Whether a file of a project's folders is to be checked: answers are kept there too, which have no `kind:`; it is said."""
    from harness.errors import SpecError
    from harness.spec.yaml_text import read

    try:
        document = read(path)
    except SpecError:
        return True  # it is for the check to say what is wrong
    if path.parent.name != "drills" or document.get("kind") is not None or document.get("version") is not None:
        return True
    say(f"{path}: left out, it has no `kind:` (answers of a drill?)")
    return False


def _validated(name: str, sets: list[str] | None, profile: str | None) -> tuple[str, ...]:
    """The warnings of a document's plan. Raises SpecError."""
    from harness.errors import UnsafeError
    from harness.plan.make import make_plan
    from harness.registry import catalog
    from harness.spec.controls import load_controls
    from harness.spec.load import load_stack
    from harness.spec.nodes import ScalarNode
    from harness.spec.yaml_text import read

    path = Path(name)
    kind = read(path).get("kind") if path.is_file() else None
    said = kind.value if isinstance(kind, ScalarNode) else None
    given = tuple(sets or ())
    if said == "controls":
        load_controls(path)
        return ()
    if said in ("stack", "drill", "runbook", "gate"):
        other: Loaded[Any]
        if said == "stack":
            other = load_stack(path, catalog=catalog(), sets=given, profile=profile, builtin=BUILTIN)
        else:
            from harness.spec.load_drill import load_drill, load_gate, load_runbook

            if said == "runbook":
                other = load_runbook(path, sets=given, profile=profile)
            else:
                load_other = load_drill if said == "drill" else load_gate
                other = load_other(path, catalog=catalog(), sets=given, profile=profile, builtin=BUILTIN)
        for warning in other.warnings:
            say(str(warning))
        return ()
    experiment = load(name, sets, profile).value
    try:
        return make_plan(experiment, catalog()).warnings
    except UnsafeError as exc:
        return (f"its plan is refused: {exc}",)


def _problem(problem: Any) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "where", "message", "help", "severity")}


def plan(
    experiment: Annotated[
        str | None, typer.Argument(help="Name or path; default: the only one in experiments/.")
    ] = None,
    sets: SetOption = None,
    profile: ProfileOption = None,
    json: JsonFlag = False,
) -> None:
    """Show what a run would do: targets, timeline, what clients will see, how each fault is undone, cost, hash. Touches nothing."""
    from harness.plan.make import dump_plan, make_plan
    from harness.registry import catalog
    from harness.run.able import require_able

    made = make_plan(load(experiment or the_only_experiment("plan"), sets, profile).value, catalog())
    require_able(made, catalog())
    text = dump_plan(made) if json else masked("\n".join(_lines(made)), made.experiment.origin.secrets)
    sys.stdout.write(text + "\n")


def _lines(made: Plan) -> list[str]:
    from harness.plan.preflight import overdrawn
    from harness.report.text import plural

    experiment = made.experiment
    rate = experiment.load.arrival.rate_per_s
    instances = plural(len(experiment.stack.instances), "instance")
    lines = [
        f"{experiment.name}: {experiment.title}",
        f"hypothesis   {experiment.hypothesis}",
        f"stack        {experiment.stack.name} ({experiment.stack.environment}), {instances}",
        f"load         {experiment.load.profile}"
        + (f" at {rate:g}/s, {experiment.load.arrival.shape}" if rate else ""),
        f"seed         {experiment.seed}",
        f"steady state {format_duration(experiment.steady_state.for_ns)}: {'; '.join(map(str, experiment.steady_state.require))}",
        "timeline     (after T0)",
    ]
    for fault in made.faults:
        length = f"for {format_duration(fault.for_ns)}" if fault.for_ns is not None else "until heal"
        lines += [
            f"  {format_duration(fault.at_ns):>8}  {fault.id}: {fault.what}, {length}",
            f"            clients see: {fault.clients_see}",
            f"            revert: {fault.on_revert}",
        ]
    lines += [f"  {format_duration(step.at_ns):>8}  {step.id}: {' '.join(step.argv)}" for step in made.steps]
    smallest = format_duration(made.smallest_outage_ns) if made.smallest_outage_ns is not None else "unknown (no rate)"
    lines += [
        f"rule         {experiment.recovered_when}; window {format_duration(made.window_ns)}; surely sees an outage of {smallest}",
        *(f"objective    {stated.predicate}" for stated in experiment.objectives),
        *(f"check        {check.name}" for check in experiment.checks),
        *(f"budget       {_forecast(forecast)}" for forecast in made.forecasts),
        *(f"refused      budget left below predicted cost: {cost}" for cost in overdrawn(made)),
        *(f"blackout     {one.why}: {one.from_utc} to {one.until_utc}" for one in _blackouts(made)),
        *(f"warning      {warning}" for warning in made.warnings),
        f"at most      {format_duration(made.longest_ns)}",
        f"plan         {made.hash[:12]}",
    ]
    return lines


def _blackouts(made: Plan) -> tuple[Blackout, ...]:
    return (*made.experiment.stack.blackouts, *made.experiment.blackouts)


def _forecast(forecast: Any) -> str:
    notional = " (notional: no `traffic` declared)" if forecast.notional else ""
    return f"{forecast.slo}: at most {format_ratio(forecast.cost_share_ratio)}, {forecast.outage_s:g} s of outage{notional}"
