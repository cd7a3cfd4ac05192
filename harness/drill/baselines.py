"""Accepted runs, kept in the project as `baselines/<experiment>.json`: changed by a person's `baseline accept`, and reviewed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness.drill.samples import Sample, read_sample
from harness.errors import Problem, SpecError
from harness.model.verdict import Verdict
from harness.store.index import index_runs
from harness.store.rundir import find_run
from harness.store.whole import write_whole

__all__ = ["MOST", "Accepted", "accept", "baseline_path", "read_baseline", "select"]

MOST = 20
"""Runs that a baseline keeps, the newest."""
_SET = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_-]*)(@(?P<commit>[0-9a-f]{4,40}))?(#(?P<last>[1-9][0-9]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What accepting did: the file, the runs in it now, and the earlier ones that went, with why."""

    path: Path
    runs: tuple[str, ...]
    dropped: tuple[str, ...]
    why: str = ""


def baseline_path(folder: Path, name: str) -> Path:
    """Where the baseline of an experiment is."""
    return folder / f"{name}.json"


def read_baseline(path: Path) -> tuple[Sample, ...]:
    """The accepted runs, oldest first. Raises SpecError when the file is missing or is not a baseline."""
    try:
        body = json.loads(path.read_text())
        if not isinstance(body, dict) or body.get("version") != 1 or body.get("kind") != "baseline":
            raise ValueError("expected version 1, kind baseline")
        return tuple(Sample.model_validate_json(json.dumps(one)) for one in body["runs"])
    except FileNotFoundError as exc:
        help_ = "blackstart baseline accept RUN makes it"
        raise SpecError(Problem(file=str(path), message="no baseline", help=help_)) from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(Problem(file=str(path), where=where, message=f"not a baseline: {first['msg']}")) from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise SpecError(Problem(file=str(path), message=f"not a baseline: {exc}")) from exc


def accept(samples: Sequence[Sample], folder: Path) -> Accepted:
    """Add runs of one experiment to its baseline. Runs of another comparability key make room: a baseline has one.

    Raises SpecError when a run is not a PASS, or they are not of one experiment and key; StoreError when it cannot be written.
    """
    failed = next((one for one in samples if one.verdict is not Verdict.PASS), None)
    if failed is not None:
        raise SpecError(f"run {failed.run_id} came out {failed.verdict}: only a PASS can be a baseline")
    if len({(one.name, one.key) for one in samples}) != 1:
        kinds = ", ".join(sorted({f"{one.name} ({one.key[:12]})" for one in samples}))
        raise SpecError(f"runs of one experiment, stack and load make a baseline; these are of {kinds}")
    path, key = baseline_path(folder, samples[0].name), samples[0].key
    before = read_baseline(path) if path.exists() else ()
    known = {one.run_id: one for one in before if one.key == key} | {one.run_id: one for one in samples}
    kept = [known[run_id] for run_id in sorted(known)][-MOST:]
    names = tuple(one.run_id for one in kept)
    gone = tuple(one.run_id for one in before if one.run_id not in names)
    why = ""
    if gone:
        other = any(one.key != key for one in before)
        why = "another plan, stack or load than the runs accepted now" if other else f"only the newest {MOST} are kept"
    body = {"version": 1, "kind": "baseline", "experiment": samples[0].name, "key": key}
    text = json.dumps(body | {"runs": [one.model_dump(mode="json") for one in kept]}, indent=1) + "\n"
    write_whole(path, text, make_folder=True)
    return Accepted(path=path, runs=names, dropped=gone, why=why)


def select(text: str, reports: Path, baselines: Path) -> tuple[Sample, ...]:
    """The runs that a person named, oldest first.

    `baseline:NAME` or a baseline's path; `NAME`, every judged run of that experiment, `NAME@COMMIT` those of a commit,
    `NAME#N` the newest N; or runs by id, path or "last", several with commas. Raises SpecError when there is none.
    """
    if text.startswith("baseline:"):
        return read_baseline(baseline_path(baselines, text.removeprefix("baseline:")))
    if text.endswith(".json"):
        return read_baseline(Path(text))
    match = _SET.fullmatch(text)
    rows = index_runs(reports, match["name"]) if match else ()
    if match is None or not rows:
        return tuple(read_sample(find_run(part.strip(), reports)) for part in text.split(","))
    found = [read_sample(find_run(row.run_id, reports)) for row in rows]
    if match["commit"]:
        found = [one for one in found if (one.commit or "").startswith(match["commit"])]
        if not found:
            raise SpecError(f"no run of {match['name']} in {reports} is of commit {match['commit']}")
    return tuple(found[-int(match["last"]) :] if match["last"] else found)
