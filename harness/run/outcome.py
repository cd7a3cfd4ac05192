"""Record, then judge: measure, check, judge and render a sealed run directory. `blackstart report` is this and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__
from harness.check.run import run_checks
from harness.errors import SpecError, StoreError
from harness.history.events import Event, NoteEvent, PhaseEvent, PhaseName, encode
from harness.history.history import History
from harness.judge import Inputs, judge, safety_of
from harness.measure.facts import fault_results
from harness.measure.measure import measure
from harness.model.catalog import Catalog
from harness.model.measured import Interval
from harness.model.plan import Plan
from harness.model.result import Result, Safety
from harness.model.verdict import Verdict
from harness.plan.make import load_plan
from harness.report.all import outputs
from harness.report.extras import ComparableRun, LogTail, ReportExtras
from harness.report.json_ import dump
from harness.run.clock import MonotonicClock
from harness.run.controls import kept_controls
from harness.run.journal import JournalView
from harness.run.verifying import verified
from harness.store.index import RunRow, index_runs
from harness.store.rundir import RunDir

__all__ = ["journaled_safety", "read_plan", "rejudge"]

_COMPARABLE = 10
_LOG_LINES = 15


def read_plan(run_dir: RunDir) -> Plan:
    """The plan that a run carried out. Raises StoreError when it is missing or was changed."""
    try:
        return load_plan(run_dir.plan.read_text())
    except (OSError, SpecError) as exc:
        raise StoreError(f"{run_dir.plan}: {exc}") from exc


def rejudge(run_dir: RunDir, catalog: Catalog, tell: Callable[[PhaseName], None] = lambda phase: None) -> Result:
    """The result of a run from its recorded history alone, rendered; every derived file is written anew, the manifest last.

    The same history gives the same bytes. The record of the run is sealed by then, so the phases `measure`, `check`, `judge`
    and `render` are recorded in a file of the judging's own, `judging.jsonl`, which each judging writes anew; `tell` hears
    of each as it begins. Raises StoreError when the record is missing or damaged.
    """
    judging = _Judging(tell)
    judging.begin("measure")
    plan = read_plan(run_dir)
    history = History.read(run_dir.path)
    measures = measure(history, plan)
    judging.begin("check")
    checks = run_checks(history, plan, catalog, verified(plan, run_dir))
    judging.begin("judge")
    result = judge(history, plan, measures, checks, Inputs(safety=journaled_safety(run_dir, history, plan)))
    judging.begin("render")
    _write_outputs(run_dir, result)
    run_dir.write("judging.jsonl", judging.text())
    run_dir.seal()
    return result


class _Judging:
    """The phases of one judging, on a clock of its own."""

    def __init__(self, tell: Callable[[PhaseName], None]) -> None:
        self._tell = tell
        self._clock = MonotonicClock()
        data = {"version": __version__, "wall_utc": datetime.now(UTC).isoformat(timespec="milliseconds")}
        self._events: list[Event] = [NoteEvent(at_ns=0, code="judging", text=f"judged by {__version__}", data=data)]

    def begin(self, phase: PhaseName) -> None:
        self._events.append(PhaseEvent(at_ns=self._clock.now_ns(), phase=phase))
        self._tell(phase)

    def text(self) -> str:
        done = NoteEvent(at_ns=self._clock.now_ns(), code="judged", text="every output is written")
        return "".join(map(encode, [*self._events, done]))


def journaled_safety(run_dir: RunDir, history: History, plan: Plan) -> Safety:
    """What the undo journal says about putting things back, target by target; as the events say where there is none."""
    told = safety_of(history, fault_results(history, plan))
    if not run_dir.undo.exists():
        return told
    view = JournalView.read(run_dir.undo)
    last = {record.id: record for record in view.reverted}
    by_reaper = sum(record.verified and record.by.startswith("reaper") for record in last.values())
    return told.model_copy(
        update={
            "journaled": len(view.intents),
            "reverted": sum(intent.id in last for intent in view.intents),
            "verified": len(view.intents) - len(view.unresolved),
            "unresolved": tuple(
                f"{intent.id}: {last[intent.id].what if intent.id in last else 'never reverted'}"
                for intent in view.unresolved
            ),
            "reaper": f"acted: put back {by_reaper}" if by_reaper else told.reaper,
        }
    )


def _write_outputs(run_dir: RunDir, result: Result) -> None:
    """Write the result and every output of it."""
    run_dir.write("result.json", dump(result))
    for name, text in outputs(result, _extras(run_dir, result)).items():
        run_dir.write(name, text)


def _extras(run_dir: RunDir, result: Result) -> ReportExtras:
    earlier = [
        ComparableRun(
            run_id=row.run_id,
            started_utc=row.started_utc,
            verdict=Verdict(row.verdict),
            recovery=None
            if row.recovery_lo_ns is None
            else Interval(lo_ns=row.recovery_lo_ns, hi_ns=row.recovery_hi_ns),
        )
        for row in index_runs(run_dir.path.parent, result.run.name)
        if _same_thing(row, result) and row.run_id < run_dir.run_id
    ]
    logs = tuple(_tail(path) for path in sorted(run_dir.logs.glob("*.log")))
    return ReportExtras(
        comparable=tuple(earlier[-_COMPARABLE:]),
        logs=tuple(tail for tail in logs if tail.lines),
        controls=kept_controls(run_dir),
    )


def _same_thing(row: RunRow, result: Result) -> bool:
    """Whether an earlier run tested the same: all that its numbers depend on is equal; of older records, the whole plan."""
    known = result.run.provenance
    if known is None or row.comparable is None:
        return row.plan_hash == result.run.plan_hash
    return row.comparable == known.comparable


def _tail(path: Path) -> LogTail:
    lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return LogTail(instance=path.stem, lines=tuple(lines))
