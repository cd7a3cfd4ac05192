"""What happened, from events alone: faults as they really went, steps, phases, marks, and the edges that causes may be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from harness.history.events import (
    AbortEvent,
    Event,
    FaultEvent,
    InstanceEvent,
    LoadEvent,
    NoteEvent,
    PhaseEvent,
    SignalEvent,
    StepEvent,
    of_type,
)
from harness.history.history import History
from harness.model.measured import Interval
from harness.model.plan import Plan, PlannedFault
from harness.model.ports import LoadReport
from harness.model.result import FaultResult, PhaseSpan, StepResult, TimelineMark
from harness.model.stack import Stack

__all__ = [
    "Edge",
    "clock_error_ns",
    "edges",
    "fault_results",
    "first_effect",
    "is_sealed",
    "load_report",
    "marks",
    "phase_spans",
    "step_results",
    "t0_ns",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Something we did that may change service: an inject, a revert or a step. Its effect begins within [lo_ns, hi_ns].

    `hi_ns` None: nobody saw it take effect. `entry` is the document's id; `own` steps answer for themselves.
    """

    edge: Literal["inject", "revert", "step"]
    id: str
    entry: str
    lo_ns: int
    hi_ns: int | None
    own: bool = False


def t0_ns(history: History) -> int | None:
    """The instant every `at` counts from, the start of phase inject; None when the run never got there."""
    span = history.phase("inject")
    return span[0] if span else None


def is_sealed(history: History) -> bool:
    """Whether the record is complete: the run reached `seal`."""
    return history.phase("seal") is not None


def phase_spans(history: History) -> tuple[PhaseSpan, ...]:
    """Every phase the run went through, in order; the last one's end is None."""
    events = of_type(history.events, PhaseEvent)
    ends = [*(event.at_ns for event in events[1:]), None][: len(events)]
    return tuple(
        PhaseSpan(phase=event.phase, start_ns=event.at_ns, end_ns=end) for event, end in zip(events, ends, strict=True)
    )


def load_report(history: History) -> LoadReport | None:
    """The load's own account; None when there is none or it cannot be read."""
    from pydantic import TypeAdapter, ValidationError

    event: LoadEvent | None = next(iter(of_type(history.events, LoadEvent)), None)
    if event is None:
        return None
    try:
        report: LoadReport = TypeAdapter(LoadReport).validate_python(event.report)
    except ValidationError:
        return None  # an account that cannot be read is no account: the judge says so
    return report


def clock_error_ns(history: History) -> int | None:
    """By how much an op's instants may be off, at most: those of workers on other clocks. None: all are on the run's own."""
    report = load_report(history)
    errors = [worker.clock_error_ns for worker in report.workers] if report else []
    return max((error for error in errors if error is not None), default=None)


def fault_results(history: History, plan: Plan) -> tuple[FaultResult, ...]:
    """Every planned fault as it really went, in the plan's order; exposure is left out."""
    by_id: dict[str, list[FaultEvent]] = defaultdict(list)
    for event in of_type(history.events, FaultEvent):
        by_id[event.id].append(event)
    sealed = is_sealed(history)
    stack = plan.experiment.stack
    return tuple(
        _fault_result(fault, by_id[fault.id], sealed).model_copy(update={"services": _services(fault, stack)})
        for fault in plan.faults
    )


def _services(fault: PlannedFault, stack: Stack) -> tuple[str, ...]:
    """Whose failure a fault is: the services of its instances, of a link the one that it leads to; else what it touches."""
    names: list[str] = []
    for target in fault.targets:
        if target.kind == "link":
            names.append(stack.links[target.name].to if target.name in stack.links else target.name)
        elif target.kind == "cut":
            names += [end.instance for side in target.sides for end in side]
        elif target.kind == "role":
            names += target.candidates or (target.name,)
        else:
            names.append(target.name)
    services = (stack.instances[name].service or name if name in stack.instances else name for name in names)
    return tuple(dict.fromkeys(services))


def _fault_result(fault: PlannedFault, events: list[FaultEvent], sealed: bool) -> FaultResult:
    seen: dict[str, dict[str, int]] = defaultdict(dict)  # stage -> target -> first instant
    for event in events:
        seen[event.stage].setdefault(event.target, event.at_ns)
    touched = set(seen["applying"])
    failures = [event.what for event in events if event.stage in ("failed", "unverified", "not-witnessed")]
    looked = set(seen["still-there"]) | set(seen["gone-early"])
    returned = set(seen["returned"])
    witnessed = bool(touched) and len(touched) >= len(fault.targets) and set(seen["witnessed"]) >= touched
    return FaultResult(
        id=fault.id,
        entry=fault.entry,
        kind=fault.kind,
        targets=tuple(dict.fromkeys(event.target for event in events))
        or tuple(target.name for target in fault.targets),
        what=fault.what,
        clients_see=fault.clients_see,
        on_revert=fault.on_revert,
        effect=_bracket(seen["applying"], seen["witnessed"], touched),
        end=_bracket(seen["reverting"], seen["verified"], set(seen["reverting"])),
        witnessed=witnessed and not seen["not-witnessed"] and not seen["failed"],
        held=None if not looked else not seen["gone-early"],
        reverted=bool(touched) and returned | set(seen["reverted"]) >= touched,
        verified=returned | set(seen["verified"]) >= touched and not seen["unverified"] and (bool(touched) or sealed),
        expect_no_impact=fault.expect_no_impact,
        error="; ".join(dict.fromkeys(text for text in failures if text)) or None,
    )


