"""The load of an experiment and the objectives it is measured by: arrivals, groups, profile, SLOs, checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from harness.model.catalog import Catalog
from harness.model.experiment import SLO, ArrivalSpec, CheckSpec, LoadSpec, LocustCrew, ProberSpec, Sine, Spikes, Stage
from harness.model.profiles import PROFILES
from harness.spec.build_stack import Facts
from harness.spec.decode import decode, fields_of, short
from harness.spec.documents import CheckDoc, ExperimentDoc, LoadDoc
from harness.spec.interpolate import absolute
from harness.spec.kinds import params_of, split
from harness.spec.nodes import Entry, ListNode, MapNode, ScalarNode
from harness.spec.predicate import SLICES
from harness.spec.report import At, Report, did_you_mean, known_names

__all__ = ["build_checks", "build_load", "build_slos", "check_names", "group_names", "slo_names"]

_PROFILE = re.compile(r"(?P<path>.+\.py):(?P<name>[A-Za-z_]\w*)")
_BIND = re.compile(r"[^\s:]+:[1-9]\d{0,4}")
_BUILT_IN = re.compile(r"[a-z][a-z0-9_-]*")
_SOURCES = ("rate", "stages", "trace", "users")


def build_load(root: At, doc: LoadDoc, facts: Facts | None, report: Report) -> LoadSpec:
    """The load that the document describes; not to be used when the report has failed."""
    at = root.child("load") or root
    _check_groups(at, doc, facts, report)
    if doc.engine == "locust":
        _check_locust(at, doc, report)
    elif doc.locust is not None:
        at_crew = at.child("locust") or at
        report.error(at_crew, f"engine {doc.engine} has no locust", place=at_crew.key, remedy="say engine: locust")
    if doc.users_max is not None and doc.users_max < doc.users:
        report.error(at.child("users_max") or at, f"expected at least users ({doc.users}), got {doc.users_max}")
    prober = None
    if doc.prober is not None:
        prober = ProberSpec(every_ns=doc.prober.every, timeout_ns=doc.prober.timeout)
    return LoadSpec(
        profile=_profile(at, doc, report),
        arrival=_arrival(at, doc, report),
        timeout_ns=doc.timeout,
        prober=prober,
        groups=dict(doc.groups),
        options=dict(doc.with_),
        users=doc.users,
        users_max=doc.users_max,
        workers=doc.workers,
        warmup_ns=doc.warmup,
        deadline_ns=doc.deadline,
        engine=doc.engine,
        crew=_crew(at, doc, report),
    )


def _arrival(load: At, doc: LoadDoc, report: Report) -> ArrivalSpec:
    at, arrival = load.child("arrival"), doc.arrival
    if at is not None and isinstance(at.node, MapNode):
        given = [key for key in _SOURCES if key in at.keys]
        if len(given) != 1:
            got = " and ".join(given) if given else "none"
            message = f"expected exactly one of {', '.join(_SOURCES)}, got {got}"
            report.error(at, message, remedy="as in arrival: {rate: 60/s}")
    trace = arrival.trace
    trace_at = None if at is None else at.child("trace")
    if trace is not None and trace_at is not None:
        trace = absolute(trace, trace_at.place.source)
        if not Path(trace).is_file():
            report.error(trace_at, f"no file {trace_at.text!r}", remedy="the path is relative to this document")
    return ArrivalSpec(
        shape=arrival.shape,
        rate_per_s=arrival.rate,
        sine=_sine(at, doc, report),
        spikes=_spikes(at, doc, report),
        stages=tuple(Stage(rate_per_s=stage.rate, for_ns=stage.for_) for stage in arrival.stages or ()),
        trace=trace,
        users=arrival.users,
    )


def _sine(at: At | None, doc: LoadDoc, report: Report) -> Sine | None:
    sine = doc.arrival.sine
    if sine is None or at is None:
        return None
    if doc.arrival.rate is None:
        report.error(at.child("sine") or at, "a sine needs a rate to swing around", remedy="add rate: 60/s")
    if not 0 < sine.swing <= 1:
        report.error(
            at.walk("sine", "swing") or at, f"expected a swing above 0% and up to 100%, got {sine.swing * 100:.6g}%"
        )
    return Sine(swing_ratio=sine.swing, period_ns=sine.period)


def _spikes(at: At | None, doc: LoadDoc, report: Report) -> Spikes | None:
    spikes = doc.arrival.spikes
    if spikes is None or at is None:
        return None
    place = at.child("spikes") or at
    if doc.arrival.rate is None:
        report.error(place, "spikes need a rate between them", remedy="add rate: 60/s")
    if doc.arrival.sine is not None:
        report.error(place, "expected sine or spikes, got both")
    if spikes.for_ >= spikes.every:
        report.error(place.child("for") or place, "expected spikes shorter than the time from one to the next")
    return Spikes(rate_per_s=spikes.rate, for_ns=spikes.for_, every_ns=spikes.every)


def _check_groups(load: At, doc: LoadDoc, facts: Facts | None, report: Report) -> None:
    at = load.child("groups")
    if at is None or not isinstance(at.node, MapNode):
        return
    total = sum(doc.groups.values())
    if len(doc.groups) == len(at.keys) and abs(total - 1) > 1e-9:
        report.error(at, f"expected shares that sum to 100%, got {total * 100:.6g}%")
    for child in at.children():
        sort, colon, region = child.name.partition(":")
        if colon and sort == "region" and facts is not None and region not in facts.regions:
            report.unknown(child, "region", facts.regions, place=child.key, name=region)


def _profile(load: At, doc: LoadDoc, report: Report) -> str:
    at = load.child("profile")
    if at is None or at.text is None:
        return doc.profile
    if doc.engine == "locust":
        return _locustfile(at, report)
    match = _PROFILE.fullmatch(doc.profile)
    if match is None:
        if not _BUILT_IN.fullmatch(doc.profile):
            message = f"expected a built-in profile or path.py:ClassName, got {doc.profile!r}"
            report.error(at, message, remedy="as in profile: load/cart.py:CartUser")
        elif doc.profile not in PROFILES:
            message = f"unknown profile {doc.profile!r}{did_you_mean(doc.profile, PROFILES)}"
            remedy = f"{known_names('profile', PROFILES)}; your own is written path.py:ClassName"
            report.error(at, message, remedy=remedy)
        return doc.profile
    path = Path(absolute(match["path"], at.place.source))
    if not path.is_file():
        near = sorted(found.name for found in path.parent.glob("*.py")) if path.parent.is_dir() else []
        message = f"no file {match['path']!r}{did_you_mean(path.name, near)}"
        report.error(at, message, remedy="the path is relative to this document")
    else:
        _expect_class(at, path, match["name"], report)
    return f"{path}:{match['name']}"


def _check_locust(load: At, doc: LoadDoc, report: Report) -> None:
    """Refuse what Locust would pass over in silence."""
    if doc.arrival.users is None:
        place = load.child("arrival") or load
        report.error(place, "engine locust is a closed loop", remedy="as in arrival: {users: 50}")
    for key in ("prober", "groups", "with", "workers"):
        at = load.child(key)
        if at is not None:
            remedy = "say locust: {workers: N}" if key == "workers" else "leave it out, or use engine asyncio"
            report.error(at, f"engine locust has no {key}", place=at.key, remedy=remedy)


def _crew(load: At, doc: LoadDoc, report: Report) -> LocustCrew | None:
    """Locust's workers; None for one process."""
    crew, at = doc.locust, load.child("locust")
    if crew is None or at is None:
        return None
    if crew.workers + crew.remote == 0:
        report.error(at, "expected workers or remote, got neither", remedy="as in locust: {workers: 3}")
    if crew.remote and crew.bind is None:
        remedy = "as in bind: 10.0.0.5:5557, an address of this machine that those workers reach"
        report.error(at, "remote workers need to know where to join: expected bind", remedy=remedy)
    if crew.bind is not None and not _BIND.fullmatch(crew.bind):
        report.error(at.child("bind") or at, f"expected host:port, got {crew.bind!r}", remedy="as in 10.0.0.5:5557")
    return LocustCrew(workers=crew.workers, remote=crew.remote, bind=crew.bind)


