"""Drills, runbooks and gates: read, merge, fill in, check, build, with every document that they cite."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from harness.errors import HarnessBug, SpecError
from harness.model.catalog import Catalog
from harness.model.drill import Drill, Runbook
from harness.model.experiment import Experiment, Origin
from harness.model.gate import Gate, GateEntry
from harness.model.secrets import masked
from harness.spec.build_drill import Loaders, build_drill
from harness.spec.build_runbook import build_runbook
from harness.spec.decode import decode, with_slips_mended
from harness.spec.drill_documents import DrillDoc, GateDoc, GateExperimentDoc, RunbookDoc
from harness.spec.find import is_path, named
from harness.spec.interpolate import Scope, interpolate
from harness.spec.load import Loaded, expect_kind, load_experiment, refuse_nulls
from harness.spec.merge import apply_profile, apply_set, read_extended
from harness.spec.nodes import MapNode
from harness.spec.report import At, Report, did_you_mean, known_names
from harness.spec.scalars import Doc
from harness.spec.yaml_text import dump, shown

__all__ = ["load_drill", "load_gate", "load_runbook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One loading: what was asked for, and what has been read so far."""

    catalog: Catalog | None
    sets: tuple[str, ...] = ()
    profile: str | None = None
    env: Mapping[str, str]
    builtin: Path | None = None
    today: date
    report: Report = field(default_factory=Report)
    sources: list[Path] = field(default_factory=list)
    documents: dict[str, MapNode] = field(default_factory=dict)
    runbooks: dict[Path, Runbook | None] = field(default_factory=dict)

    def loaded(self, value: Drill | Runbook | Gate | None) -> tuple[Origin, Loaded[None]]:
        self.report.check()
        if value is None:
            raise HarnessBug("a document was refused without saying why")
        secrets = frozenset(self.report.secrets)
        texts = {f"{name}.yaml": masked(dump(node), secrets) for name, node in self.documents.items()}
        warnings = self.report.ordered("warning")
        told = Loaded(value=None, warnings=warnings, sources=tuple(self.sources), secrets=secrets)
        return Origin(secrets=secrets, documents=texts), told

    def read(self, path: Path, kind: str, model: type[Doc]) -> At:
        """The document merged and filled in. Raises SpecError when it cannot be read or is of another kind."""
        root = read_extended(path, self.sources)
        self.report.expect_files(shown(source) for source in self.sources)
        expect_kind(root, kind, path)
        root = apply_profile(root, self.profile, self.report, optional=kind == "runbook")
        for assignment in self.sets:
            root = apply_set(root, assignment, self.report)
        root = with_slips_mended(root, model, self.report)
        scope = Scope(env=self.env, params=None)
        at = At(node=interpolate(At(node=root, path=""), scope, self.report), path="")
        refuse_nulls(at, lambda steps: False, self.report)
        if isinstance(at.node, MapNode):
            self.documents[kind if kind == "drill" else f"runbook-{path.stem}"] = at.node
        return at


def load_drill(  # noqa: PLR0913
    path: Path,
    *,
    catalog: Catalog,
    sets: Sequence[str] = (),
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    builtin: Path | None = None,
    today: date | None = None,
) -> Loaded[Drill]:
    """The drill in a document, with its experiments and runbook steps. As `load_experiment` otherwise.

    `today` (absent: by the wall clock, UTC) decides whether a runbook's review is overdue, which is a warning.
    """
    reading = _Reading(
        catalog=catalog,
        sets=tuple(sets),
        profile=profile,
        env=os.environ if env is None else env,
        builtin=builtin,
        today=today or datetime.now(UTC).date(),
    )
    at = reading.read(path, "drill", DrillDoc)
    cited = _Cited(reading)
    value = build_drill(
        at, reading.report, at.node.place.source, Loaders(experiment=cited.experiment, runbook=cited.runbook)
    )
    origin, told = reading.loaded(value)
    assert value is not None
    return Loaded(
        value=replace(value, origin=origin), warnings=told.warnings, sources=told.sources, secrets=told.secrets
    )


def load_runbook(
    path: Path,
    *,
    sets: Sequence[str] = (),
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    today: date | None = None,
) -> Loaded[Runbook]:
    """The runbook in a document. As `load_drill` otherwise."""
    reading = _Reading(
        catalog=None,
        sets=tuple(sets),
        profile=profile,
        env=os.environ if env is None else env,
        today=today or datetime.now(UTC).date(),
    )
    value = build_runbook(reading.read(path, "runbook", RunbookDoc), reading.report, reading.today)
    origin, told = reading.loaded(value)
    assert value is not None
    return Loaded(
        value=replace(value, origin=origin), warnings=told.warnings, sources=told.sources, secrets=told.secrets
    )


