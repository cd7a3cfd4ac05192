"""The timeline of an experiment: faults and steps, when they happen, what they touch, and whether the kind can do that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, cast

from harness.model.catalog import Catalog, FaultKind
from harness.model.experiment import At as Moment
from harness.model.experiment import FaultEntry, Repeat, Selector, StepEntry, TimelineEntry
from harness.model.fields import JsonObject
from harness.spec.build_stack import Facts
from harness.spec.decode import decode, fields_of, short
from harness.spec.documents import FaultDoc, SelectorDoc, StepDoc
from harness.spec.interpolate import absolute, anchored
from harness.spec.kinds import INSTEAD, params_of, split
from harness.spec.nodes import ListNode, MapNode
from harness.spec.report import At, Report, did_you_mean, known_names
from harness.units import parse_duration

__all__ = ["build_timeline"]

By = Literal["region", "service", "instance", "role", "link"]
_BY: tuple[By, ...] = ("region", "service", "instance", "role", "link")
_AFTER = re.compile(r"(?P<entry>[\w-]+)\.(?P<edge>[a-z]+)(?:\s*\+\s*(?P<offset>.+))?")
_FAULT_ONLY = ("for", "on", "between", "repeat", "ends", "expect")
_STEP_ONLY = ("within", "own")


def build_timeline(root: At, catalog: Catalog, facts: Facts | None, report: Report) -> tuple[TimelineEntry, ...]:
    """The entries in file order, those that are wrong left out. `facts` None: the stack is unknown, names are not checked."""
    at = root.child("timeline")
    if at is None or not isinstance(at.node, ListNode):
        return ()
    ids = _ids(at, report)
    reader = _Reader(catalog=catalog, facts=facts, report=report, ids=ids, timeline=at)
    entries = [reader.entry(index, child) for index, child in enumerate(at.children())]
    return tuple(entry for entry in entries if entry is not None)


def _ids(timeline: At, report: Report) -> tuple[str, ...]:
    """Every entry's id, in order: as written, or made from what the entry is ("kill", then "kill-2")."""
    written: dict[str, At] = {}
    for child in timeline.children():
        at = child.child("id")
        if at is not None and at.text is not None:
            if at.text in written:
                first = written[at.text].place.line
                report.error(
                    at, f"duplicate id {at.text!r}", remedy=f"it is first used in line {first}" if first else None
                )
            written.setdefault(at.text, at)
    ids: list[str] = []
    for child in timeline.children():
        at, fault = child.child("id"), child.child("fault")
        if at is not None and at.text is not None:
            ids.append(at.text)
            continue
        stem = fault.text if fault is not None and fault.text else "step"
        number = 1
        while (name := stem if number == 1 else f"{stem}-{number}") in written or name in ids:
            number += 1
        ids.append(name)
    return tuple(ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    catalog: Catalog
    facts: Facts | None
    report: Report
    ids: tuple[str, ...]
    timeline: At

    def entry(self, index: int, at: At) -> TimelineEntry | None:
        keys = at.keys
        if not isinstance(at.node, MapNode):
            example = "as in {fault: kill, on: {instance: NAME}, for: 10s}"
            self.report.error(at, f"expected a mapping, got {short(at.value)}", remedy=example)
            return None
        if "fault" in keys and "do" in keys:
            self.report.error(at, "expected a fault or a step, got both", remedy="make them two entries")
            return None
        if "do" in keys:
            return self.step(index, at)
        if "fault" in keys:
            return self.fault(index, at)
        near = next((key for key in keys if did_you_mean("fault", [key]) or key in ("faults", "kind", "step")), None)
        place = None if near is None else at.child(near)
        self.report.error(
            at,
            "expected `fault:` or `do:`" + ("" if near is None else f", got {near!r}"),
            remedy=known_names("fault", self.catalog.names("fault")),
            place=None if place is None else place.key,
        )
        return None

    # ---- steps

    def step(self, index: int, at: At) -> StepEntry | None:
        for key in _FAULT_ONLY:
            child = at.child(key)
            if child is not None:
                message = f"{key!r} is for faults: a step is never reverted"
                self.report.error(child, message, place=child.key, remedy="its time to end is `within`")
        assert isinstance(at.node, MapNode)
        at = At(node=at.node.without(*_FAULT_ONLY), path=at.path, key=at.key)
        moment = self.moment(index, at)
        doc = decode(at, StepDoc, self.report)
        command = at.walk("do", "exec")
        if doc is None or command is None:
            return None
        argv = anchored(command.node, text=True)
        folder = at.walk("do", "cwd") or command
        return StepEntry(
            id=self.ids[index],
            argv=tuple(str(getattr(item, "value", "")) for item in argv.items) if isinstance(argv, ListNode) else (),
            cwd=absolute(doc.do.cwd or ".", folder.place.source, wired=True),
            at=moment,
            within_ns=doc.within,
            jitter_ns=doc.jitter,
            own=doc.own,
        )

    # ---- faults

    def fault(self, index: int, at: At) -> FaultEntry | None:
        moment = self.moment(index, at)
        reserved, rest = split(at, fields_of(FaultDoc))
        kind = self.kind(at)
        doc = decode(reserved, FaultDoc, self.report)
        params = None
        if kind is not None:
            rest = self._without_step_keys(rest, kind)
            params = params_of(rest, kind, self.report, fields_of(FaultDoc))
            if params is not None and "cwd" in params and params["cwd"] is None:
                params["cwd"] = absolute(".", at.place.source, wired=True)
        if doc is None:
            return None
        on = self.selector(at.child("on"), doc.on)
        between = self.between(at, doc)
        if kind is not None:
            self._targets(at, kind, on, params)
            self._times(at, kind, doc)
        if kind is None or params is None:
            return None
        return FaultEntry(
            id=self.ids[index],
            kind=kind.name,
            params=params,
            at=moment,
            on=on,
            between=between,
            for_ns=doc.for_,
            jitter_ns=doc.jitter,
            repeat=None if doc.repeat is None else Repeat(every_ns=doc.repeat.every, times=doc.repeat.times),
            ends_itself=doc.ends is not None,
            expect_no_impact=doc.expect is not None,
        )

    def kind(self, at: At) -> FaultKind | None:
        fault = at.child("fault")
        assert fault is not None
        if fault.text is None:
            return None
        if fault.text not in self.catalog.names("fault"):
            instead = INSTEAD.get(("fault", fault.text))
            if instead is not None:
                self.report.error(fault, f"unknown fault {fault.text!r}", remedy=instead)
            else:
                self.report.unknown(fault, "fault", self.catalog.names("fault"))
            return None
        return self.catalog.fault(fault.text)

    def _without_step_keys(self, rest: At, kind: FaultKind) -> At:
        foreign = [key for key in _STEP_ONLY if key in rest.keys and key not in fields_of(kind.params)]
        for key in foreign:
            child = rest.child(key)
            assert child is not None
            self.report.error(child, f"{key!r} is for steps (`do:`), not for faults", place=child.key)
        assert isinstance(rest.node, MapNode)
        return At(node=rest.node.without(*foreign), path=rest.path, key=rest.key)

    def _targets(self, at: At, kind: FaultKind, on: Selector | None, params: JsonObject | None) -> None:
        """Refuse targets that the kind cannot touch, as far as documents tell."""
        on_at, between_at = at.child("on"), at.child("between")
        if on_at is not None and between_at is not None:
            self.report.error(between_at, "expected `on` or `between`, got both", place=between_at.key)
            return
        if between_at is not None:
            if not kind.two_sided:
                message = f"{kind.name} has one target, not two sides"
                self.report.error(between_at, message, place=between_at.key, remedy="write `on:`")
            return
        if on_at is None and kind.targets & {"stack", "load"}:
            return
        if on_at is None:
            form = "`between: [A, B]`" if kind.two_sided else "`on:`"
            self.report.error(at, f"{kind.name} needs a target", remedy=f"say what is broken with {form}")
            return
        if on is None:
            return
        wanted = "link" if on.by == "link" else "instance"
        alone = kind.is_alone(params or {})
        if alone and kind.alone and wanted != "instance":
            told = ", ".join(f"{key}: {(params or {})[key]}" for key in kind.alone)
            self.report.error(on_at, f"{kind.name} with `{told}` works on instances, not on a {on.by}")
        elif wanted not in kind.targets or (kind.two_sided and wanted == "instance" and not alone):
            if kind.targets <= {"stack", "load"}:
                message, remedy = f"{kind.name} works on the whole {' or '.join(sorted(kind.targets))}", "remove `on`"
            elif kind.two_sided and on.by != "link":
                message, remedy = f"{kind.name} cuts between two sides, got one", "write between: [{...}, {...}]"
            else:
                places = " and ".join(f"{one}s" for one in sorted(kind.targets - {"stack", "load"}))
                message = f"{kind.name} works on {places}, not on {'an' if on.by == 'instance' else 'a'} {on.by}"
                remedy = "select by link" if "link" in kind.targets else "select by region, service, instance or role"
            self.report.error(on_at, message, remedy=remedy)
        elif wanted == "instance":
            self._hosts(on_at, kind, on, params)

    def _hosts(self, at: At, kind: FaultKind, on: Selector, params: JsonObject | None) -> None:
        for name, host in self._instances(on):
            refused = None if host is None else kind.refusal(params or {}, host)
            if refused is not None:
                remedy = f"{kind.name} {refused}"
                self.report.error(at, f"{kind.name} does not work on {name}, whose host is {host}", remedy=remedy)

    def _instances(self, on: Selector) -> Iterator[tuple[str, str | None]]:
        """The instances that a selector means, with their host kinds; none for roles, whose holder is asked later."""
        if self.facts is None or on.by == "role":
            return
        for name, (region, service, host) in self.facts.instances.items():
            own = {"region": region, "service": service, "instance": name}[on.by]
            names = {name, f"instance:{name}", f"region:{region}", f"service:{service}"}
            allowed = any(fnmatchcase(one, pattern) for one in names for pattern in self.facts.drillable)
            if own in on.names and (allowed or not on.only_drillable):
                yield name, host

    def _times(self, at: At, kind: FaultKind, doc: FaultDoc) -> None:
        for_at, ends_at, repeat_at = at.child("for"), at.child("ends"), at.child("repeat")
        if for_at is not None and kind.instant:
            message = f"{kind.name} is over at once and takes no `for`"
            self.report.error(for_at, message, place=for_at.key, remedy="remove it")
        if ends_at is not None and for_at is None and not kind.instant:
            self.report.error(
                ends_at, "a fault without `for` stands until heal: it does not end itself", place=ends_at.key
            )
        if repeat_at is None or doc.repeat is None:
            return
        if for_at is None and not kind.instant:
            self.report.error(
                repeat_at, "a fault that repeats needs `for`: how long each one lasts", place=repeat_at.key
            )
        elif doc.for_ is not None and doc.for_ >= doc.repeat.every:
            every = repeat_at.child("every") or repeat_at
            given = for_at.value if for_at is not None else None
            self.report.error(every, f"expected more than the fault's `for` ({given}), got {every.value!r}")

    # ---- selectors

    def selector(self, at: At | None, doc: SelectorDoc | None) -> Selector | None:
        if at is None or doc is None or not isinstance(at.node, MapNode):
            return None
        given = [by for by in _BY if by in at.keys]
        if len(given) != 1:
            got = " and ".join(given) if given else "none"
            message = f"expected one of {', '.join(_BY)}, got {got}"
            self.report.error(at, message, remedy="several of one sort are a list: {region: [eu, us]}")
            return None
        by = given[0]
        value = cast("str | list[str] | None", getattr(doc, by))
        if value is None:
            return None
        names = (value,) if isinstance(value, str) else tuple(value)
        self._names(at, by, names)
        return Selector(by=by, names=names, pick=doc.pick, only_drillable=doc.only is not None)

    def _names(self, at: At, by: By, names: tuple[str, ...]) -> None:
        value = at.child(by)
        if self.facts is None or value is None:
            return
        if not names:
            self.report.error(value, f"no {by} is named")
        known: Mapping[By, tuple[str, ...]] = {
            "region": self.facts.regions,
            "service": self.facts.services,
            "instance": tuple(self.facts.instances),
            "role": self.facts.roles,
            "link": self.facts.links,
        }
        items = list(value.children()) or [value]
        for item, name in zip(items, names, strict=False):
            if name not in known[by]:
                self.report.unknown(item, by, known[by], name=name)
            elif by == "region" and not any(region == name for region, _, _ in self.facts.instances.values()):
                self.report.error(item, f"region {name!r} has no instances")

    def between(self, at: At, doc: FaultDoc) -> tuple[tuple[Selector, ...], tuple[Selector, ...]] | None:
        value = at.child("between")
        if value is None or doc.between is None or not isinstance(value.node, ListNode):
            return None
        sides = []
        for child, side in zip(value.children(), doc.between, strict=False):
            pairs = list(zip(child.children(), side, strict=False)) if isinstance(side, list) else [(child, side)]
            selectors = [self.selector(one, selector) for one, selector in pairs]
            for one, selector in zip((one for one, _ in pairs), selectors, strict=True):
                if selector is not None and selector.by == "link":
                    self.report.error(
                        one, "a side is made of instances, got a link", remedy="cut one link with `on: {link: NAME}`"
                    )
            if not pairs:
                self.report.error(child, "a side names at least one selector")
            sides.append(tuple(selector for selector in selectors if selector is not None))
        return (sides[0], sides[1]) if len(sides) == 2 else None

    # ---- moments

    def moment(self, index: int, entry: At) -> Moment:
        """The moment under `at`; T0, and a problem, when it cannot be read."""
        at = entry.child("at")
        if at is None or at.text is None:
            return Moment(offset_ns=0)
        text = at.text.strip()
        match = _AFTER.fullmatch(text)
        help_ = 'as in "5s", or "ID.start + 2s", "ID.end + 2s"'
        try:
            if match is None or match["edge"] not in ("start", "end"):
                return Moment(offset_ns=parse_duration(text))
            offset = 0 if match["offset"] is None else parse_duration(match["offset"])
        except ValueError:
            message = f"expected a duration or a moment of an entry before, got {at.text!r}"
            if match is not None and match["edge"] not in ("start", "end") and match["entry"] in self.ids:
                message = f"expected start or end after {match['entry']}., got {match['edge']!r}"
            self.report.error(at, message, remedy=help_)
            return Moment(offset_ns=0)
        name, edge = match["entry"], match["edge"]
        self._refer(index, at, name, edge)
        return Moment(offset_ns=offset, entry=name, edge="start" if edge == "start" else "end")

    def _refer(self, index: int, at: At, name: str, edge: str) -> None:
        if name not in self.ids:
            self.report.unknown(at, "entry", self.ids[:index], name=name)
            return
        other = self.ids.index(name)
        if other == index:
            self.report.error(at, f"{name!r} cannot happen after itself")
        elif other > index:
            message = f"{name!r} comes later in the timeline"
            self.report.error(at, message, remedy="an entry refers to those before it: move it down")
        elif edge == "end" and not self._ends(other):
            message = f"{name!r} has no end: it stands until heal"
            self.report.error(at, message, remedy="give it `for`, or count from its start")

    def _ends(self, index: int) -> bool:
        entry = self.timeline.child(index)
        if entry is None or "fault" not in entry.keys or "for" in entry.keys:
            return True
        fault = entry.child("fault")
        known = self.catalog.names("fault")
        return fault is None or fault.text not in known or self.catalog.fault(str(fault.text)).instant