def _locustfile(at: At, report: Report) -> str:
    path = Path(absolute(at.text or "", at.place.source))
    if path.suffix != ".py" or not path.is_file():
        report.error(at, f"no locustfile {at.text!r}", remedy="the path is relative to this document")
    return str(path)


def _expect_class(at: At, path: Path, name: str, report: Report) -> None:
    """Look for the class in the file's text: nothing of the file is run before a run."""
    import ast

    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError) as exc:
        report.error(at, f"cannot read {path.name}: {exc}")
        return
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    imported = [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
    ]
    assigned = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    if name == "run" and any(isinstance(node, ast.AsyncFunctionDef) and node.name == name for node in tree.body):
        return  # aiolocust's short form: the file is one user
    if name not in (*names, *imported, *assigned) and "*" not in imported:
        message = f"no class {name!r} in {path.name}{did_you_mean(name, names)}"
        report.error(at, message, remedy=known_names("class", names))


def slo_names(root: At) -> tuple[str, ...]:
    """The names of the SLOs as they are written, in order."""
    at = root.child("slo")
    names = [child.child("name") for child in at.children()] if at is not None else []
    return tuple(name.text for name in names if name is not None and name.text is not None)


def group_names(root: At) -> tuple[str, ...]:
    """The names of the load's groups."""
    at = root.walk("load", "groups")
    return () if at is None else at.keys


def build_slos(root: At, doc: ExperimentDoc, facts: Facts | None, report: Report) -> tuple[SLO, ...]:
    """The SLOs, names unique and targets with an error budget."""
    seen: set[str] = set()
    made = []
    for index, slo in enumerate(doc.slo):
        at = root.walk("slo", index)
        if at is None:
            continue
        if slo.name in seen:
            report.error(at.child("name") or at, f"duplicate SLO {slo.name!r}")
        seen.add(slo.name)
        if not 0 < slo.target < 1:
            report.error(
                at.child("target") or at,
                f"expected a target above 0% and below 100%, got {at.child('target').value!r}",  # type: ignore[union-attr]
                remedy="100% leaves no error budget to spend",
            )
        _check_slice(at.child("on"), root, facts, report)
        made.append(
            SLO(
                name=slo.name,
                target_ratio=slo.target,
                window_ns=slo.window,
                under_ns=slo.under,
                on=dict(slo.on),
                excludes=tuple(slo.excludes),
            )
        )
    return tuple(made)


