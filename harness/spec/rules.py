"""Predicates of an experiment, each where it is used: which measures make sense there, and which can decide anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from harness.model.experiment import StatedPredicate
from harness.model.predicate import Predicate
from harness.spec.build_stack import Facts
from harness.spec.find import in_project
from harness.spec.nodes import ListNode, ScalarNode
from harness.spec.predicate import FAMILIES, Known, parse_predicate
from harness.spec.report import At, Report

__all__ = ["NEEDS_FAULT", "Use", "predicate", "predicates", "stated", "warn_of_vain"]

Use = Literal["recovered_when", "abort_when", "steady_state", "settled_when", "objective"]

_DURATION_HELP = "durations are a number and ns, us, ms, s, m, h or d"
NEEDS_FAULT = frozenset({"recovery_time", "failover", "failback", "detection", "gap"})
"""Measures that mean nothing where nothing is broken."""


def predicate(at: At, known: Known, report: Report, use: Use) -> Predicate | None:
    """The predicate in a text, sensible for its use; None, with a problem, when it is not."""
    if at.text is None:
        return None
    try:
        parsed = parse_predicate(at.text, known)
    except ValueError as exc:
        message = re.sub(r"such as '([^']*)'", r'such as "\1"', str(exc))
        message, _, names = message.partition("; known: ")
        message, _, more = message.partition("; durations are ")
        remedy = f"known: {names}" if names else None
        if more or message.startswith("expected a duration"):
            remedy = _DURATION_HELP
        if isinstance(at.node, ScalarNode) and at.node.secret:
            message = message.replace(at.text, at.node.text)
        report.error(at, message, remedy=remedy)
        return None
    _CHECKS[use](at, parsed, report)
    return parsed


def predicates(at: At | None, known: Known, report: Report, use: Use) -> tuple[Predicate, ...]:
    """The predicates of a list, those that are wrong left out; empty without a list."""
    if at is None or not isinstance(at.node, ListNode):
        return ()
    parsed = [predicate(item, known, report, use) for item in at.children()]
    return tuple(one for one in parsed if one is not None)


def stated(at: At | None, known: Known, report: Report) -> tuple[StatedPredicate, ...]:
    """The objectives of a list, each with the file and line that state it."""
    if at is None or not isinstance(at.node, ListNode):
        return ()
    made = []
    for item in at.children():
        parsed = predicate(item, known, report, "objective")
        if parsed is not None:
            place = item.place
            file = None if place.line is None or place.source.path is None else in_project(place.source.path)
            made.append(StatedPredicate(predicate=parsed, file=file, line=place.line))
    return tuple(made)


def _live(parsed: Predicate) -> str:
    """Why no rule can watch it while a run goes on; empty when one can."""
    family = FAMILIES.get(parsed.measure.name.partition(".")[0])
    if family is None or not family.spanned:
        return f"{parsed.measure.name} has no value"
    where = parsed.measure.where
    if parsed.measure.name.startswith("budget.") and where:
        return f"{parsed.measure.name} of a slice has no value"
    # Who answers says where; who does not, does not: its good share would be 100 % whatever happened.
    places = [key for key in ("phase", "region", "served_by") if key in where]
    if places and not parsed.measure.name.startswith(("latency.", "ttft.")):
        return f"{parsed.measure.name} by {places[0]} has no value"
    return f"{parsed.measure.name} of a phase has no value" if "phase" in where else ""


def _recovered(at: At, parsed: Predicate, report: Report) -> None:
    name, op = parsed.measure.name, parsed.op
    up = name in ("good", "availability") and op in (">=", ">")
    down = name == "bad" and op in ("<=", "<")
    if not (up or down):
        message = f"expected a least share of good ops, got {parsed.text!r}"
        report.error(at, message, remedy='as in recovered_when: "good >= 99% for 3s"')
    elif parsed.measure.where:
        report.error(at, "recovery is of all ops: a slice has no place here", remedy="objectives may name a slice")
    elif _never_false(parsed):
        report.error(at, f"{parsed.text!r} always holds, so nothing could be seen to recover")


def _abort(at: At, parsed: Predicate, report: Report) -> None:
    blind = _live(parsed)
    if blind:
        message = f"{blind} while a run goes on, so this rule would never trip"
        report.error(at, message, remedy="state it under `objectives:`")
    elif _never_true(parsed):
        report.warn(at, f"{parsed.text!r} never holds, so this rule never trips")
    elif _never_false(parsed):
        report.warn(at, f"{parsed.text!r} always holds, so this rule trips at once")


def _calm(at: At, parsed: Predicate, report: Report) -> None:
    blind = _live(parsed)
    if blind:
        report.error(at, f"{blind} before anything is broken", remedy="state it under `objectives:`")
    elif _never_false(parsed):
        report.warn(at, f"{parsed.text!r} always holds, so it says nothing about calm")


def _settled(at: At, parsed: Predicate, report: Report) -> None:
    blind = _live(parsed)
    if blind:
        report.error(at, f"{blind} while the stack settles", remedy="state it under `objectives:`")


def _objective(at: At, parsed: Predicate, report: Report) -> None:
    if parsed.for_ns is not None:
        message = "an objective is judged over the whole run, so `for` says nothing in it"
        report.error(at, message, remedy="leave it out; a phase is named as in good{phase=settle}")
    elif _never_false(parsed):
        report.warn(at, f"{parsed.text!r} always holds: this objective cannot be missed")
    elif _never_true(parsed):
        report.warn(at, f"{parsed.text!r} never holds: this objective cannot be met")


_CHECKS: dict[str, Callable[[At, Predicate, Report], None]] = {
    "recovered_when": _recovered,
    "abort_when": _abort,
    "steady_state": _calm,
    "settled_when": _settled,
    "objective": _objective,
}


def _share(parsed: Predicate) -> bool:
    family = FAMILIES.get(parsed.measure.name.partition(".")[0])
    return parsed.measure.name == "data_loss.share" or (family is not None and family.share)


def _never_false(parsed: Predicate) -> bool:
    # A probe's number and a burn rate know no bounds; everything else is at least 0, and a share at most 1.
    bounded = parsed.unit in ("ns", "ratio", "count")
    return (bounded and parsed.op == ">=" and parsed.value <= 0) or (
        _share(parsed) and parsed.op == "<=" and parsed.value >= 1
    )


def _never_true(parsed: Predicate) -> bool:
    bounded = parsed.unit in ("ns", "ratio", "count")
    return (bounded and parsed.op == "<" and parsed.value <= 0) or (
        _share(parsed) and parsed.op == ">" and parsed.value >= 1
    )


def warn_of_vain(root: At, parsed: tuple[StatedPredicate, ...], facts: Facts | None, report: Report) -> None:
    """Warn of objectives that this experiment cannot miss, or can never know, whatever happens."""
    at = root.child("objectives")
    timeline = root.child("timeline")
    faults = any("fault" in entry.keys for entry in timeline.children()) if timeline is not None else False
    texts = {one.predicate.text: one.predicate for one in parsed}
    for item in at.children() if at is not None else ():
        one = texts.get((item.text or "").strip())
        head = "" if one is None else one.measure.name.partition(".")[0]
        if head in NEEDS_FAULT and not faults:
            report.warn(item, "nothing is broken in this experiment, so this objective cannot be missed")
        if head == "alert" and facts is not None and not facts.alerts:
            remedy = "declare `signals: {alerts: webhook}` in the stack file"
            report.error(item, "this stack receives no alerts, so nothing could measure this", remedy=remedy)
        if head == "data_loss" and facts is not None and not facts.with_entry:
            remedy = "give each region its `entry:` in the stack file"
            report.warn(
                item, "no region has an entry, so there are no final reads: data_loss stays unknown", remedy=remedy
            )
