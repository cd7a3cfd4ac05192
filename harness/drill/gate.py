"""Stored evidence held against what would be released: `judge_entry` decides, pure; `read_evidence` reads run directories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from harness.drill.samples import read_result
from harness.errors import StoreError
from harness.model.gate import GateEntry
from harness.model.verdict import Status, Verdict
from harness.plan.identity import comparable_key
from harness.plan.make import make_plan
from harness.registry import catalog
from harness.run.subject import SUBJECT, subject_files
from harness.store.index import index_runs
from harness.store.rundir import RunDir
from harness.units import format_duration

__all__ = ["Decision", "Evidence", "Wanted", "Why", "judge_entry", "read_evidence", "wanted"]

PROVEN = (Verdict.PASS, Verdict.FAIL, Verdict.DIRTY)
"""Verdicts that say something; the others leave the stack as unproven as before."""
MOST_RUNS = 100
_NAMED = 5
_SEALED = ("plan.json", "result.json", SUBJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One stored run. `files` None: it did not note its subject. `broken`: what no longer fits its manifest."""

    run_id: str
    started: datetime
    verdict: Verdict
    key: str | None
    objectives: frozenset[str] = frozenset()
    missed: tuple[str, ...] = ()
    commit: str | None = None
    dirty: bool | None = None
    files: Mapping[str, str] | None = None
    defects: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What evidence must be of, as the project is now."""

    name: str
    source: str
    key: str
    objectives: frozenset[str]
    files: Mapping[str, str]
    covers: tuple[str, ...]
    freshness_ns: int
    passes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One reason against passing, or a caution. `code` is stable."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One experiment at the gate. `run_id` is the run it was decided by, `expires` when its evidence will be too old."""

    experiment: str
    source: str
    passes: bool
    run_id: str | None = None
    verdict: Verdict | None = None
    age_s: int | None = None
    expires: datetime | None = None
    reasons: tuple[Why, ...] = ()
    cautions: tuple[Why, ...] = field(default=())


def wanted(entry: GateEntry) -> Wanted:
    """What evidence an experiment needs now. Raises SpecError and UnsafeError as planning does; reads the project's files."""
    plan = make_plan(entry.experiment, catalog())
    return Wanted(
        name=entry.experiment.name,
        source=entry.experiment.source,
        key=comparable_key(plan),
        objectives=frozenset(str(stated.predicate) for stated in entry.experiment.objectives),
        files=subject_files(plan),
        covers=entry.experiment.covers,
        freshness_ns=entry.freshness_ns,
        passes=entry.passes,
    )


def read_evidence(reports: Path, name: str) -> tuple[Evidence, ...]:
    """The newest judged runs of an experiment, newest first, at most 100. A run that cannot be read is left out."""
    found = []
    for row in reversed(index_runs(reports, name)[-MOST_RUNS:]):
        run_dir = RunDir(reports / row.run_id)
        try:
            result = read_result(run_dir)
        except StoreError:
            continue
        known = result.run.provenance
        found.append(
            Evidence(
                run_id=row.run_id,
                started=_instant(result.run.started_utc),
                verdict=result.verdict,
                key=None if known is None else known.comparable,
                objectives=frozenset(one.text for one in result.objectives if one.kind == "objective"),
                missed=tuple(one.text for one in result.objectives if one.status is Status.MISSED),
                commit=None if known is None else known.commit,
                dirty=None if known is None else known.dirty,
                files=_files(run_dir),
                defects=result.run.banners,
                broken=_broken(run_dir),
            )
        )
    return tuple(found)


