"""Kinds: the named things that documents may use, and the catalog that finds them. `registry.py` builds the one catalog."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from harness.errors import HarnessBug
from harness.model.fields import JsonObject, Params
from harness.model.plan import Target
from harness.model.stack import Instance

__all__ = [
    "Catalog",
    "CheckKind",
    "FaultKind",
    "HostKind",
    "Kind",
    "ProbeKind",
    "Role",
    "UnknownKindError",
    "Words",
    "load_dotted",
]

Role = Literal["fault", "host", "probe", "check"]
TargetKind = Literal["instance", "link", "cut", "stack", "load"]
K = TypeVar("K", bound="Kind")


def load_dotted(path: str) -> Any:
    """The object at "package.module:name". Raises HarnessBug when it is not there."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise HarnessBug(f"cannot load {path!r}: {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A named, documented thing with parameters. `code` is the dotted path of what carries it out ("pkg.mod:Class")."""

    name: str
    doc: str
    params: type[Params]
    code: str
    example: str = ""

    def load(self) -> Any:
        """The code behind the kind, imported now. Raises HarnessBug when it cannot be."""
        return load_dotted(self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A fault's sentences: what is done; what new and open connections see meanwhile; what revert does and what happens to
    open ones then; what proves it. The first three with `{target}` and the parameters in them.
    """

    what: str
    clients_see: str
    on_revert: str
    witness: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind(Kind):
    """A fault. `code(params)` gives an `Injector`.

    `targets`: what it may be applied to ("stack" and "load": the whole, so that no `on` is needed); `hosts`: host kinds on
    which it works (for instance targets); `ends`: those whose instances may be an end of a cut; `boxed`: those whose
    instances may be one by a network namespace of their own ("netns": regions that have one). `instant` faults take no
    `for`; `http` ones need a link with `http: true` on the embedded fault proxy. `what`, `clients_see` and `on_revert` are
    sentences for plan, docs and report, with `{target}` in them: what is done; what new and open connections see meanwhile;
    what revert does and what happens to open ones then. `words` are the sentences for targets on which they differ, by their
    kind, or with the way that was chosen: "instance via nftables".

    `holds`: what of its target only one fault can have, with parameters in it ("file {file}"); "*" is all of it. Faults of
    one kind that do the same share the last of them, and those of a kind with `layers` (its injector is `Layered`) may
    differ; kinds that hold the same do not overlap. `lasts` names the parameter that says how long an instant one takes.
    `alone`: the values that parameters must have for a two-sided kind to take one instance (`on:`); None: it never does.
    `unfit(params, host)` says why it cannot be had with these parameters on a host of that kind; None when it can.
    `lacks(params, instance)` says what the stack file must declare of an instance before that; None when nothing is lacking.
    `able(target, params)` raises UnsafeError where this machine cannot do it. `environment(dir)` is what an instance with that
    directory of its own must be started with.
    """

    targets: frozenset[TargetKind]
    hosts: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()
    boxed: frozenset[str] = frozenset()
    instant: bool = False
    two_sided: bool = False
    alone: Mapping[str, tuple[str, ...]] | None = None
    needs_start: bool = False
    http: bool = False
    holds: tuple[str, ...] = ()
    layers: bool = False
    lasts: str | None = None
    unfit: Callable[[JsonObject, str], str | None] | None = None
    lacks: Callable[[JsonObject, Instance], str | None] | None = None
    what: str
    clients_see: str
    on_revert: str
    witness: str
    words: Mapping[str, Words] = field(default_factory=dict)
    able: Callable[[Target, JsonObject], None] | None = None
    environment: Callable[[str], Mapping[str, str]] | None = None

    def sentences(self, target: str, via: object = None) -> Words:
        """Its sentences for a kind of target, and the way `via` to break it."""
        own = Words(what=self.what, clients_see=self.clients_see, on_revert=self.on_revert, witness=self.witness)
        return self.words.get(f"{target} via {via}", self.words.get(target, own))

    def is_alone(self, params: JsonObject) -> bool:
        """Whether a two-sided kind takes one instance with these parameters."""
        return self.alone is not None and all(params.get(key) in values for key, values in self.alone.items())

    def refusal(self, params: JsonObject, host: str) -> str | None:
        """Why it does not work with these parameters on a host of that kind; None when it does."""
        if host not in self.hosts:
            return f"works on: {', '.join(sorted(self.hosts)) or 'links only'}"
        return self.unfit(params, host) if self.unfit is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKind(Kind):
    """A way to host instances. `code(instance, wiring, settings)` gives a `Host`; see `ports.HostFactory`.

    `started_by_run`: the run starts and stops such instances; else they are attached to. `params.can_start` says whether
    a dead one can be brought back. `located`: its hosts are `ports.Located`, and the numbers of `ports:` are the instance's own.
    `modules` are those that its hosts import when first used: the reaper does so before anything is broken.
    """

    started_by_run: bool
    located: bool = False
    modules: tuple[str, ...] = ()

    def can_start(self, params: Mapping[str, object]) -> bool:
        """Whether an instance of these parameters can be brought back once it is dead."""
        return bool(getattr(self.params.model_validate(params), "can_start", self.started_by_run))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeKind(Kind):
    """A probe. `code(params, wiring)` gives a `Probe`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckKind(Kind):
    """A data check. `code` is a pure function `(history, check_spec, plan) -> CheckResult`; `models` it applies to (empty: all).

    `counts` are the names that predicates may use: `exactly-once.duplicates`. `needs_journals`: it judges journals that the
    stack exports, so that a stack file must name them.
    """

    models: frozenset[str] = frozenset()
    counts: tuple[str, ...] = ()
    needs_journals: bool = False


class UnknownKindError(KeyError):
    """A name that no kind has. `known` lists the names there are, `close` the likely meant ones."""

    def __init__(self, role: Role, name: str, known: tuple[str, ...]) -> None:
        self.role, self.name, self.known = role, name, known
        self.close = tuple(get_close_matches(name, known, n=2))
        super().__init__(f"unknown {role} {name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every kind by role and name. `paths` maps role -> name -> dotted path of the Kind value; nothing is imported early."""

    paths: Mapping[Role, Mapping[str, str]]
    _loaded: dict[tuple[str, str], Kind] = field(default_factory=dict, repr=False, compare=False)

    def names(self, role: Role) -> tuple[str, ...]:
        """The names of one role, sorted."""
        return tuple(sorted(self.paths.get(role, {})))

    def kind(self, role: Role, name: str) -> Kind:
        """The kind of that name. Raises UnknownKindError when there is none."""
        if (role, name) not in self._loaded:
            path = self.paths.get(role, {}).get(name)
            if path is None:
                raise UnknownKindError(role, name, self.names(role))
            self._loaded[role, name] = load_dotted(path)
        return self._loaded[role, name]

    def fault(self, name: str) -> FaultKind:
        """The fault of that name."""
        return _typed(self.kind("fault", name), FaultKind)

    def host(self, name: str) -> HostKind:
        """The host kind of that name."""
        return _typed(self.kind("host", name), HostKind)

    def probe(self, name: str) -> ProbeKind:
        """The probe kind of that name."""
        return _typed(self.kind("probe", name), ProbeKind)

    def check(self, name: str) -> CheckKind:
        """The check of that name."""
        return _typed(self.kind("check", name), CheckKind)


def _typed(kind: Kind, wanted: type[K]) -> K:
    if not isinstance(kind, wanted):
        raise HarnessBug(f"{kind.name!r} is registered as the wrong sort of kind: {type(kind).__name__}")
    return kind
