"""Documents to model values: read, merge, fill in, check, build. The way in for everyone else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from harness.errors import HarnessBug, Problem, SpecError
from harness.model.catalog import Catalog
from harness.model.experiment import Experiment, Origin
from harness.model.secrets import masked
from harness.model.stack import Stack
from harness.spec import build_experiment as of_experiment
from harness.spec import build_stack as of_stack
from harness.spec.build_experiment import Surroundings, build_experiment
from harness.spec.build_stack import Facts, build_stack, facts_of
from harness.spec.decode import with_slips_mended
from harness.spec.documents import ExperimentDoc, StackDoc
from harness.spec.find import is_path, named
from harness.spec.interpolate import Names, Scope, expand_counts, interpolate, names_of
from harness.spec.merge import apply_profile, apply_set, read_extended
from harness.spec.nodes import Entry, ListNode, MapNode, ScalarNode
from harness.spec.report import At, Report, did_you_mean, known_names
from harness.spec.yaml_text import dump, shown

__all__ = ["Loaded", "expect_kind", "load_experiment", "load_stack", "refuse_nulls"]

T = TypeVar("T")
_KINDS = ("stack", "experiment", "drill", "runbook", "gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[T]):
    """A document's value. `sources` are the files it was made of, its own first.

    `secrets` are the values taken from the environment: never to be shown or stored. Some may be as short as one
    character, since any variable counts.
    """

    value: T
    warnings: tuple[Problem, ...] = ()
    sources: tuple[Path, ...] = ()
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What loading was asked to do, and what it has read so far."""

    catalog: Catalog
    sets: tuple[str, ...]
    profile: str | None
    env: Mapping[str, str]
    builtin: Path | None
    lenient: bool = False
    report: Report = field(default_factory=Report)
    sources: list[Path] = field(default_factory=list)
    documents: dict[str, MapNode] = field(default_factory=dict)

    def loaded(self, value: T | None) -> Loaded[T]:
        self.report.check()
        if value is None:
            raise HarnessBug("a document was refused without saying why")
        return Loaded(
            value=value,
            warnings=self.report.ordered("warning"),
            sources=tuple(self.sources),
            secrets=frozenset(self.report.secrets),
        )


def load_experiment(  # noqa: PLR0913
    path: Path,
    *,
    catalog: Catalog,
    sets: Sequence[str] = (),
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    builtin: Path | None = None,
) -> Loaded[Experiment]:
    """The experiment in a document, its stack embedded.

    `sets` are "path=value" overrides, `profile` one of the document's (or its stack's) profiles, `env` stands for the
    environment (absent: the process's own), `builtin` is the folder of built-in experiments. Raises SpecError with every
    problem of the experiment and its stack; a file that is not YAML is a problem alone.
    """
    job = _Job(
        catalog=catalog,
        sets=tuple(sets),
        profile=profile,
        env=os.environ if env is None else env,
        builtin=builtin,
    )
    value, profiles = _experiment(path, job)
    _try_profiles(job, profiles, lambda other: _experiment(path, other))
    if value is not None:
        secrets = frozenset(job.report.secrets)
        texts = {f"{name}.yaml": masked(dump(node), secrets) for name, node in job.documents.items()}
        value = replace(value, origin=Origin(secrets=secrets, documents=texts))
    return job.loaded(value)


def load_stack(  # noqa: PLR0913
    path: Path,
    *,
    catalog: Catalog,
    sets: Sequence[str] = (),
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    builtin: Path | None = None,
) -> Loaded[Stack]:
    """The stack in a document, with its own params. As `load_experiment` otherwise."""
    job = _Job(
        catalog=catalog,
        sets=tuple(sets),
        profile=profile,
        env=os.environ if env is None else env,
        builtin=builtin,
    )
    value, profiles = _stack_alone(path, job)
    _try_profiles(job, profiles, lambda other: _stack_alone(path, other))
    return job.loaded(value)


def _try_profiles(job: _Job, profiles: Sequence[str], load: Callable[[_Job], object]) -> None:
    """Report what would be wrong under the profiles that were not chosen: a slip there shall not wait for its day."""
    for profile in profiles:
        if profile == job.profile:
            continue
        other = replace(job, profile=profile, lenient=True, report=Report(secrets=set(job.report.secrets)))
        other = replace(other, sources=[], documents={})
        try:
            load(other)
        except SpecError as exc:
            other.report.include(exc.problems)
        told = [
            replace(problem, message=f"{problem.message} (with profile {profile!r})")
            for problem in other.report.ordered("error")
            # A variable of another environment may well be missing in this one.
            if "${env:" not in (problem.source or "") and not _known(problem, job.report)
        ]
        job.report.include(told)


def _known(problem: Problem, report: Report) -> bool:
    return any(
        (problem.file, problem.line, problem.column, problem.where)
        == (other.file, other.line, other.column, other.where)
        for other in report.problems
    )


def _profiles(root: MapNode) -> tuple[str, ...]:
    node = root.get("profiles")
    return tuple(node) if isinstance(node, MapNode) else ()