def _instant(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def _files(run_dir: RunDir) -> Mapping[str, str] | None:
    try:
        files = json.loads((run_dir.path / SUBJECT).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if isinstance(files, dict) else None


def _broken(run_dir: RunDir) -> tuple[str, ...]:
    try:
        return run_dir.verify(only=_SEALED)
    except StoreError:
        return ("missing: manifest.json",)


def judge_entry(
    want: Wanted, evidence: Sequence[Evidence], now: datetime, *, flaky: Literal["block", "allow"] = "block"
) -> Decision:
    """Whether stored runs, newest first, speak for what is wanted; if not, every reason.

    The newest proven run of the same plan decides: a PASS before a FAIL is worth nothing.
    """
    if not evidence:
        return _refused(want, "no-run", "no judged run of it")
    same = [one for one in evidence if one.key == want.key and want.objectives <= one.objectives and not one.defects]
    if not same:
        return _refused(
            want, "plan-changed", f"no run of it as it is now: {_difference(want, evidence[0])}", evidence[0]
        )
    proven = [one for one in same if one.verdict in PROVEN]
    cautions = list(_cautions(want, same, proven))
    if not proven:
        return _refused(want, "no-proof", f"its newest run came out {same[0].verdict}", same[0])
    newest = proven[0]
    reasons = list(_reasons(want, proven, now))
    flakes = _flakes(newest, proven[1:], now - _span(want.freshness_ns)) if newest.verdict is Verdict.PASS else []
    if flakes:
        words = f"flaky: {flakes[0].run_id} came out FAIL with the very same plan and files"
        (reasons if flaky == "block" else cautions).append(Why(code="flaky", text=words))
    return Decision(
        experiment=want.name,
        source=want.source,
        passes=not reasons,
        run_id=newest.run_id,
        verdict=newest.verdict,
        age_s=max(0, int((now - newest.started).total_seconds())),
        expires=newest.started + _span(want.freshness_ns),
        reasons=tuple(reasons),
        cautions=tuple(cautions),
    )


def _span(ns: int) -> timedelta:
    return timedelta(microseconds=ns / 1_000)


def _refused(want: Wanted, code: str, text: str, by: Evidence | None = None) -> Decision:
    return Decision(
        experiment=want.name,
        source=want.source,
        passes=False,
        run_id=None if by is None else by.run_id,
        verdict=None if by is None else by.verdict,
        reasons=(Why(code=code, text=text),),
    )


def _difference(want: Wanted, newest: Evidence) -> str:
    who = f"{newest.run_id} "
    if newest.key is None:
        return who + "did not note what it was of (an older version)"
    if newest.key != want.key:
        return who + "was of another stack, load, timeline or set of checks"
    if newest.defects:
        return who + f"had a defect switched on: {newest.defects[0]}"
    return who + f"was not asked for {', '.join(sorted(want.objectives - newest.objectives))}"


def _reasons(want: Wanted, proven: Sequence[Evidence], now: datetime) -> Iterator[Why]:
    for one in proven[: want.passes]:
        who = f"{one.run_id} "
        if one.verdict is Verdict.FAIL:
            yield Why(code="failed", text=who + f"came out FAIL: {', '.join(one.missed) or 'see its report'}")
            continue
        if one.verdict is Verdict.DIRTY:
            yield Why(code="dirty", text=who + "came out DIRTY: blackstart recover")
            continue
        age_ns = int((now - one.started).total_seconds() * 1e9)
        if age_ns > want.freshness_ns:
            text = f"passed {format_duration(age_ns)} ago, at most {format_duration(want.freshness_ns)} counts"
            yield Why(code="too-old", text=who + text)
        if one.broken:
            yield Why(code="altered", text=who + f"is not as it was sealed: {', '.join(one.broken)}")
        if one.files is None:
            yield Why(code="subject-unknown", text=who + "did not note the files that it was about")
        elif one.files != want.files:
            yield Why(
                code="covers-changed", text=f"files changed since {who.strip()}: {_changes(one.files, want.files)}"
            )
    if len(proven) < want.passes:
        yield Why(code="too-few", text=f"{want.passes} passed runs are needed, there is {len(proven)}")


def _changes(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    lines = [f"{path} (gone)" for path in then if path not in now]
    lines += [f"{path} (new)" for path in now if path not in then]
    lines += [path for path in now if path in then and now[path] != then[path]]
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return ", ".join(sorted(lines)[:_NAMED]) + more


def _flakes(newest: Evidence, earlier: Sequence[Evidence], since: datetime) -> list[Evidence]:
    """Failures that nothing explains: same plan, same files, same clean commit as the newest PASS, and not long ago."""
    if newest.commit is None or newest.dirty or newest.files is None:
        return []
    return [
        one
        for one in earlier
        if one.verdict is Verdict.FAIL
        and one.started >= since
        and (one.commit, one.dirty, one.files) == (newest.commit, newest.dirty, newest.files)
    ]


def _cautions(want: Wanted, same: Sequence[Evidence], proven: Sequence[Evidence]) -> Iterator[Why]:
    if not want.covers:
        yield Why(code="no-covers", text="it names no files in `covers:`, so changes of the code are not looked at")
    if proven and same[0] is not proven[0]:
        text = f"{same[0].run_id} is newer and came out {same[0].verdict}, which proves nothing"
        yield Why(code="unproven-since", text=text)
    if proven and proven[0].dirty:
        yield Why(code="dirty-tree", text=f"{proven[0].run_id} was run from a work tree with changes")
