"""Whether a release may go out, by stored evidence: `gate`."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.comparing import BaselinesOption
from harness.cli.documents import BUILTIN, ProfileOption, SetOption
from harness.cli.evidence import ReportsOption
from harness.cli.output import JsonFlag, say, show_json

if TYPE_CHECKING:
    from harness.drill.gate import Decision, Why
    from harness.model.gate import Gate, GateEntry

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog="Examples: blackstart gate; blackstart gate release --json; blackstart gate drills/release.yaml"
    )(gate)


def gate(
    document: Annotated[
        str | None, typer.Argument(metavar="GATE", help="Name or path; default: the only gate in drills/.")
    ] = None,
    sets: SetOption = None,
    profile: ProfileOption = None,
    reports: ReportsOption = Path("reports"),
    baselines: BaselinesOption = Path("baselines"),
    json: JsonFlag = False,
) -> None:
    """Pass on stored evidence, touching nothing, or say what is stale and why. Exit 0: passes; 1: held; 2: a bad document.

    Evidence is the newest proven run: a PASS, fresh, of the same plan, asked for every objective, with the files that it
    was about (`covers:`, scripts, profiles) unchanged since.
    """
    from harness.drill.gate import judge_entry, read_evidence, wanted
    from harness.registry import catalog
    from harness.spec.find import find_document
    from harness.spec.load_drill import load_gate

    path = find_document(document or _the_only_gate(), "gate", (Path(), BUILTIN.parent))
    loaded = load_gate(path, catalog=catalog(), sets=tuple(sets or ()), profile=profile, builtin=BUILTIN)
    rules, now, decisions = loaded.value, datetime.now(UTC), []
    for entry in rules.entries:
        decision = judge_entry(wanted(entry), read_evidence(reports, entry.experiment.name), now, flaky=rules.flaky)
        decisions.append(_with_regression(decision, entry, rules, reports, baselines))
    passes = all(decision.passes for decision in decisions)
    if json:
        rows = [asdict(decision) for decision in decisions]
        show_json({"gate": rules.name, "passes": passes, "exit_code": 0 if passes else 1, "experiments": rows})
    else:
        for decision in decisions:
            _show(decision)
    stale = sum(not decision.passes for decision in decisions)
    say(f"{rules.name}: passes" if passes else f"{rules.name}: held back by {stale} of {len(decisions)} experiments")
    raise typer.Exit(0 if passes else 1)


def _the_only_gate() -> str:
    """The path of the project's gate when it has just one. Raises SpecError, naming those there are, otherwise."""
    from harness.errors import SpecError
    from harness.spec.nodes import ScalarNode
    from harness.spec.yaml_text import read

    found = []
    for path in sorted(Path("drills").glob("*.y*ml")):
        kind = read(path).get("kind")
        if isinstance(kind, ScalarNode) and kind.value == "gate":
            found.append(path)
    if len(found) == 1:
        return str(found[0])
    raise SpecError(f"say which gate; in drills/: {', '.join(path.stem for path in found) or 'none'}")


def _with_regression(decision: Decision, entry: GateEntry, rules: Gate, reports: Path, baselines: Path) -> Decision:
    """The decision, with what the newest runs say against the accepted baseline where the gate asks for it."""
    from harness.drill.baselines import baseline_path, read_baseline, select
    from harness.drill.compare import FEWEST_NEW, compare
    from harness.drill.gate import Why

    name = entry.experiment.name
    if rules.regression == "off" or decision.run_id is None:
        return decision
    path = baseline_path(baselines, name)
    if not path.exists():
        why = Why(code="no-baseline", text=f"there is no baseline {path}: blackstart baseline accept makes it")
        return replace(decision, cautions=(*decision.cautions, why))
    result = compare(read_baseline(path), select(f"{name}#{FEWEST_NEW}", reports, baselines))
    found = tuple(
        Why(code="regression", text=f"{one.measure} got worse: {one.words}")
        for one in result.measures
        if one.finding == "worse"
    )
    if rules.regression == "warn" or not found:
        return replace(decision, cautions=(*decision.cautions, *found))
    return replace(decision, passes=False, reasons=(*decision.reasons, *found))


def _show(decision: Decision) -> None:
    until = "" if decision.expires is None else f", until {decision.expires:%Y-%m-%d %H:%M} UTC"
    by = "" if decision.run_id is None else f" by {decision.run_id}{until if decision.passes else ''}"
    sys.stdout.write(f"{'ok  ' if decision.passes else 'HELD'}  {decision.experiment}{by}\n")
    sys.stdout.write("".join(_line(why) for why in decision.reasons))
    if not decision.passes:
        sys.stdout.write(f"      run: blackstart run {decision.source}\n")
    sys.stdout.write("".join(_line(why, "caution: ") for why in decision.cautions))


def _line(why: Why, head: str = "") -> str:
    return f"      {head}{why.code}: {why.text}\n"
