"""A drill -> its plan: every run of every experiment planned, one hash over all of it. What `drill plan` prints. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from harness.errors import SpecError
from harness.model.catalog import Catalog
from harness.model.drill import Ask, Command, Drill, ExperimentStep, RunbookAction, RunbookStep, Say
from harness.model.plan import Plan
from harness.model.secrets import masked, masked_value
from harness.plan.make import make_plan
from harness.run.repeat import seeds
from harness.units import format_duration

__all__ = ["DrillPlan", "command_words", "dump_drill_plan", "load_drill_plan", "make_drill_plan", "plan_lines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillPlan:
    """A drill to be. `runs` maps an experiment step to the plans of its variants, each once per repeat.

    `hash` is the SHA-256 (hex) of the steps, the commands, the people and the hash of every run's plan: what approvals are
    bound to.
    """

    drill: Drill
    runs: Mapping[str, tuple[tuple[Plan, ...], ...]]
    hash: str = ""

    @property
    def longest_ns(self) -> int:
        """How long its experiments take at most."""
        return sum(plan.longest_ns for variants in self.runs.values() for plans in variants for plan in plans)


def make_drill_plan(drill: Drill, catalog: Catalog) -> DrillPlan:
    """The frozen plan. Raises SpecError and UnsafeError as `make_plan` does, for the first experiment that is refused."""
    runs = {
        step.id: tuple(
            tuple(
                make_plan(dataclasses.replace(variant.experiment, seed=seed), catalog)
                for seed in seeds(variant.experiment.seed, step.times)
            )
            for variant in step.variants
        )
        for step in drill.experiments
    }
    plan = DrillPlan(drill=drill, runs=runs)
    return dataclasses.replace(plan, hash=_hash(plan))


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(DrillPlan)


def _hash(plan: DrillPlan) -> str:
    steps: list[Any] = []
    for step in plan.drill.steps:
        if isinstance(step, ExperimentStep):
            hashes = [[one.hash for one in plans] for plans in plan.runs[step.id]]
            steps.append([step.id, step.require, step.sweep, step.expect, [one.value for one in step.variants], hashes])
        else:
            steps.append(TypeAdapter(type(step)).dump_python(step, mode="json"))
    drill = plan.drill
    whole = {
        "name": drill.name,
        "exercise": drill.exercise,
        "objectives": [one.predicate.text for one in drill.objectives],
        "people": dict(drill.people),
        "approvals": drill.approvals.required,
        "steps": steps,
    }
    text = json.dumps(masked_value(whole, drill.origin.secrets), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.replace(drill.base_dir, ".").encode()).hexdigest()


def dump_drill_plan(plan: DrillPlan) -> str:
    """The plan as JSON text, readable by `load_drill_plan`. Values from the environment are not in it."""
    raw = masked_value(_adapter().dump_python(plan, mode="json"), plan.drill.origin.secrets)
    return json.dumps(raw, indent=1, ensure_ascii=False)


def load_drill_plan(text: str) -> DrillPlan:
    """The plan in JSON text. Raises SpecError when it is not one, or was changed since (its hash does not fit)."""
    try:
        plan: DrillPlan = _adapter().validate_json(text)
    except ValueError as exc:
        raise SpecError(f"not a drill's plan: {exc}") from exc
    if _hash(plan) != plan.hash:
        raise SpecError(
            f"the plan was changed after it was made: it hashes to {_hash(plan)[:12]}, it says {plan.hash[:12]}"
        )
    return plan


def command_words(deed: Command | str) -> str:
    """What is done, in words: a command as it would be typed."""
    import shlex

    return deed if isinstance(deed, str) else shlex.join(deed.argv)


def plan_lines(plan: DrillPlan) -> list[str]:
    """The plan for people, a line each."""
    drill = plan.drill
    lines = [
        f"{drill.name}: {drill.title}",
        f"owner        {drill.owner}",
        f"exercise     {drill.exercise}",
        *(f"objective    {one.predicate} (of every experiment)" for one in drill.objectives),
        *(f"{role:<12} {who}" for role, who in drill.people.items()),
        f"approvals    {drill.approvals.required} needed for a live drill",
    ]
    for number, step in enumerate(drill.steps, start=1):
        lines.append(f"{number:>3}. {_headline(step)}")
        if isinstance(step, ExperimentStep):
            lines += [f"       {line}" for line in _runs(step, plan.runs[step.id])]
        elif isinstance(step, RunbookStep):
            lines += [f"       {line}" for line in _action(step.action)]
    lines += [f"at most      {format_duration(plan.longest_ns)} of experiments", f"plan         {plan.hash[:12]}"]
    return [masked(line, drill.origin.secrets) for line in lines]


def _headline(step: ExperimentStep | Say | Ask | RunbookStep) -> str:
    expect = (
        "" if isinstance(step, ExperimentStep) or step.expect_ns is None else f", in {format_duration(step.expect_ns)}"
    )
    match step:
        case ExperimentStep():
            return f"{step.id}: experiment {step.variants[0].experiment.name}: {step.variants[0].experiment.title}"
        case Say():
            return f"{step.id}: {step.who} says: {step.text}{f' [{step.template}]' if step.template else ''}{expect}"
        case Ask():
            return f"{step.id}: {step.who} is asked: {step.text}{expect}"
        case RunbookStep():
            return f"{step.id}: {step.who} does: {step.action.title} ({step.runbook}){expect}"


def _runs(step: ExperimentStep, variants: tuple[tuple[Plan, ...], ...]) -> list[str]:
    lines = []
    for variant, plans in zip(step.variants, variants, strict=True):
        value = "" if variant.value is None else f"{step.sweep}={variant.value}, "
        lines.append(f"{value}{len(plans)} run(s), {step.require} must pass, plan {plans[0].hash[:12]}")
    lines += [f"{format_duration(fault.at_ns):>8}  {fault.what}" for fault in variants[0][0].faults]
    if step.expect is not None:
        lines.append(f"wanted: {step.expect}")
    return lines


def _action(action: RunbookAction) -> list[str]:
    lines = [f"run: {command_words(action.run)}"]
    lines.append(f"verify: {command_words(action.verify)}" if action.verify else f"not verified: {action.unverified}")
    if action.rollback is not None:
        lines.append(f"rollback: {command_words(action.rollback)}")
    elif action.irreversible is not None:
        lines.append(f"irreversible: {action.irreversible}")
    return lines