def expect_kind(root: MapNode, kind: str, path: Path) -> None:
    """Raise SpecError when the document says it is of another kind: nothing else of it would make sense."""
    entry = root.entries.get("kind")
    if entry is None or not isinstance(entry.value, ScalarNode):
        return
    given = entry.value.value
    if given in _KINDS and given != kind:
        report = Report()
        at = At(node=entry.value, path="kind", key=entry.key)
        remedy = f"{path.name} is a {given}, not an {kind}" if kind == "experiment" else f"{path.name} is not a {kind}"
        if given == "gate":
            remedy = f"{remedy}; `blackstart gate` judges by gates"
        elif given == "drill":
            remedy = f"{remedy}; `blackstart drill run` carries out drills"
        elif given == "stack":
            remedy = f"{remedy}; an experiment names its stack with `stack:`"
        report.error(at, f"expected {kind!r}, got {given!r}", remedy=remedy)
        report.check()


def refuse_nulls(at: At, meant: Callable[[tuple[str | int, ...]], bool], report: Report) -> None:
    """Report keys without a value: whoever left one empty meant something, and it is not the default."""

    def walk(at: At, steps: tuple[str | int, ...]) -> None:
        for index, child in enumerate(at.children()):
            here = (*steps, index if isinstance(at.node, ListNode) else child.name)
            if isinstance(child.node, ScalarNode) and child.node.value is None:
                if not meant(here):
                    report.error(child, "no value is given", remedy="give one, or remove the key")
            else:
                walk(child, here)

    walk(at, ())


# ---- stack -----------------------------------------------------------------------------------------------------------


def _stack_alone(path: Path, job: _Job) -> tuple[Stack | None, tuple[str, ...]]:
    root = read_extended(path, job.sources)
    job.report.expect_files(shown(source) for source in job.sources)
    expect_kind(root, "stack", path)
    profiles = _profiles(root)
    root = apply_profile(root, job.profile, job.report)
    for assignment in job.sets:
        root = apply_set(root, assignment, job.report)
    stack, _, _ = _stack(root, path, job, None)
    return stack, profiles


def _stack(root: MapNode, path: Path, job: _Job, overrides: At | None) -> tuple[Stack | None, Facts, Mapping[str, str]]:
    """The stack of a merged document, what it declares, and its params."""
    root = with_slips_mended(root, StackDoc, job.report)
    params = _params(root, job, overrides)
    scope = Scope(env=job.env, params=params, wired=of_stack.wired, lenient=job.lenient)
    root = expand_counts(root, scope, job.report)
    scope = replace(scope, names=names_of(root))
    at = At(node=interpolate(At(node=root.without("params"), path=""), scope, job.report), path="")
    if isinstance(at.node, MapNode):
        own = {"params": root.entries["params"]} if "params" in root.entries else {}
        job.documents["stack"] = MapNode(entries={**at.node.entries, **own}, place=root.place)
    before = len(job.report.problems)
    refuse_nulls(at, of_stack.null_is_meant, job.report)
    stack = build_stack(at, job.catalog, job.report, path=path, params=params)
    if stack is not None:
        stack = _at_toxiproxy(stack, at, job)
    broken = job.report.failed and len(job.report.problems) > before
    return None if broken else stack, facts_of(at, job.catalog), params


def _at_toxiproxy(stack: Stack, at: At, job: _Job) -> Stack:
    """`fault_proxy: toxiproxy` is the server that TOXIPROXY_URL names, where it names one, and a binary on PATH otherwise."""
    url = job.env.get("TOXIPROXY_URL", "")
    if stack.fault_proxy != "toxiproxy" or not url:
        return stack
    if not url.startswith(("http://", "https://")):
        said = f"TOXIPROXY_URL: expected a URL such as http://127.0.0.1:8474, got {url!r}"
        job.report.error(at.child("fault_proxy") or at, said, remedy="correct the environment variable, or unset it")
    return replace(stack, fault_proxy=url)


def _params(root: MapNode, job: _Job, overrides: At | None) -> dict[str, str]:
    entry = root.entries.get("params")
    params: dict[str, str] = {}
    if entry is not None:
        at = At(node=entry.value, path="params", key=entry.key)
        params = _texts(at, job)
    for name, value in ({} if overrides is None else _texts(overrides, job)).items():
        if name not in params and overrides is not None:
            child = overrides.child(name)
            assert child is not None
            job.report.unknown(child, "param", tuple(params), place=child.key, name=name)
        params[name] = value
    return params


def _texts(at: At, job: _Job) -> dict[str, str]:
    """The params of a mapping, as they are written: `sync: on` and `count: 3` are both texts."""
    if not isinstance(at.node, MapNode):
        job.report.error(at, f"expected a mapping of params, got {at.value!r}")
        return {}
    texts: dict[str, str] = {}
    scope = Scope(env=job.env, params=None, lenient=job.lenient)
    for child in at.children():
        node = interpolate(child, scope, job.report)
        if isinstance(node, ScalarNode) and node.value is not None:
            texts[child.name] = (
                node.value if isinstance(node.value, str) else node.text if not node.secret else str(node.value)
            )
        else:
            job.report.error(child, f"expected text or a number, got {child.value!r}")
            texts[child.name] = ""
    return texts


