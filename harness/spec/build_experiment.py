"""An experiment document, merged and interpolated, to an `Experiment`. Here: what holds across its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import HarnessBug
from harness.model.catalog import Catalog
from harness.model.experiment import (
    BlastRadius,
    Experiment,
    FaultEntry,
    FinalSpec,
    RunsSpec,
    SteadyState,
    TimelineEntry,
    Traffic,
)
from harness.model.stack import Stack
from harness.spec.build_blackout import build_blackouts
from harness.spec.build_load import build_checks, build_load, build_slos, check_names, group_names, slo_names
from harness.spec.build_stack import Facts
from harness.spec.build_timeline import build_timeline
from harness.spec.decode import decode, fields_of
from harness.spec.documents import ExperimentDoc, FaultDoc, SteadyStateDoc, StepDoc
from harness.spec.nodes import Plain, Source
from harness.spec.predicate import Known, parse_predicate
from harness.spec.report import At, Report, known_names
from harness.spec.rules import predicate, predicates, stated, warn_of_vain

__all__ = ["Surroundings", "build_experiment", "null_is_meant", "wired"]

_FALLBACK: Mapping[str, Plain] = {
    "version": 1,
    "kind": "experiment",
    "name": "unnamed",
    "title": "untitled",
    "hypothesis": "none",
    "stack": "none",
    "load": {"profile": "http", "arrival": {"rate": "1/s"}, "timeout": "1s"},
    "recovered_when": "good >= 99% for 3s",
}
_ENTRY_KEYS = frozenset((*fields_of(FaultDoc), *fields_of(StepDoc)))


def wired(steps: tuple[str | int, ...]) -> bool:
    """Whether the run resolves placeholders in the text at these steps of an experiment document."""
    match steps:
        case ("timeline", _, key, *_):
            return key == "do" or key not in _ENTRY_KEYS
        case ("checks", *_) | ("load", "with", *_):
            return True
    return False


def null_is_meant(steps: tuple[str | int, ...]) -> bool:
    """Whether an empty value at these steps is a kind's or the profile's affair."""
    match steps:
        case ("timeline", _, key, *_):
            return key not in _ENTRY_KEYS
        case ("checks", _, _, *_) | ("load", "with", _, *_):
            return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an experiment needs besides its own document. `stack` and `facts` are None when there is no readable stack."""

    source: Source
    profile: str | None
    stack: Stack | None
    facts: Facts | None


def build_experiment(root: At, catalog: Catalog, report: Report, around: Surroundings) -> Experiment | None:
    """The experiment; None when the report has failed, which then says everything that is wrong."""
    doc = decode(root, ExperimentDoc, report, fallback=_FALLBACK)
    if doc is None:
        raise HarnessBug("an experiment document could not be read at all, in spite of its fallbacks")
    facts = around.facts
    known = Known(
        slos=slo_names(root),
        probes=None if facts is None else facts.probes,
        groups=group_names(root),
        regions=None if facts is None else facts.regions,
        counts=check_names(root, catalog),
    )
    load = build_load(root, doc.load, facts, report)
    slos = build_slos(root, doc, facts, report)
    timeline = build_timeline(root, catalog, facts, report)
    checks = build_checks(root, catalog, facts, report)
    steady = _steady(root, doc.steady_state, known, report)
    rule_at = root.child("recovered_when")
    recovered = predicate(rule_at, known, report, "recovered_when") if rule_at is not None else None
    aborts = predicates(root.child("abort_when"), known, report, "abort_when")
    settled = predicates(root.child("settled_when"), known, report, "settled_when")
    objectives = stated(root.child("objectives"), known, report)
    final = _final(root, doc, facts, report)
    _budget(root, doc, report)
    _blast_radius(root, doc, report)
    blackouts = build_blackouts(root, doc.blackout, report)
    _entry(root, facts, report)
    _recovery_from(root, timeline, report)
    warn_of_vain(root, objectives, facts, report)
    if report.failed or around.stack is None or recovered is None:
        return None
    traffic = doc.traffic
    return Experiment(
        name=doc.name,
        title=doc.title,
        hypothesis=doc.hypothesis,
        owner=doc.owner,
        tags=tuple(doc.tags),
        source=around.source.name,
        base_dir=str(around.source.base),
        profile=around.profile,
        stack=around.stack,
        seed=doc.seed,
        load=load,
        slos=slos,
        traffic=None
        if traffic is None
        else Traffic(at_drill_per_s=traffic.at_drill, mean_per_s=traffic.mean, source=traffic.source),
        budget_left=dict(doc.budget_left),
        steady_state=steady,
        blast_radius=BlastRadius(regions=doc.blast_radius.regions, share_ratio=doc.blast_radius.share),
        timeline=timeline,
        recovered_when=recovered,
        recovery_from=doc.recovery_from,
        abort_when=aborts,
        observe_ns=doc.observe,
        settle_ns=doc.settle,
        settled_when=settled,
        final=final,
        objectives=objectives,
        checks=checks,
        runs=RunsSpec(times=doc.runs.times, require=doc.runs.require),
        covers=tuple(doc.covers),
        blackouts=blackouts,
    )


