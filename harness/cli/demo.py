"""`demo`: the primary region of the reference stack dies under load, once on the healthy stack and once on a mutant."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import typer

from harness.cli.documents import load
from harness.cli.drilling import carry_out
from harness.cli.evidence import ReportsOption
from harness.cli.output import JsonFlag, say, show_json
from harness.model.verdict import EXIT_CODES, Verdict

__all__ = ["register", "too_busy"]

_EXPERIMENT = "region-kill"
_TRIES = 3
_ACTS = (
    ("the healthy stack", "", "PASS"),
    ("a mutant that acknowledges before it replicates", "ack-before-replicate", "FAIL:durable"),
)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: blackstart demo")(demo)


def demo(reports: ReportsOption = Path("reports"), json: JsonFlag = False) -> None:
    """Kill the primary region of the reference stack under load: healthy (PASS) and with a planted defect (FAIL).

    Exit 0 when both came out as they should. Takes about 70 s; touches nothing but what it starts itself. A run that says
    of itself that this machine was too busy for it is done again, at most twice.
    """
    from harness.judge import matches_expectation
    from harness.model.plan import Plan
    from harness.model.result import Result
    from harness.plan.make import make_plan
    from harness.registry import catalog
    from harness.report.terminal import render_terminal
    from harness.store.rundir import RunDir

    def act_once_paced(plan: Plan, expected: str) -> tuple[Result, RunDir]:
        for left in reversed(range(_TRIES)):
            result, run_dir = carry_out(plan, reports)
            busy = too_busy(reason.text for reason in result.reasons)
            if not left or not busy or matches_expectation(result, expected):
                break
            say(f"once more: {result.verdict}, {busy}")
        return result, run_dir

    acts = []
    for what, mutant, expected in _ACTS:
        say(f"\n== {what}: expecting {expected}")
        sets = [f"stack={{file: genai, params: {{mutant: {mutant}}}}}"] if mutant else None
        result, run_dir = act_once_paced(make_plan(load(_EXPERIMENT, sets, None).value, catalog()), expected)
        as_expected = matches_expectation(result, expected)
        page = str(run_dir.path / "report.html")
        acts.append(
            {
                "act": what,
                "expected": expected,
                "verdict": str(result.verdict),
                "as_expected": as_expected,
                "report": page,
            }
        )
        if not json:
            sys.stdout.write(render_terminal(result, 100, sys.stdout.isatty()) + "\n")
    if json:
        show_json(acts)
    for act in acts:
        say(
            f"{'as expected' if act['as_expected'] else 'NOT AS EXPECTED'}: {act['act']}: {act['verdict']}  {act['report']}"
        )
    if not all(act["as_expected"] for act in acts):
        raise typer.Exit(EXIT_CODES[Verdict.FAIL])


def too_busy(reasons: Iterable[str]) -> str:
    """The first reason by which a run says that this machine was too busy for it, not that the stack failed; empty for none."""
    from harness.judge.trust import is_doubt
    from harness.run.steady import BUSY

    return next((text for text in reasons if BUSY in text or is_doubt(text)), "")
