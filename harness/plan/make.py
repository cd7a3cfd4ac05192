"""An experiment -> its plan: targets, instants, sentences, window, forecast, hash. Pure: the same input gives the same hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.errors import Problem, SpecError
from harness.model import chance
from harness.model.catalog import Catalog
from harness.model.experiment import Experiment, FaultEntry, StepEntry
from harness.model.plan import Plan, PlannedFault, PlannedStep, Target
from harness.plan.control_path import refuse_control_path_behind_fault
from harness.plan.forecast import forecasts, recovery_limit_ns
from harness.plan.masking import mask_plan
from harness.plan.targets import check_caps, refuse_overlaps, resolve_targets
from harness.plan.timeline import begins, occurrences
from harness.plan.vain import vain_rules
from harness.units import format_duration

__all__ = ["canonical", "dump_plan", "load_plan", "make_plan", "plan_hash"]

UNPROTECTED = ("local", "test", "staging")
DEFAULT_RATE_PER_S = 10.0
"""Assumed for the window where arrivals do not say their rate (a trace, a closed loop)."""


def make_plan(experiment: Experiment, catalog: Catalog) -> Plan:
    """The frozen plan. Raises SpecError for what the document alone decides, UnsafeError for what must not be touched."""
    spans = begins(experiment.timeline, experiment.seed)
    faults: list[PlannedFault] = []
    steps: list[PlannedStep] = []
    for entry in experiment.timeline:
        at_ns = spans[entry.id][0]
        if isinstance(entry, StepEntry):
            own = PlannedStep(
                id=entry.id, argv=entry.argv, cwd=entry.cwd, at_ns=at_ns, within_ns=entry.within_ns, own=entry.own
            )
            steps.append(own)
        else:
            faults.extend(_planned(entry, at_ns, experiment, catalog))
    check_caps(faults, experiment.stack, experiment.blast_radius)
    refuse_overlaps(faults, catalog)
    refuse_control_path_behind_fault(faults, experiment.stack)
    rate = experiment.load.arrival.lowest_rate_per_s
    window_ns = chance.window_ns(experiment.recovered_when.for_ns or 0, rate or DEFAULT_RATE_PER_S)
    _long_enough(experiment, window_ns)
    plan = Plan(
        experiment=experiment,
        faults=tuple(faults),
        steps=tuple(steps),
        window_ns=window_ns,
        smallest_outage_ns=_smallest(experiment, window_ns, rate),
        longest_ns=_longest_ns(experiment, faults, steps),
        forecasts=forecasts(experiment, tuple(faults)),
        protected=experiment.stack.environment not in UNPROTECTED,
        warnings=(*_warnings(experiment, faults, window_ns), *vain_rules(experiment, faults, steps)),
    )
    return dataclasses.replace(plan, hash=plan_hash(plan))


def _planned(entry: FaultEntry, at_ns: int, experiment: Experiment, catalog: Catalog) -> list[PlannedFault]:
    kind = catalog.fault(entry.kind)
    if "load" in kind.targets:
        _has_a_rate(entry, experiment)
    targets, side = resolve_targets(entry, experiment.stack, catalog, experiment.seed)
    shown = ", ".join(_shown(target) for target in targets)
    words = kind.sentences(
        targets[-1].kind, entry.params.get("via") or entry.params.get("mode")
    )  # of links and a cut, the cut's, which say more
    return [
        PlannedFault(
            id=name,
            entry=entry.id,
            kind=entry.kind,
            params=entry.params,
            targets=targets,
            at_ns=begin_ns,
            for_ns=entry.for_ns,
            jitter_ns=entry.jitter_ns,
            ends_itself=entry.ends_itself,
            expect_no_impact=entry.expect_no_impact,
            what=words.what.format(target=shown, **_worded(entry)),
            clients_see=words.clients_see.format(target=shown, **_worded(entry)),
            on_revert=words.on_revert.format(target=shown, **_worded(entry)),
            side=side,
        )
        for name, begin_ns in occurrences(entry, at_ns)
    ]


def _has_a_rate(entry: FaultEntry, experiment: Experiment) -> None:
    arrival = experiment.load.arrival
    if arrival.users is None and arrival.trace is None:
        return
    closed = "a closed loop" if arrival.users is not None else "a trace"
    raise SpecError(
        Problem(
            file=experiment.source,
            where=f"timeline.{entry.id}",
            message=f"{entry.kind} multiplies a planned rate, and {closed} has none",
            help="write load.arrival with `rate` or `stages`",
        )
    )


def _worded(entry: FaultEntry) -> dict[str, str]:
    return {key: _spoken(value) for key, value in entry.params.items() if key != "target"}


def _spoken(value: object) -> str:
    """A parameter as people write it: a command as one line, a mapping as key=value; durations are kept in nanoseconds."""
    if isinstance(value, list):
        return shlex.join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    text = str(value)
    return format_duration(int(text[:-2])) if text.endswith("ns") and text[:-2].isdigit() else text


def _shown(target: Target) -> str:
    if target.kind in ("stack", "load"):
        return f"the {target.kind}"
    if target.kind == "role":
        return f"whoever holds {target.name}"
    return " and ".join(target.name.split(" | ")) if target.kind == "cut" else f"{target.kind} {target.name}"


def _long_enough(experiment: Experiment, window_ns: int) -> None:
    after_ns = experiment.observe_ns + experiment.settle_ns
    if after_ns < window_ns:
        raise SpecError(
            Problem(
                file=experiment.source,
                where="observe",
                message=f"observe + settle is {format_duration(after_ns)}, shorter than the rule's window of"
                f" {format_duration(window_ns)}: recovery could never be seen",
                help=f"make observe at least {format_duration(window_ns)}",
            )
        )


def _smallest(experiment: Experiment, window_ns: int, rate: float | None) -> int | None:
    if rate is None:
        return None
    steady_ops = int(rate * experiment.steady_state.for_ns / 1e9)
    return chance.smallest_outage_ns(rate, window_ns, experiment.recovered_when.value, steady_ops)


def _longest_ns(experiment: Experiment, faults: list[PlannedFault], steps: list[PlannedStep]) -> int:
    ends = [fault.at_ns + (fault.for_ns or 0) for fault in faults] + [step.at_ns + step.within_ns for step in steps]
    before = experiment.load.warmup_ns + experiment.steady_state.for_ns
    after = experiment.observe_ns + experiment.settle_ns + experiment.load.timeout_ns + experiment.final.within_ns
    return before + max(ends, default=0) + after


def _warnings(experiment: Experiment, faults: list[PlannedFault], window_ns: int) -> tuple[str, ...]:
    limit = recovery_limit_ns(experiment)
    if limit is None:
        return ()
    warnings = []
    for fault in faults:
        if fault.for_ns is None or fault.ends_itself:
            continue
        needs = [("the rule's window", window_ns), ("load.timeout", experiment.load.timeout_ns)]
        for what, extra in needs:
            if fault.for_ns < limit + extra:
                warnings.append(
                    f"{fault.id}: lasts {format_duration(fault.for_ns)}, shorter than the recovery limit plus {what}"
                    f" ({format_duration(limit + extra)}): a late recovery could hide behind the revert"
                )
    return tuple(dict.fromkeys(warnings))


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Plan)


def canonical(plan: Plan) -> Any:
    """The plan as JSON values, its own hash left out and folders of this machine made relative."""
    return _relative(_raw(dataclasses.replace(plan, hash="")), plan)


def _relative(raw: Any, plan: Plan) -> Any:
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    folders = {plan.experiment.base_dir, plan.experiment.stack.base_dir, str(Path(plan.experiment.source).parent)}
    for folder in sorted((f for f in folders if f.startswith("/")), key=len, reverse=True):
        text = text.replace(folder, ".")
    return json.loads(text)


def plan_hash(plan: Plan) -> str:
    """SHA-256 (hex) of the canonical plan."""
    return _digest(canonical(plan))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dump_plan(plan: Plan) -> str:
    """The plan as JSON text, readable by `load_plan`. Values from the environment are not in it."""
    return json.dumps(_raw(plan), indent=1, ensure_ascii=False)


def _raw(plan: Plan) -> Any:
    return mask_plan(_adapter().dump_python(plan, mode="json"), plan.experiment.origin.secrets)


def load_plan(text: str) -> Plan:
    """The plan in JSON text. Raises SpecError when it is not one, or was changed since (its hash does not fit).

    The hash is of the text as it is written, so that a plan stays readable when later versions add to what a plan says.
    """
    try:
        plan: Plan = _adapter().validate_json(text)
    except ValueError as exc:
        raise SpecError(f"not a plan: {exc}") from exc
    found = _digest(_relative({**json.loads(text), "hash": ""}, plan))
    if found != plan.hash:
        raise SpecError(f"the plan was changed after it was made: its hash is {found[:12]}, it says {plan.hash[:12]}")
    return plan
