"""`check`: judges a stored or foreign history."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.given import duration_of
from harness.cli.output import JsonFlag, show_json, show_rows
from harness.errors import SpecError
from harness.model.verdict import EXIT_CODES, Verdict
from harness.units import format_duration

if TYPE_CHECKING:
    from harness.check.linear.wgl import Spent
    from harness.history.calls import Call

__all__ = ["register"]

_OURS = {
    "register": "register",
    "cas-register": "register",
    "queue": "queue",
    "append-log": "log",
    "set": "set",
    "list-append": "list-append",
}
"""Model as named here -> as profiles of our own runs declare it."""


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog="Examples: blackstart check history.edn --model cas-register; blackstart check ops.jsonl --model list-append "
        "--realtime; blackstart check reports/RUN --model register --budget 30s --json"
    )(check)


def check(
    history: Annotated[
        Path, typer.Argument(help="Jepsen's EDN or log lines, JSON lines, a Parquet file, or a run directory.")
    ],
    model: Annotated[str, typer.Option(help="What the calls mean; `--model help` lists them.")],
    keyed: Annotated[bool, typer.Option("--keyed", help="Values are [key value]: judge each key apart.")] = False,
    observe_cas: Annotated[
        bool, typer.Option("--observe-cas", help="A failed cas proves that the value was another.")
    ] = False,
    process: Annotated[bool, typer.Option("--process", help="Transactions: hold to each process's order.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Transactions: hold to real time.")] = False,
    budget: Annotated[str, typer.Option(help="How long the search may take, such as 30s.")] = "60s",
    json: JsonFlag = False,
) -> None:
    """Judge a recorded history. Exit 0 valid, 1 invalid, 3 unknown (an empty history, or the budget was spent)."""
    from harness.check.judging import JUDGES, judge_calls
    from harness.model.verdict import CheckVerdict

    if model == "help":
        show_rows(("model", "what is judged"), list(JUDGES.items()))
        return
    if model not in JUDGES:
        raise SpecError(f"--model: unknown model {model!r}; known: {', '.join(JUDGES)}")
    orders = frozenset(kind for kind, wanted in (("process", process), ("realtime", realtime)) if wanted)
    spent = _until(time.monotonic_ns() + duration_of("--budget", budget))
    calls = _read(history, model, keyed, observe_cas)
    try:
        found = judge_calls(calls, model, spent, orders)  # type: ignore[arg-type]
    except ValueError as exc:
        raise SpecError(f"{history}: {exc}") from exc
    if json:
        show_json({"history": str(history), "model": model} | asdict(found))
    else:
        sys.stdout.write(f"{found.verdict}: {found.calls:,} calls on {found.keys:,} keys{_reason(found.why)}\n")
        if found.outcome:
            sys.stdout.write(f"  {', '.join(f'{name} {shown}' for name, shown in _told(found.outcome))}\n")
        for each in found.anomalies:
            times = f" ({each.count:,} times)" if each.count > 1 else ""
            sys.stdout.write(f"  {each.anomaly}{times} at index {', '.join(map(str, each.ids))}: {each.words}\n")
    codes = {CheckVerdict.VALID: 0, CheckVerdict.INVALID: 1, CheckVerdict.UNKNOWN: EXIT_CODES[Verdict.INCONCLUSIVE]}
    raise typer.Exit(codes[found.verdict])


def _told(outcome: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for name, count in outcome.items():
        if name.endswith("_ns"):
            yield name.removesuffix("_ns").replace("_", " "), format_duration(count)
        else:
            yield name.replace("_", " "), f"{count:,}"


def _reason(why: str) -> str:
    return f" ({why})" if why else ""


def _until(deadline_ns: int) -> Spent:
    """A budget in time: for people who wait. Runs have one in steps, so that their verdicts do not depend on the machine."""
    return lambda taken: time.monotonic_ns() > deadline_ns


def _read(history: Path, model: str, keyed: bool, observe_cas: bool) -> Sequence[Call]:
    from harness.history.foreign import Reading, read_calls

    if history.is_dir() or history.suffix == ".parquet":
        return _read_ours(history, model)
    return read_calls(history, Reading(keyed=keyed, observe_cas=observe_cas))


def _read_ours(history: Path, model: str) -> Sequence[Call]:
    from harness.check.calls import calls_of
    from harness.check.context import CheckContext
    from harness.check.ground import Ground
    from harness.history.history import History
    from harness.history.table import OpTable
    from harness.model.experiment import CheckSpec

    if model not in _OURS:
        raise SpecError(f"--model: our own histories hold {', '.join(_OURS)}; {model!r} is for foreign ones")
    folder = history / "ops" if (history / "ops").is_dir() else history
    table = OpTable.read(folder) if folder.is_dir() else OpTable.read_file(folder)
    context = CheckContext(model=_OURS[model])
    ground = Ground(
        history=History(ops=table, events=()), spec=CheckSpec(name="linearizable", kind="linearizable"), context=context
    )
    ids = table.ints("op")
    return [replace(call, id=int(ids[call.id])) for call in calls_of(ground)]
