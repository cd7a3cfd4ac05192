"""A whole run as a literal history: a plan, events of every stage, and ops from the simulated server."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict, replace
from pathlib import Path

from harness.history.events import Event, FaultEvent, LoadEvent, PhaseEvent, RunEvent
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable
from harness.model.experiment import (
    SLO,
    ArrivalSpec,
    CheckSpec,
    Experiment,
    LoadSpec,
    StatedPredicate,
    SteadyState,
)
from harness.model.plan import Plan, PlannedFault, Target
from harness.model.ports import LoadReport, WorkerReport
from harness.model.predicate import MeasureRef, Operator, Predicate, Unit
from harness.model.stack import HostSpec, Instance, Region, Stack

_spec = importlib.util.spec_from_file_location("simulate", Path(__file__).with_name("simulate.py"))
assert _spec is not None and _spec.loader is not None
simulate = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("simulate", simulate)
_spec.loader.exec_module(simulate)

S = 1_000_000_000
MS = 1_000_000
T0 = 7 * S
EFFECT = T0 + 1 * S
REVERT = T0 + 9 * S
DRAIN = T0 + 18 * S


def rule(name: str, op: Operator, value: float, unit: Unit, **more) -> Predicate:
    text = f"{name} {op} {value}"
    return Predicate(
        measure=MeasureRef(name=name, where=more.pop("where", {})), op=op, value=value, unit=unit, text=text, **more
    )


def plan_of(**changes) -> Plan:
    """One region of two is killed 1 s after T0 for 8 s; load 200/s."""
    limits = changes.pop("limits", (rule("recovery_time", "<=", 5 * S, "ns"), rule("data_loss", "=", 0, "count")))
    checks = changes.pop("checks", ())
    slos = changes.pop("slos", (SLO(name="availability", target_ratio=0.999, window_ns=30 * 86400 * S),))
    kind = HostSpec(kind="process", params={})
    stack = Stack(
        name="s",
        base_dir="/",
        regions={name: Region(name=name, entry="http://x") for name in ("eu", "us")},
        instances={
            f"gw-{name}": Instance(name=f"gw-{name}", host=kind, region=name, service="gw") for name in ("eu", "us")
        },
    )
    experiment = Experiment(
        name="kill",
        title="The region dies",
        hypothesis="h",
        source="kill.yaml",
        base_dir="/",
        stack=stack,
        seed=7,
        load=LoadSpec(profile="p", arrival=ArrivalSpec(rate_per_s=200.0), timeout_ns=S),
        slos=slos,
        steady_state=SteadyState(for_ns=5 * S, require=(rule("good", ">=", 0.97, "ratio"),)),
        recovered_when=rule("good", ">=", 0.99, "ratio", for_ns=3 * S),
        objectives=tuple(StatedPredicate(predicate=limit) for limit in limits),
        checks=tuple(CheckSpec(name=name, kind=name) for name in checks),
    )
    fault = PlannedFault(
        id="eu-down",
        entry="eu-down",
        kind="kill",
        params={},
        targets=(Target(kind="instance", name="gw-eu", region="eu"),),
        at_ns=S,
        for_ns=8 * S,
        what="kills it",
        clients_see="refused",
        on_revert="it starts",
    )
    whole = Plan(experiment=experiment, faults=(fault,), window_ns=3 * S, longest_ns=60 * S, hash="h")
    return replace(whole, **changes)


def fault_events(effect: int = EFFECT, revert: int = REVERT, name: str = "eu-down") -> list[Event]:
    stages = [
        ("prepared", effect - MS),
        ("applying", effect),
        ("applied", effect + MS),
        ("witnessed", effect + 2 * MS),
        ("still-there", revert - MS),
        ("reverting", revert),
        ("reverted", revert + MS),
        ("verified", revert + 2 * MS),
    ]
    return [FaultEvent(at_ns=at, id=name, kind="kill", target="gw-eu", stage=stage) for stage, at in stages]


def events_of(ops: list[Op], faults: list[Event] | None = None, **changes) -> tuple[Event, ...]:
    """Every event of a complete run, in time order."""
    phases = {"plan": 0, "start": 0, "warmup": S, "steady": 2 * S, "inject": T0, "observe": REVERT + 3 * MS}
    phases |= {
        "heal": REVERT + 4 * S,
        "settle": REVERT + 4 * S,
        "drain": DRAIN,
        "final": DRAIN + S,
        "seal": DRAIN + 3 * S,
    }
    sent = [op for op in ops if op.outcome != "dropped"]
    worker = WorkerReport(
        worker=0,
        exit_code=changes.pop("exit_code", 0),
        started_count=changes.pop("started", len(sent)),
        ended_count=len(sent),
        dropped_count=len(ops) - len(sent),
        late_p50_ns=0,
        late_p99_ns=0,
        late_max_ns=0,
        run_delay_ns=0,
        cpu_ratio=0.1,
        gc_pause_max_ns=0,
    )
    report = LoadReport(
        engine="asyncio", profile="p", model=changes.pop("model", "set"), closed_loop=False, workers=(worker,)
    )
    run = RunEvent(
        at_ns=0,
        run_id="r",
        name="kill",
        wall_utc="2026-01-01T00:00:00Z",
        origin_ns=0,
        seed=7,
        plan_hash="h",
        version="0",
    )
    load: Event = LoadEvent(at_ns=DRAIN + 2 * S, report=asdict(report))
    rest: list[Event] = [PhaseEvent(at_ns=at, phase=name) for name, at in phases.items()]  # type: ignore[arg-type]
    rest += [load, *(fault_events() if faults is None else faults), *changes.pop("more", ())]
    return (run, *sorted(rest, key=lambda event: event.at_ns))


def ops_of(seed: int = 1, lost: frozenset[int] = frozenset(), **world) -> list[Op]:
    """Adds of unique values by the simulated server's answers, and final reads of all that was acknowledged but `lost`."""
    answers = [a for a in simulate.answers(seed, rate=200.0, length_ns=DRAIN, **world) if a.intended_ns >= S]
    ops = [
        Op(
            op=number,
            f="add",
            session="k",
            value=f"v{number}",
            writer="w",
            intended_ns=answer.intended_ns,
            sent_ns=answer.intended_ns,
            done_ns=answer.done_ns,
            outcome="ok" if answer.ok else "info",
            error=None if answer.ok else "reset",
            region=("eu" if answer.intended_ns < EFFECT else "us") if answer.ok else None,
            served_by=("gw-eu" if answer.intended_ns < EFFECT else "gw-us") if answer.ok else None,
        )
        for number, answer in enumerate(answers)
    ]
    held = ",".join(f'"{op.value}"' for op in ops if op.outcome == "ok" and op.op not in lost)
    for place, region in enumerate(("eu", "us")):
        ops.append(
            Op(
                op=10**6 + place,
                f="read",
                session="k",
                intended_ns=DRAIN + S,
                sent_ns=DRAIN + S,
                done_ns=DRAIN + S + MS,
                outcome="ok",
                region=region,
                result=f"[{held}]",
                phase="final",
            )
        )
    return ops


def history_of(ops: list[Op], **changes) -> History:
    return History(ops=OpTable.of(ops), events=events_of(ops, **changes))


def outage(length_s: float, kind: str = "refuse", start_ns: int = EFFECT + MS, **more):
    return simulate.Outage(kind, start_ns, int(length_s * S), **more)