def load_gate(  # noqa: PLR0913
    path: Path,
    *,
    catalog: Catalog,
    sets: Sequence[str] = (),
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    builtin: Path | None = None,
) -> Loaded[Gate]:
    """The gate in a document, with its experiments. As `load_drill` otherwise."""
    reading = _Reading(
        catalog=catalog,
        sets=tuple(sets),
        profile=profile,
        env=os.environ if env is None else env,
        builtin=builtin,
        today=datetime.now(UTC).date(),
    )
    at = reading.read(path, "gate", GateDoc)
    doc = decode(at, GateDoc, reading.report)
    value = None if doc is None else _gate(at, doc, reading)
    _, told = reading.loaded(value)
    assert value is not None
    return Loaded(value=value, warnings=told.warnings, sources=told.sources, secrets=told.secrets)


def _gate(at: At, doc: GateDoc, reading: _Reading) -> Gate:
    cited = _Cited(reading)
    entries: list[GateEntry] = []
    for index, one in enumerate(doc.experiments):
        whole = GateExperimentDoc(experiment=one) if isinstance(one, str) else one
        place = at.walk("experiments", index, "experiment") or at.walk("experiments", index)
        assert place is not None
        experiment = cited.experiment(place, tuple(whole.set), whole.profile)
        if experiment is None:
            continue
        if any(known.experiment == experiment for known in entries):
            reading.report.error(place, f"experiment {experiment.name!r} is there twice")
        entries.append(
            GateEntry(
                experiment=experiment,
                freshness_ns=whole.freshness or doc.freshness,
                passes=whole.passes,
                line=place.place.line,
            )
        )
        if not experiment.covers:
            remedy = "name in it the files whose change makes a stored PASS stale"
            reading.report.warn(place, f"experiment {experiment.name!r} has no `covers:`", remedy=remedy)
    return Gate(
        name=doc.name,
        title=doc.title or doc.name,
        owner=doc.owner,
        source=at.node.place.source.name,
        flaky=doc.flaky,
        regression=doc.regression,
        entries=tuple(entries),
    )


class _Cited:
    """The documents that a drill or a gate cites, each read once; what is wrong in them is the drill's problem too."""

    def __init__(self, reading: _Reading) -> None:
        self._reading = reading

    def experiment(self, at: At, sets: tuple[str, ...], profile: str | None = None) -> Experiment | None:
        reading = self._reading
        assert reading.catalog is not None
        base = at.place.source.base
        folders = [Path("experiments"), base.parent / "experiments", base]
        path = self._find(at, str(at.text), "experiment", [*folders, *([reading.builtin] if reading.builtin else [])])
        if path is None:
            return None
        try:
            loaded = load_experiment(
                path, catalog=reading.catalog, sets=sets, profile=profile, env=reading.env, builtin=reading.builtin
            )
        except SpecError as exc:
            reading.report.include(exc.problems)
            return None
        reading.report.include(loaded.warnings)
        reading.report.secrets.update(loaded.secrets)
        reading.sources.extend(source for source in loaded.sources if source not in reading.sources)
        return loaded.value

    def runbook(self, at: At, text: str) -> Runbook | None:
        reading = self._reading
        base = at.place.source.base
        path = self._find(at, text, "runbook", [base / "runbooks", base])
        if path is None:
            return None
        here = path.resolve()
        if here not in reading.runbooks:
            own = replace(reading, sets=(), report=Report(secrets=reading.report.secrets))
            try:
                reading.runbooks[here] = build_runbook(own.read(path, "runbook", RunbookDoc), own.report, reading.today)
            except SpecError as exc:
                own.report.include(exc.problems)
                reading.runbooks[here] = None
            reading.report.include(own.report.problems)
        return reading.runbooks[here]

    def _find(self, at: At, text: str, kind: str, folders: Sequence[Path]) -> Path | None:
        """The document that a name or path means, or None with a problem."""
        base = at.place.source.base
        if is_path(text):
            found = Path(os.path.normpath(base / text))
            if found.is_file():
                return found
            near = sorted(one.name for one in found.parent.glob("*.y*ml")) if found.parent.is_dir() else []
            message = f"no {kind} file {text!r}{did_you_mean(found.name, near)}"
            self._reading.report.error(at, message, remedy="the path is relative to this document")
            return None
        chosen = named(text, folders)
        if chosen is None:
            known = sorted({one.stem for folder in folders if folder.is_dir() for one in folder.glob("*.y*ml")})
            remedy = f"{known_names(kind, known)}; a path has a slash or ends in .yaml"
            self._reading.report.error(at, f"unknown {kind} {text!r}{did_you_mean(text, known)}", remedy=remedy)
        return chosen
