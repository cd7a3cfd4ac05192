"""A drill document, merged and interpolated, to a `Drill`. Here: what holds across its steps. Handed in: how documents load."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from harness.errors import HarnessBug
from harness.model.drill import (
    Approvals,
    Ask,
    Channel,
    CommsSpec,
    Drill,
    DrillStep,
    ExperimentStep,
    Runbook,
    RunbookAction,
    RunbookStep,
    Say,
    Schedule,
    Variant,
)
from harness.model.experiment import Experiment, FaultEntry, StatedPredicate
from harness.model.predicate import Predicate
from harness.model.verdict import Verdict
from harness.spec.build_blackout import build_blackouts
from harness.spec.build_runbook import named_twice
from harness.spec.decode import decode
from harness.spec.drill_documents import STEP_DOCS, AskDoc, DrillDoc, DrillExperimentDoc, DrillRunbookDoc, SayDoc
from harness.spec.find import in_project
from harness.spec.nodes import Plain, ScalarNode, Source
from harness.spec.predicate import Known, parse_predicate
from harness.spec.report import At, Report, known_names
from harness.spec.rules import NEEDS_FAULT
from harness.spec.scalars import Doc
from harness.units import format_duration

__all__ = ["Loaders", "build_drill", "step_kind"]

_FALLBACK: Mapping[str, Plain] = {
    "version": 1,
    "kind": "drill",
    "name": "unnamed",
    "owner": "nobody",
    "steps": [{"say": "none", "who": "nobody"}],
}
_URL = re.compile(r"https?://[^/\s]+.*")
_CRON_FIELDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaders:
    """How the documents that a drill cites are read. Each reports what is wrong itself and then gives None.

    `experiment` takes the place that names it and `--set` overrides, `runbook` the place and the path in it.
    """

    experiment: Callable[[At, tuple[str, ...]], Experiment | None]
    runbook: Callable[[At, str], Runbook | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stated:
    at: At
    predicate: Predicate


def build_drill(root: At, report: Report, source: Source, loaders: Loaders) -> Drill | None:
    """The drill; None when the report has failed, which then says everything that is wrong, also in the documents cited."""
    doc = decode(root, DrillDoc, report, fallback=_FALLBACK)
    if doc is None:
        raise HarnessBug("a drill document could not be read at all, in spite of its fallbacks")
    people = root.child("people")
    known = () if people is None else people.keys
    objectives = _objectives(root, report)
    at_steps = root.child("steps")
    places = () if at_steps is None else tuple(at_steps.children())
    named_twice(places, report)
    reader = _Steps(report=report, people=known, objectives=objectives, loaders=loaders)
    reader.given = {at.text for at in (place.child("id") for place in places) if at is not None and at.text is not None}
    lines: dict[str, int] = {}
    for at in places:
        known_before = len(reader.steps)
        reader.read(at)
        line = at.place.line
        if at.place.source.name == source.name and line is not None:
            lines |= {step.id: line for step in reader.steps[known_before:]}
    _fits(root, reader.steps, objectives, report)
    _covered(reader.steps, objectives, report)
    schedule = _schedule(root, doc, report)
    comms = _comms(root, doc, reader, report)
    if report.failed:
        return None
    return Drill(
        name=doc.name,
        title=doc.title or doc.name,
        owner=doc.owner,
        source=source.name,
        base_dir=str(source.base),
        exercise=doc.exercise,
        people=dict(doc.people),
        objectives=tuple(_stated(one) for one in objectives),
        approvals=Approvals(required=doc.approvals.required),
        schedule=schedule,
        comms=comms,
        findings_due_ns={"high": doc.findings.high, "medium": doc.findings.medium, "low": doc.findings.low},
        steps=tuple(reader.steps),
        lines=lines,
    )


def step_kind(at: At) -> str | None:
    """The key that says what a step of a drill is, or None."""
    return next((key for key in at.keys if key in STEP_DOCS), None)


def _objectives(root: At, report: Report) -> tuple[_Stated, ...]:
    at = root.child("objectives")
    made = []
    for item in () if at is None else at.children():
        if item.text is None:
            continue
        try:
            made.append(_Stated(at=item, predicate=parse_predicate(item.text)))
        except ValueError as exc:
            message, _, names = str(exc).partition("; known: ")
            report.error(item, message, remedy=f"known: {names}" if names else None)
    return tuple(made)


def _stated(one: _Stated) -> StatedPredicate:
    place = one.at.place
    file = None if place.source.path is None else in_project(place.source.path)
    return StatedPredicate(predicate=one.predicate, file=file, line=place.line)


class _Steps:
    """Reads steps one after another; `steps` are those that are right, named apart."""

    def __init__(
        self, *, report: Report, people: tuple[str, ...], objectives: tuple[_Stated, ...], loaders: Loaders
    ) -> None:
        self.steps: list[DrillStep] = []
        self.runbooks: dict[str, Runbook] = {}
        self.given: set[str] = set()
        self.loaders = loaders
        self._report, self._people, self._objectives = report, people, objectives

    def read(self, at: At) -> None:
        kind = step_kind(at)
        if kind is None:
            remedy = "as in {experiment: region-kill}, {runbook: ...}, {say: ..., who: ...} or {ask: ..., who: ...}"
            self._report.error(at, f"expected a step with one of {', '.join(STEP_DOCS)}", remedy=remedy)
            return
        doc = decode(at, STEP_DOCS[kind], self._report)
        who = at.child("who")
        if who is not None and who.text is not None and who.text not in self._people:
            self._report.unknown(who, "person", self._people)
        if doc is not None:
            self._build(at, doc)

    def _build(self, at: At, doc: Doc) -> None:
        match doc:
            case SayDoc():
                name = self._name(doc.id, f"say-{doc.template}" if doc.template else "say")
                say = Say(id=name, text=doc.say, who=doc.who, template=doc.template, expect_ns=doc.expect)
                self.steps.append(say)
            case AskDoc():
                name = self._name(doc.id, "ask")
                self.steps.append(Ask(id=name, text=doc.ask, who=doc.who, expect_ns=doc.expect))
            case DrillRunbookDoc():
                self._runbook(at, doc)
            case DrillExperimentDoc():
                self._experiment(at, doc)

    def _name(self, given: str | None, otherwise: str) -> str:
        """The step's own name, or one that no other step has."""
        if given is not None:
            return given
        taken = self.given | {step.id for step in self.steps}
        name, count = otherwise, 2
        while name in taken:
            name, count = f"{otherwise}-{count}", count + 1
        return name

    def _runbook(self, at: At, doc: DrillRunbookDoc) -> None:
        place = at.child("runbook")
        assert place is not None
        path, _, wanted = doc.runbook.partition("#")
        runbook = self.loaders.runbook(place, path)
        if runbook is None:
            return
        self.runbooks[path] = runbook
        chosen = [one for one in runbook.steps if not wanted or one.id == wanted]
        if not chosen:
            self._report.unknown(place, f"step of {runbook.name}", [one.id for one in runbook.steps], name=wanted)
        for action in chosen:
            given = doc.id if doc.id is None or wanted else f"{doc.id}.{action.id}"
            self._cited(at, doc.model_copy(update={"id": given}), runbook, action)

    def _cited(self, at: At, doc: DrillRunbookDoc, runbook: Runbook, action: RunbookAction) -> None:
        who = doc.who or action.who
        if who not in self._people and doc.who is None:
            remedy = f"{known_names('person', self._people)}; say `who:` here, or add {who!r} to people"
            self._report.error(
                at, f"step {action.id!r} of {runbook.name} is for {who!r}, who is not here", remedy=remedy
            )
        name = self._name(doc.id, action.id)
        expect = doc.expect if doc.expect is not None else action.expect_ns
        self.steps.append(RunbookStep(id=name, runbook=runbook.name, action=action, who=who, expect_ns=expect))

    def _experiment(self, at: At, doc: DrillExperimentDoc) -> None:
        place = at.child("experiment")
        assert place is not None
        sweep = None if doc.sweep is None else next(iter(doc.sweep))
        values = [None] if doc.sweep is None or sweep is None else _values(at, sweep)
        if sweep is not None and doc.find is None:
            self._report.error(at, "a sweep says what it looks for", remedy="add `find: highest passing`")
        elif doc.find is not None and sweep is None:
            self._report.error(
                at, "there is no `sweep` to find it in", remedy="as in {load.arrival.rate: [20/s, 40/s]}"
            )
        if sweep is not None and not values:
            self._report.error(at, f"the sweep over {sweep!r} has no values")
        self._expected(at, doc)
        variants = []
        for value in values:
            loaded = self.loaders.experiment(place, () if value is None else (f"{sweep}={value}",))
            if loaded is None:
                return
            variants.append(Variant(value=value, experiment=self._with_objectives(loaded)))
        if not variants:
            return
        first = variants[0].experiment
        runs = first.runs if doc.runs is None else doc.runs
        name = self._name(doc.id, first.name)
        self.steps.append(
            ExperimentStep(
                id=name,
                variants=tuple(variants),
                times=runs.times,
                require=runs.require,
                sweep=sweep,
                expect=doc.expect,
            )
        )

    def _expected(self, at: At, doc: DrillExperimentDoc) -> None:
        place = at.child("expect")
        if doc.expect is None or place is None:
            return
        name = doc.expect.partition(":")[0].strip().upper()
        if name not in Verdict.__members__:
            self._report.unknown(place, "verdict", [str(one) for one in Verdict], name=name)
        elif doc.sweep is not None:
            self._report.error(place, "a sweep looks for what passes, and expects nothing else", place=place.key)

    def _with_objectives(self, experiment: Experiment) -> Experiment:
        """The experiment with the drill's objectives besides its own; those about a fault only where there is one."""
        own = {one.predicate.text for one in experiment.objectives}
        faults = any(isinstance(entry, FaultEntry) for entry in experiment.timeline)
        added = []
        for one in self._objectives:
            text = one.predicate.text
            head = one.predicate.measure.name.partition(".")[0]
            if text in own or (head in NEEDS_FAULT and not faults):
                continue
            try:
                parse_predicate(text, _known(experiment))
            except ValueError as exc:
                message, _, names = str(exc).partition("; known: ")
                remedy = f"known: {names}" if names else None
                self._report.error(one.at, f"{message}, in experiment {experiment.name!r}", remedy=remedy)
            added.append(_stated(one))
        return replace(experiment, objectives=(*experiment.objectives, *added))


