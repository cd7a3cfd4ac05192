"""A runbook document, merged and interpolated, to a `Runbook`, with what a careful reader would object to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from harness.errors import HarnessBug
from harness.model.drill import (
    TEMPLATE_WORDS,
    Command,
    Detection,
    Escalation,
    Runbook,
    RunbookAction,
    Status,
    Template,
)
from harness.spec.decode import decode
from harness.spec.drill_documents import CommandDoc, Deed, EscalationDoc, RunbookActionDoc, RunbookDoc, UnverifiedDoc
from harness.spec.interpolate import anchored
from harness.spec.nodes import ListNode, Plain
from harness.spec.predicate import parse_predicate
from harness.spec.report import At, Report
from harness.units import format_duration

__all__ = ["build_runbook", "named_twice"]

_FALLBACK: Mapping[str, Plain] = {
    "version": 1,
    "kind": "runbook",
    "name": "unnamed",
    "title": "untitled",
    "owner": "nobody",
    "reviewed": "2000-01-01",
    "recovery_objective": "1000d",
    "people": {"nobody": "nobody"},
    "steps": [{"id": "none", "title": "none", "who": "nobody", "run": "none", "verify": "none", "changes": False}],
}


def build_runbook(root: At, report: Report, today: date) -> Runbook | None:
    """The runbook; None when the report has failed. A review that is overdue `today` is a warning."""
    doc = decode(root, RunbookDoc, report, fallback=_FALLBACK)
    if doc is None:
        raise HarnessBug("a runbook document could not be read at all, in spite of its fallbacks")
    known = tuple(key.name for key in _children(root.child("people")))
    for at in _children(root.child("steps")):
        _who(at.child("who"), known, report)
        _lint(at, report)
    named_twice(_children(root.child("steps")), report)
    _escalation(root, known, report)
    _thresholds(root, report)
    _sum(root, doc, report)
    _templates(root, report)
    _review(root, doc, report, today)
    if report.failed:
        return None
    steps = zip(_children(root.child("steps")), doc.steps, strict=True)
    return Runbook(
        name=doc.name,
        title=doc.title,
        owner=doc.owner,
        source=root.node.place.source.name,
        reviewed=doc.reviewed,
        review_every_ns=doc.review_every,
        recovery_objective_ns=doc.recovery_objective,
        people=dict(doc.people),
        triggers=tuple(doc.triggers),
        detection=tuple(
            Detection(signal=one.signal, threshold=one.threshold, alert=one.alert, within_ns=one.within)
            for one in doc.detection
        ),
        escalation=tuple(Escalation(after_ns=one.after, to=one.to) for one in doc.escalation),
        steps=tuple(_action(at, one) for at, one in steps),
        exit_criteria=tuple(doc.exit_criteria),
        comms=_wordings(doc),
    )


def _children(at: At | None) -> tuple[At, ...]:
    return () if at is None else tuple(at.children())


def named_twice(steps: tuple[At, ...], report: Report) -> None:
    """Report an `id` that an earlier step has."""
    seen: set[str] = set()
    for step in steps:
        at = step.child("id")
        if at is None or at.text is None:
            continue
        if at.text in seen:
            report.error(at, f"another step is called {at.text!r} already", remedy="give each step a name of its own")
        seen.add(at.text)


def _who(at: At | None, people: tuple[str, ...], report: Report) -> None:
    if at is not None and at.text is not None and at.text not in people:
        report.unknown(at, "person", people)


def _lint(at: At, report: Report) -> None:
    """What every step owes its reader: how one sees that it worked, and how it is taken back."""
    if "id" not in at.keys or "run" not in at.keys:
        return
    if at.child("verify") is None:
        remedy = "say what to look at, give {exec: [argv]}, or say why not: verify: {none: WHY}"
        report.error(at, "a step without `verify` cannot be known to have worked", remedy=remedy)
    changes = at.child("changes")
    both = [child for child in (at.child("rollback"), at.child("irreversible")) if child is not None]
    if changes is not None and changes.value is False:
        for child in both:
            report.error(child, f"a step that changes nothing has no {child.name}", place=child.key)
    elif not both:
        remedy = "give `rollback:`, say why not with `irreversible: WHY`, or say `changes: false`"
        report.error(at, "a step that changes something needs a way back", remedy=remedy)
    elif len(both) > 1:
        report.error(both[1], "a step with a rollback is not irreversible", place=both[1].key)
    on_fail = at.child("on_fail")
    if on_fail is not None and on_fail.text == "rollback" and at.child("rollback") is None:
        report.error(on_fail, "there is no rollback to make", remedy="give `rollback:`, or say on_fail: stop")


def _escalation(root: At, people: tuple[str, ...], report: Report) -> None:
    at = root.child("escalation")
    before = 0
    for entry in _children(at):
        _who(entry.child("to"), people, report)
        read = decode(entry, EscalationDoc, Report())  # its own problems are told already
        if read is not None:
            after = entry.child("after")
            if read.after <= before and after is not None:
                report.error(after, f"expected more than the {format_duration(before)} before it, got {after.value!r}")
            before = max(before, read.after)


def _thresholds(root: At, report: Report) -> None:
    for entry in _children(root.child("detection")):
        at = entry.child("threshold")
        if at is None or at.text is None:
            continue
        try:
            parse_predicate(at.text)
        except ValueError as exc:
            report.error(at, str(exc).partition("; known: ")[0])


def _sum(root: At, doc: RunbookDoc, report: Report) -> None:
    total = sum(step.expect or 0 for step in doc.steps)
    at = root.child("recovery_objective")
    if at is not None and total > doc.recovery_objective:
        message = f"its steps are expected to take {format_duration(total)}, more than {format_duration(doc.recovery_objective)}"
        report.error(at, message, remedy="the plan cannot meet its own objective: shorten steps, or the promise")
    for step in _children(root.child("steps")):
        if "id" in step.keys and step.child("expect") is None:
            report.warn(step, "no `expect`: this step's time is not counted towards the recovery objective")


def _templates(root: At, report: Report) -> None:
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment()
    for status in _children(root.child("comms")):
        for at in status.children():
            if at.text is None:
                continue
            try:
                named = meta.find_undeclared_variables(environment.parse(at.text))
            except TemplateSyntaxError as exc:
                report.error(at, f"not a template: {exc.message}")
                continue
            for name in sorted(named - set(TEMPLATE_WORDS)):
                report.unknown(at, "word", TEMPLATE_WORDS, name=name)


def _review(root: At, doc: RunbookDoc, report: Report, today: date) -> None:
    at = root.child("reviewed")
    if at is None or at.text is None:
        return
    try:
        reviewed = date.fromisoformat(at.text[:10])
    except ValueError:
        report.error(at, f"there is no such day: {at.text!r}")
        return
    due = reviewed + timedelta(microseconds=doc.review_every / 1_000)
    if reviewed > today:
        report.error(at, f"the day is still to come: {at.text!r}")
    elif due < today:
        report.warn(at, f"its review has been overdue since {due}", remedy="read it through, then state the day")


def _action(at: At, doc: RunbookActionDoc) -> RunbookAction:
    look = doc.verify
    unverified = look.none if isinstance(look, UnverifiedDoc) else None
    return RunbookAction(
        id=doc.id,
        title=doc.title,
        who=doc.who,
        run=_deed(at.child("run"), doc.run),
        verify=None if look is None or isinstance(look, UnverifiedDoc) else _deed(at.child("verify"), look),
        unverified=unverified,
        changes=doc.changes,
        rollback=None if doc.rollback is None else _deed(at.child("rollback"), doc.rollback),
        irreversible=doc.irreversible,
        on_fail=doc.on_fail,
        expect_ns=doc.expect,
    )


def _deed(at: At | None, doc: Deed) -> Command | str:
    if isinstance(doc, str):
        return doc
    assert isinstance(doc, CommandDoc) and at is not None
    command = at.child("exec")
    assert command is not None
    argv = anchored(command.node, text=True)
    words = tuple(str(getattr(item, "value", "")) for item in argv.items) if isinstance(argv, ListNode) else ()
    return Command(argv=words, cwd=str(command.place.source.base), within_ns=doc.within)


def _wordings(doc: RunbookDoc) -> dict[Status, Template]:
    made: dict[Status, Template] = {}
    for status, wording in doc.comms.items():
        pairs = (("internal", wording.internal), ("customer", wording.customer))
        made[status] = {audience: text for audience, text in pairs if text is not None}  # type: ignore[misc]
    return made