def _steady(root: At, doc: SteadyStateDoc, known: Known, report: Report) -> SteadyState:
    at = root.walk("steady_state", "require")
    default = tuple(parse_predicate(text) for text in doc.require) if at is None else ()
    require = default or predicates(at, known, report, "steady_state")
    return SteadyState(for_ns=doc.for_, require=require, after=doc.after)


def _final(root: At, doc: ExperimentDoc, facts: Facts | None, report: Report) -> FinalSpec:
    for key in ("regions", "evidence"):
        at = root.walk("final", key)
        for child in at.children() if at is not None and facts is not None else ():
            assert facts is not None
            if child.text is None:
                continue
            if child.text not in facts.regions:
                report.unknown(child, "region", facts.regions)
            elif child.text not in facts.with_entry:
                remedy = "give it `entry:` in the stack file"
                report.error(child, f"region {child.text!r} has no entry to read at", remedy=remedy)
    regions = None if doc.final.regions is None else tuple(doc.final.regions)
    return FinalSpec(within_ns=doc.final.within, regions=regions, evidence=tuple(doc.final.evidence))


def _budget(root: At, doc: ExperimentDoc, report: Report) -> None:
    at, names = root.child("budget_left"), slo_names(root)
    for child in at.children() if at is not None else ():
        if child.name not in names:
            report.unknown(child, "SLO", names, place=child.key, name=child.name)
        elif doc.budget_left.get(child.name, 0) > 1:
            report.error(child, f"expected at most 100%, got {child.value!r}")


def _blast_radius(root: At, doc: ExperimentDoc, report: Report) -> None:
    at = root.walk("blast_radius", "share")
    if at is not None and doc.blast_radius.share > 1:
        report.error(at, f"expected at most 100%, got {at.value!r}")


def _recovery_from(root: At, timeline: tuple[TimelineEntry, ...], report: Report) -> None:
    at = root.child("recovery_from")
    if at is None or at.text is None:
        return
    faults = [entry.id for entry in timeline if isinstance(entry, FaultEntry)]
    if any(entry.id == at.text for entry in timeline if not isinstance(entry, FaultEntry)):
        report.error(
            at, f"{at.text!r} is a step, and recovery counts from a fault", remedy=known_names("fault", faults)
        )
    elif at.text not in faults and not report.failed:
        report.unknown(at, "fault", faults)


def _entry(root: At, facts: Facts | None, report: Report) -> None:
    at = root.child("stack")
    if at is not None and facts is not None and not facts.entry and not facts.with_entry:
        remedy = 'add `entry: "http://${addr:INSTANCE.PORT}"` to the stack file'
        report.error(at, f"stack {facts.name!r} names no entry, so no load could reach it", remedy=remedy)