def _check_slice(at: At | None, root: At, facts: Facts | None, report: Report) -> None:
    """Refuse a slice whose key, region or group is not there."""
    for child in at.children() if at is not None else ():
        if child.name not in SLICES:
            report.unknown(child, "slice", SLICES, place=child.key, name=child.name)
        elif child.name == "group" and child.text is not None and child.text not in group_names(root):
            report.unknown(child, "group", group_names(root))
        elif (
            child.name == "region" and facts is not None and child.text is not None and child.text not in facts.regions
        ):
            report.unknown(child, "region", facts.regions)


def check_names(root: At, catalog: Catalog) -> Mapping[str, tuple[str, ...]] | None:
    """Each check of the document and the counts of its kind; None when some check cannot be told."""
    known = catalog.names("check")
    counts: dict[str, tuple[str, ...]] = {}
    at = root.child("checks")
    if at is not None and not isinstance(at.node, ListNode):
        return None
    for child in at.children() if at is not None else ():
        kind = child.text if child.text is not None else next((key for key in child.keys if key in known), None)
        named = child.child("name") or (child.walk(kind, "name") if kind is not None else None)
        if kind is None or kind not in known:
            return None
        name = named.text if named is not None and named.text is not None else kind
        counts[name] = catalog.check(kind).counts
    return counts


def build_checks(root: At, catalog: Catalog, facts: Facts | None, report: Report) -> tuple[CheckSpec, ...]:
    """The data checks, names unique."""
    at = root.child("checks")
    made: list[CheckSpec] = []
    for child in at.children() if at is not None and isinstance(at.node, ListNode) else ():
        check = _check(child, catalog, report)
        _check_slice(child.child("on"), root, facts, report)
        if check is None:
            continue
        _check_slice(child.walk(check.kind, "on"), root, facts, report)
        if catalog.check(check.kind).needs_journals and facts is not None and not facts.journals:
            remedy = 'name it in the stack file: `signals: {journals: [{name: eu, http: "http://..."}]}`'
            report.error(child, f"{check.kind}: this stack exports no journal", remedy=remedy)
        if any(other.name == check.name for other in made):
            remedy = "give one of them another name, as in {durable: {}, name: durable-writes}"
            report.error(child, f"duplicate check {check.name!r}", remedy=remedy)
        made.append(check)
    return tuple(made)


def _check(at: At, catalog: Catalog, report: Report) -> CheckSpec | None:
    known = catalog.names("check")
    if at.text is not None:
        if at.text not in known:
            report.unknown(at, "check", known)
            return None
        empty = At(node=MapNode(entries={}, place=at.node.place), path=at.path, key=at.key)
        params = params_of(empty, catalog.check(at.text), report)
        return None if params is None else CheckSpec(name=at.text, kind=at.text, params=params)
    beside, named = split(at, fields_of(CheckDoc))
    if not isinstance(at.node, MapNode) or len(named.keys) != 1:
        message = f"expected a check's name or {{NAME: {{...}}}}, got {short(at.value)}"
        report.error(at, message, remedy=known_names("check", known))
        return None
    kind, value = named.keys[0], named.child(named.keys[0])
    assert value is not None
    if kind not in known:
        report.unknown(value, "check", known, place=value.key, name=kind)
        return None
    return _parametrised(kind, value, beside, catalog, report)


def _parametrised(kind: str, value: At, beside: At, catalog: Catalog, report: Report) -> CheckSpec | None:
    model = catalog.check(kind).params
    own = fields_of(model)
    inside, rest = split(value, fields_of(CheckDoc))
    if isinstance(value.node, MapNode):
        # A kind that declares `within` or `on` itself reads them too.
        _, rest = split(value, [key for key in fields_of(CheckDoc) if key not in own])
    elif isinstance(value.node, ScalarNode) and value.node.value is None:
        rest = At(node=MapNode(entries={}, place=value.node.place), path=value.path, key=value.key)
    else:
        entry = Entry(key=value.key or value.node.place, value=value.node)
        rest = At(node=MapNode(entries={kind: entry}, place=value.node.place), path=value.path.rpartition(".")[0])
    params = params_of(rest, catalog.check(kind), report, fields_of(CheckDoc))
    inner = decode(inside, CheckDoc, report)
    outer = decode(beside, CheckDoc, report)
    if params is None or inner is None or outer is None:
        return None
    return CheckSpec(
        name=outer.name or inner.name or kind,
        kind=kind,
        params=params,
        on={str(key): value for on in (inner.on, outer.on) for key, value in on.items()},
        within_ns=outer.within if outer.within is not None else inner.within,
    )