# ---- experiment ------------------------------------------------------------------------------------------------------


def _experiment(path: Path, job: _Job) -> tuple[Experiment | None, tuple[str, ...]]:
    root = read_extended(path, job.sources)
    job.report.expect_files(shown(source) for source in job.sources)
    expect_kind(root, "experiment", path)
    profiles = _profiles(root)
    raw = root
    root = apply_profile(root, job.profile if job.profile in profiles else None, job.report)
    root = _with_stack_as_mapping(root, job.sets)
    for assignment in job.sets:
        root = apply_set(root, assignment, job.report)
    root = with_slips_mended(root, ExperimentDoc, job.report)
    stack, facts, params, stack_profiles = _stack_of(root, path, job)
    if job.profile is not None and job.profile not in (*profiles, *stack_profiles):
        apply_profile(raw, job.profile, job.report)
    names = None
    if facts is not None:
        names = Names(ports=_ports(stack, facts), links=facts.links, alerts=facts.alerts)
    scope = Scope(env=job.env, params=params, names=names, wired=of_experiment.wired, lenient=job.lenient)
    if stack is None:
        scope = replace(scope, names=None)
    at = At(node=interpolate(At(node=root, path=""), scope, job.report), path="")
    if isinstance(at.node, MapNode):
        job.documents["experiment"] = at.node
    refuse_nulls(at, of_experiment.null_is_meant, job.report)
    around = Surroundings(source=root.place.source, profile=job.profile, stack=stack, facts=facts)
    return build_experiment(at, job.catalog, job.report, around), profiles


def _ports(stack: Stack | None, facts: Facts) -> Mapping[str, tuple[str, ...]]:
    if stack is None:
        return dict.fromkeys(facts.instances, ())
    return {name: tuple(instance.ports) for name, instance in stack.instances.items()}


def _with_stack_as_mapping(root: MapNode, sets: Sequence[str]) -> MapNode:
    """The document with `stack: NAME` written out as `stack: {file: NAME}` when a `--set` reaches into it."""
    entry = root.entries.get("stack")
    if entry is None or not isinstance(entry.value, ScalarNode) or not any(one.startswith("stack.") for one in sets):
        return root
    inner = MapNode(entries={"file": Entry(key=entry.key, value=entry.value)}, place=entry.value.place)
    return MapNode(entries={**root.entries, "stack": Entry(key=entry.key, value=inner)}, place=root.place)


def _stack_of(
    root: MapNode, path: Path, job: _Job
) -> tuple[Stack | None, Facts | None, Mapping[str, str] | None, tuple[str, ...]]:
    """The experiment's stack, what it declares, its params and its profiles; None for all when it cannot be read."""
    at = At(node=root, path="").child("stack")
    scope = Scope(env=job.env, params=None, lenient=job.lenient)
    file = None if at is None else at if at.text is not None else at.child("file")
    if at is None or file is None or file.text is None:
        return None, None, None, ()
    quiet = Report()
    node = interpolate(file, scope, quiet)
    job.report.secrets.update(quiet.secrets)
    found = _find_stack(replace(file, node=node), path, job) if not quiet.failed else None
    if found is None:
        return None, None, None, ()
    try:
        stack_root = read_extended(found, job.sources)
        expect_kind(stack_root, "stack", found)
    except SpecError as exc:
        job.report.include(exc.problems)
        return None, None, None, ()
    profiles = _profiles(stack_root)
    stack_root = apply_profile(stack_root, job.profile, job.report, optional=True)
    stack, facts, params = _stack(stack_root, found, job, at.child("params"))
    return stack, facts, params, profiles


def _find_stack(at: At, path: Path, job: _Job) -> Path | None:
    """The stack file that a name or path means, or None with a problem."""
    text, base = str(at.text), at.place.source.base
    if is_path(text):
        found = base / text
        if found.is_file():
            return found
        near = sorted(one.name for one in found.parent.glob("*.y*ml")) if found.parent.is_dir() else []
        message = f"no stack file {text!r}{did_you_mean(found.name, near)}"
        job.report.error(at, message, remedy="the path is relative to this document")
        return None
    folders = [base, base / "stacks"]
    if job.builtin is not None:
        folders.append(job.builtin / "stacks")
    here = path.absolute()
    chosen = named(text, [folder for folder in folders if (folder / f"{text}{here.suffix}").absolute() != here])
    if chosen is None:
        stacks = {one.stem for folder in folders[1:] if folder.is_dir() for one in folder.glob("*.y*ml")}
        known = sorted(stacks)
        remedy = f"{known_names('stack', known)}; a path has a slash or ends in .yaml"
        job.report.error(at, f"unknown stack {text!r}{did_you_mean(text, known)}", remedy=remedy)
    return chosen
