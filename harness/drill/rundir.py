"""A drill's run directory: begun, judged, rendered anew from its record alone; and the drills carried out before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness import __version__
from harness.drill.approvals import now_utc
from harness.drill.conduct import DrillConductor, Seams
from harness.drill.coverage import covered_before, last_covered
from harness.drill.findings import still_open
from harness.drill.judge import Before, judge_drill
from harness.drill.outputs import outputs_of
from harness.drill.plan import DrillPlan, dump_drill_plan, load_drill_plan
from harness.drill.record import Record, read_record
from harness.errors import SpecError, StoreError
from harness.model.control import Controls
from harness.model.drill_result import Approval, Covered, DrillFinding, DrillResult, Mode
from harness.run.controls import keep_controls, kept_controls
from harness.store.index import index_runs
from harness.store.rundir import RunDir

__all__ = ["PastDrill", "Setting", "carry_out_drill", "earlier_drills", "is_drill", "rejudge_drill"]

_CONTEXT = "inputs/context.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """In which mode a drill is carried out, where its directory goes, when it began, who approved it, the project's controls."""

    mode: Mode
    reports: Path
    started: datetime
    approvals: tuple[Approval, ...] = ()
    controls: Controls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDrill:
    """A drill that was carried out, as schedules and later drills need it."""

    run_id: str
    name: str
    mode: Mode
    started_utc: str
    verdict: str
    findings: tuple[DrillFinding, ...]


def carry_out_drill(
    plan: DrillPlan, setting: Setting, seams: Seams, began: Callable[[RunDir], None] = lambda run_dir: None
) -> tuple[DrillResult, RunDir]:
    """Carry a drill out and judge it. `began` hears of the directory. Raises StoreError."""
    drill = plan.drill
    earlier = earlier_drills(setting.reports, drill.name)
    left = still_open(earlier[-1].findings) if earlier else ()
    run_dir = RunDir.create(setting.reports, drill.name, setting.started)
    run_dir.write("plan.json", dump_drill_plan(plan))
    run_dir.write_inputs(drill.origin.documents)
    context = {
        "approvals": [one.model_dump() for one in setting.approvals],
        "earlier": [one.model_dump() for one in left],
        "tested": [one.model_dump(mode="json") for one in last_covered(covered_before(index_runs(setting.reports)))],
    }
    keep_controls(run_dir, setting.controls)
    run_dir.write(_CONTEXT, json.dumps(context, indent=1) + "\n")
    began(run_dir)
    record = Record(run_dir.events, drill.origin.secrets)
    record.add("drill", mode=setting.mode, wall_utc=now_utc(setting.started), version=__version__)
    try:
        DrillConductor(plan, setting.mode, run_dir.path, record, seams).conduct()
    finally:
        record.close()
    return rejudge_drill(run_dir), run_dir


def rejudge_drill(run_dir: RunDir) -> DrillResult:
    """The result of a drill from its record alone; every derived file is written anew. Raises StoreError."""
    try:
        plan = load_drill_plan(run_dir.plan.read_text(encoding="utf-8"))
        context = json.loads((run_dir.path / _CONTEXT).read_text(encoding="utf-8"))
        approvals = tuple(Approval.model_validate(one) for one in context["approvals"])
        earlier = tuple(DrillFinding.model_validate(one) for one in context["earlier"])
        tested = tuple(Covered.model_validate(one) for one in context.get("tested", ()))
    except (OSError, ValueError, KeyError, SpecError) as exc:
        raise StoreError(f"{run_dir.path}: not a whole record of a drill: {exc}") from exc
    before = Before(approvals=approvals, findings=earlier, tested=tested)
    result = judge_drill(plan, read_record(run_dir.events), run_dir.run_id, before)
    for name, text in outputs_of(result, kept_controls(run_dir)).items():
        run_dir.write(name, text)
    run_dir.seal()
    return result


def is_drill(run_dir: RunDir) -> bool:
    """Whether this is the run directory of a drill, not of an experiment."""
    return (run_dir.path / _CONTEXT).is_file()


def earlier_drills(reports: Path, name: str | None = None) -> tuple[PastDrill, ...]:
    """Judged drills under `reports`, oldest first, of one name if given. What is no drill's result is left out."""
    found = []
    for path in sorted(reports.glob("2*Z-*/inputs/context.json")) if reports.is_dir() else ():
        try:
            result = DrillResult.model_validate_json((path.parents[1] / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # died before it was judged, or of another version
        if name is None or result.run.name == name:
            found.append(
                PastDrill(
                    run_id=result.run.run_id,
                    name=result.run.name,
                    mode=result.run.mode,
                    started_utc=result.run.started_utc,
                    verdict=str(result.verdict),
                    findings=result.findings,
                )
            )
    return tuple(found)