def _bracket(begun: dict[str, int], seen: dict[str, int], targets: set[str]) -> Interval | None:
    """The earliest beginning to the latest sighting; open above when any of the targets was not seen."""
    if not begun:
        return None
    complete = bool(targets) and targets <= set(seen)
    return Interval(lo_ns=min(begun.values()), hi_ns=max(seen[name] for name in targets) if complete else None)


def step_results(history: History, plan: Plan) -> tuple[StepResult, ...]:
    """Every planned step, in the plan's order; all None for one that never began."""
    events = of_type(history.events, StepEvent)
    results = []
    for step in plan.steps:
        own = [event for event in events if event.id == step.id]
        started = next((event for event in own if event.stage == "started"), None)
        ended = next((event for event in own if event.stage != "started"), None)
        results.append(
            StepResult(
                id=step.id,
                started_ns=started.at_ns if started else None,
                ended_ns=ended.at_ns if ended else None,
                exit_code=ended.exit_code if ended else None,
                output=ended.output if ended else "",
            )
        )
    return tuple(results)


def edges(history: History, plan: Plan, faults: Iterable[FaultResult]) -> tuple[Edge, ...]:
    """Every inject, revert and step that took place, by earliest effect (at one instant: reverts, steps, injects).

    Where ops carry instants of other machines' clocks, each effect is as much less certain as these are.
    """
    haze_ns = clock_error_ns(history) or 0
    found: list[Edge] = []
    for fault in faults:
        for edge, span in (("inject", fault.effect), ("revert", fault.end)):
            if span is not None:
                found.append(
                    Edge(edge=edge, id=fault.id, entry=fault.entry, lo_ns=span.lo_ns, hi_ns=span.hi_ns)  # type: ignore[arg-type]
                )
    own = {step.id: step.own for step in plan.steps}
    for step in step_results(history, plan):
        if step.started_ns is not None:
            hi = step.ended_ns if step.ended_ns is not None else None
            found.append(
                Edge(edge="step", id=step.id, entry=step.id, lo_ns=step.started_ns, hi_ns=hi, own=own[step.id])
            )
    if haze_ns:
        found = [
            replace(
                edge, lo_ns=max(0, edge.lo_ns - haze_ns), hi_ns=None if edge.hi_ns is None else edge.hi_ns + haze_ns
            )
            for edge in found
        ]
    rank = {"revert": 0, "step": 1, "inject": 2}
    return tuple(sorted(found, key=lambda edge: (edge.lo_ns, rank[edge.edge], edge.id)))


def first_effect(found: Iterable[Edge]) -> Edge | None:
    """The first inject of the run; None when nothing was injected."""
    return next((edge for edge in found if edge.edge == "inject"), None)


_FAULT_MARKS = {
    "witnessed": ("inject", "{id} in effect on {target}"),
    "not-witnessed": ("inject", "{id} not seen on {target}"),
    "gone-early": ("inject", "{id} gone early on {target}"),
    "reverting": ("revert", "{id} reverting on {target}"),
    "verified": ("revert", "{id} put back on {target}"),
    "unverified": ("revert", "{id} not proven put back on {target}"),
    "failed": ("inject", "{id} failed on {target}"),
}
_NOTED = frozenset({"settled", "steady", "mutant", "inject", "unreverted", "residue", "refused"})


def marks(events: Iterable[Event]) -> tuple[TimelineMark, ...]:
    """The moments worth a marker, in time order: faults, steps, stack events, unexpected exits, notes, aborts."""
    found: list[TimelineMark] = []
    for event in events:
        mark = _mark(event)
        if mark is not None:
            found.append(TimelineMark(at_ns=event.at_ns, kind=mark[0], text=mark[1]))
    return tuple(sorted(found, key=lambda mark: mark.at_ns))


def _mark(event: Event) -> tuple[str, str] | None:
    match event:
        case FaultEvent(stage=stage, id=id_, target=target) if stage in _FAULT_MARKS:
            kind, text = _FAULT_MARKS[stage]
            return kind, text.format(id=id_, target=target)
        case StepEvent(id=id_, stage=stage):
            return "step", f"step {id_} {stage}"
        case SignalEvent(source=source, event=what) if what not in ("effect", "executed"):
            return "signal", f"{what} ({source})"
        case InstanceEvent(instance=instance, what="exited", detail=detail):
            return "instance", f"{instance} exited{f': {detail}' if detail else ''}"
        case AbortEvent(by=by, reason=reason):
            return "abort", f"aborted by {by}: {reason}"
        case NoteEvent(code=code, text=text, level=level) if code in _NOTED or level != "info":
            return "note", text
        case _:
            return None
