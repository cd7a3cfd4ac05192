"""Every data check of an experiment, made over one history. Here: which applies, and what becomes of one that crashes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from harness.check.context import CheckContext
from harness.history.history import History
from harness.model.catalog import Catalog, CheckKind
from harness.model.experiment import CheckSpec
from harness.model.plan import Plan
from harness.model.result import CheckResult
from harness.model.verdict import CheckVerdict

__all__ = ["Check", "run_check", "run_checks"]


class Check(Protocol):
    """What a CheckKind's `code` is: a pure function of a history."""

    def __call__(self, history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
        """The verdict. May raise: then it is unknown."""
        ...


def run_checks(
    history: History, plan: Plan, catalog: Catalog, outside: Mapping[str, CheckResult] = MappingProxyType({})
) -> tuple[CheckResult, ...]:
    """The result of every check of the plan's experiment, in the document's order; () when it has none. Never raises.

    `outside`: results, by the check's name, that something else than a pure function came to (the user's own programs).
    """
    specs = plan.experiment.checks
    if not specs:
        return ()
    try:
        context = CheckContext.from_run(history, plan)
    except Exception as exc:  # recorded: a history that cannot be understood makes every check unknown, never valid
        return tuple(_unknown(spec, f"the history cannot be understood: {_named(exc)}") for spec in specs)
    return tuple(outside.get(spec.name) or run_check(history, spec, context, catalog) for spec in specs)


def run_check(history: History, spec: CheckSpec, context: CheckContext, catalog: Catalog) -> CheckResult:
    """The result of one check. Unknown, by name, when it does not fit the profile's model, when there is none, or it crashes."""
    try:
        kind = catalog.check(spec.kind)
        misfit = _misfit(kind, context)
        if misfit is not None:
            return _unknown(spec, misfit)
        code: Check = kind.load()
        return code(history, spec, context)
    except Exception as exc:  # recorded: a crashed check proves nothing, and must not take the others with it
        return _unknown(spec, f"the check crashed: {_named(exc)}")


def _misfit(kind: CheckKind, context: CheckContext) -> str | None:
    model = context.model
    if not context.told:
        return "the run ended before its load said what its operations mean"
    if model is None:
        return "the load profile declares no model: what its operations mean is not known"
    if kind.models and model not in kind.models:
        return f"{kind.name} judges the models {', '.join(sorted(kind.models))}; the load profile's is {model}"
    return None


def _named(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"[:300]


def _unknown(spec: CheckSpec, why: str) -> CheckResult:
    return CheckResult(
        name=spec.name, kind=spec.kind, verdict=CheckVerdict.UNKNOWN, sentence="cannot be told", why_unknown=why
    )