def _values(at: At, sweep: str) -> list[str | None]:
    """The values as they are written, since `--set` reads them again."""
    listed = at.walk("sweep", sweep)
    nodes = () if listed is None else tuple(child.node for child in listed.children())
    return [str(node.value) for node in nodes if isinstance(node, ScalarNode)]


def _known(experiment: Experiment) -> Known:
    return Known(
        slos=tuple(slo.name for slo in experiment.slos),
        probes=tuple(experiment.stack.probes),
        groups=tuple(experiment.load.groups),
        regions=tuple(experiment.stack.regions),
    )


def _covered(steps: list[DrillStep], objectives: tuple[_Stated, ...], report: Report) -> None:
    """Report an objective that no experiment of the drill can decide."""
    if report.failed:
        return
    judged = {
        one.predicate.text
        for step in steps
        if isinstance(step, ExperimentStep)
        for variant in step.variants
        for one in variant.experiment.objectives
    }
    for one in objectives:
        if one.predicate.text not in judged:
            message = "no experiment of this drill breaks anything, so nothing decides this objective"
            report.error(one.at, message, remedy="add an experiment with a fault, or leave the objective out")


def _fits(root: At, steps: list[DrillStep], objectives: tuple[_Stated, ...], report: Report) -> None:
    """Report runbook steps that are expected to take longer than the drill's own recovery objective."""
    total = sum(step.expect_ns or 0 for step in steps if isinstance(step, RunbookStep))
    for one in objectives:
        predicate = one.predicate
        if predicate.measure.name == "recovery_time" and predicate.op in ("<=", "<") and total > predicate.value:
            message = (
                f"the runbook's steps are expected to take {format_duration(total)}, more than this objective allows"
            )
            report.error(one.at, message, remedy="shorten the steps (`expect`), or the promise is not kept on paper")


