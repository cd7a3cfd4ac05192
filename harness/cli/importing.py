"""`import`: the request log of another load generator becomes a run that can be measured and reported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.evidence import ReportsOption
from harness.cli.output import JsonFlag, say, show_json
from harness.errors import SpecError

if TYPE_CHECKING:
    from harness.load.imported import Imported
    from harness.model.plan import Plan
    from harness.store.rundir import RunDir

__all__ = ["register"]

_NO_FAULTS = "imported: no fault was injected or witnessed by us, so that it is never a PASS"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "import",
        epilog="Examples: blackstart import results.json --name checkout; vegeta encode results.bin > v.json && "
        "blackstart import v.json --objective 'latency.p99.all <= 250ms'",
    )(import_)


def import_(
    log: Annotated[Path, typer.Argument(help="The log of k6, vegeta or Locust.")],
    form: Annotated[
        str | None, typer.Option("--format", help="k6-csv, k6-json, vegeta-json, vegeta-csv or locust-csv.")
    ] = None,
    name: Annotated[str, typer.Option(help="The name of the run.")] = "imported",
    objective: Annotated[list[str] | None, typer.Option(help="A limit to judge, such as 'bad <= 1%'.")] = None,
    open_loop: Annotated[bool, typer.Option("--open-loop", help="k6: it used an arrival-rate executor.")] = False,
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Make a run of a request log, measured and rendered as any run is. What the log does not hold is unknown, by name."""
    import re

    from harness.load.imported import FORMATS, read_log
    from harness.registry import catalog
    from harness.run.outcome import rejudge
    from harness.store.rundir import RunDir

    if form is not None and form not in FORMATS:
        raise SpecError(f"--format: unknown format {form!r}; known: {', '.join(FORMATS)}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise SpecError(f"--name: expected lower-case letters, digits and dashes, got {name!r}")
    found = read_log(log, form)
    plan = _plan(name, found, log, objective or ())
    run_dir = RunDir.create(reports, name, datetime.fromtimestamp(found.began_ns // 1_000_000_000, UTC))
    _record(run_dir, plan, found, log, closed=not open_loop if found.closed_loop is None else found.closed_loop)
    result = rejudge(run_dir, catalog())
    if json:
        show_json({"run": str(run_dir.path), "tool": found.tool, "ops": len(found.ops), "verdict": result.verdict})
    else:
        sys.stdout.write(f"{run_dir.path}\n")
        say(f"{len(found.ops):,} requests of {found.tool}; {result.verdict}: {result.sentence}")


def _plan(name: str, found: Imported, log: Path, objectives: Sequence[str]) -> Plan:
    """A plan that says what is known: no stack, no faults, the objectives asked for."""
    import dataclasses

    from harness.model.chance import window_ns
    from harness.model.experiment import ArrivalSpec, Experiment, LoadSpec, StatedPredicate, SteadyState
    from harness.model.plan import Plan
    from harness.model.stack import Stack
    from harness.plan.make import plan_hash
    from harness.spec.predicate import parse_predicate

    try:
        stated = tuple(StatedPredicate(predicate=parse_predicate(text)) for text in objectives)
    except ValueError as exc:
        raise SpecError(f"--objective: {exc}") from exc
    rule = parse_predicate("good >= 99% for 3s")
    span_ns = max(1, found.ops[-1].intended_ns)
    experiment = Experiment(
        name=name,
        title=f"Imported from {found.tool}: {log.name}",
        hypothesis="none was stated: a log, measured afterwards",
        source=log.name,
        base_dir="",
        stack=Stack(name="unknown", base_dir="", instances={}),
        seed=0,
        load=LoadSpec(profile=f"imported {found.tool}", arrival=ArrivalSpec(trace=log.name), timeout_ns=1),
        steady_state=SteadyState(for_ns=0, require=(), after=False),
        recovered_when=rule,
        objectives=stated,
    )
    plan = Plan(
        experiment=experiment,
        faults=(),
        window_ns=window_ns(rule.for_ns or 0, len(found.ops) * 1e9 / span_ns),
        longest_ns=span_ns,
        warnings=(_NO_FAULTS,),
    )
    return dataclasses.replace(plan, hash=plan_hash(plan))


def _record(run_dir: RunDir, plan: Plan, found: Imported, log: Path, *, closed: bool) -> None:
    from dataclasses import asdict

    import pyarrow.parquet as pq

    from harness import __version__
    from harness.history.events import LoadEvent, NoteEvent, PhaseEvent, RunEvent
    from harness.history.table import OpTable
    from harness.model.ports import LoadReport, WorkerReport
    from harness.plan.make import dump_plan
    from harness.run.recorder import Recorder

    pq.write_table(OpTable.of(found.ops).arrow, run_dir.ops / "imported-00001.parquet", compression="zstd")
    run_dir.write("plan.json", dump_plan(plan))
    dropped = sum(op.outcome == "dropped" for op in found.ops)
    sent = len(found.ops) - dropped
    end_ns = max(max(op.done_ns or 0, op.intended_ns) for op in found.ops) + 1
    worker = WorkerReport(
        worker=0, exit_code=0, started_count=sent, ended_count=sent, dropped_count=dropped, late_p50_ns=None,
        late_p99_ns=None, late_max_ns=None, run_delay_ns=None, cpu_ratio=None, gc_pause_max_ns=None,
    )  # fmt: skip
    report = LoadReport(
        engine=f"imported {found.tool}", profile=str(log.name), model=None, closed_loop=closed, workers=(worker,)
    )
    began = datetime.fromtimestamp(found.began_ns // 1_000_000_000, UTC).isoformat()
    recorder = Recorder(run_dir.events)
    recorder.emit(
        RunEvent(
            at_ns=0,
            run_id=run_dir.run_id,
            name=plan.experiment.name,
            wall_utc=began,
            origin_ns=0,
            seed=0,
            plan_hash=plan.hash,
            version=__version__,
        )
    )
    recorder.emit(PhaseEvent(at_ns=0, phase="observe"))
    recorder.emit(NoteEvent(at_ns=0, code="imported", text=_NO_FAULTS, level="unprovable"))
    recorder.emit(LoadEvent(at_ns=end_ns, report=asdict(report)))
    recorder.emit(PhaseEvent(at_ns=end_ns, phase="seal"))
    recorder.seal()