def _schedule(root: At, doc: DrillDoc, report: Report) -> Schedule | None:
    if doc.schedule is None:
        return None
    from cronsim import CronSim, CronSimError

    at, zone = root.walk("schedule", "cron"), root.walk("schedule", "timezone")
    try:
        ZoneInfo(doc.schedule.timezone)
    except (ValueError, OSError, KeyError):
        if zone is not None:
            report.error(zone, f"unknown time zone {doc.schedule.timezone!r}", remedy="as in Europe/Berlin, or UTC")
    if at is not None:
        try:
            if len(doc.schedule.cron.split()) != _CRON_FIELDS:
                raise CronSimError("expected five fields")
            next(CronSim(doc.schedule.cron, datetime(2026, 1, 1)), None)
        except CronSimError as exc:
            message = f"not a cron line: {doc.schedule.cron!r} ({str(exc).lower()})"
            report.error(at, message, remedy='minute hour day month weekday, as in "0 10 * * 2"')
    inner = root.child("schedule")
    blackouts = () if inner is None else build_blackouts(inner, doc.schedule.blackout, report)
    return Schedule(cron=doc.schedule.cron, timezone=doc.schedule.timezone, blackouts=blackouts)


def _comms(root: At, doc: DrillDoc, reader: _Steps, report: Report) -> CommsSpec | None:
    if doc.comms is None:
        return None
    at = root.child("comms")
    channels = None if at is None else at.child("channels")
    for entry in () if channels is None else channels.children():
        url = entry.child("webhook")
        if url is not None and url.text is not None and not _URL.fullmatch(url.text):
            report.error(url, f"expected an http or https URL, got {url.value!r}")
        if (url is None) == (entry.child("apprise") is None):
            report.error(entry, "expected either `webhook` or `apprise`", remedy="a channel is one address")
    named = None if at is None else at.child("templates")
    runbook = None
    if named is not None and named.text is not None:
        runbook = reader.runbooks.get(named.text) or reader.loaders.runbook(named, named.text)
    return CommsSpec(
        first_update_ns=doc.comms.first_update,
        cadence_ns=doc.comms.cadence,
        channels=tuple(
            Channel(webhook=one.webhook, apprise=one.apprise, audience=one.audience) for one in doc.comms.channels
        ),
        follow=doc.comms.follow,
        templates={} if runbook is None else runbook.comms,
    )
