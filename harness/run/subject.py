"""What a run tests, besides its plan: the state of the project's files, so that later evidence can be held against it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness import __version__
from harness.history.events import NoteEvent
from harness.model.plan import Plan
from harness.plan.identity import comparable_key
from harness.plan.make import canonical

__all__ = ["SUBJECT", "Git", "covered", "git_state", "project_root", "subject_files", "subject_note", "subject_text"]

SUBJECT = "inputs/subject.json"
"""Where a run keeps the digests of the files that it was about."""
_GIT_S = 20
_OWN_DOCUMENT = ("source", "objectives")
"""Where a plan names the document that it was made of: what that says is in the plan's digest, whatever its layout."""
_SKIPPED = {".git", ".venv", "node_modules", "__pycache__", "reports"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """The project's commit (None outside a git work tree) and whether anything in the tree differs from it."""

    commit: str | None = None
    dirty: bool | None = None


def project_root(source: str) -> Path:
    """The project's folder: the git work tree that holds the document, else the folder above experiments/, else its own."""
    path = Path(source).absolute()
    for parent in path.parents:
        if (parent / ".git").exists():
            return parent
    for parent in path.parents:
        if parent.name in ("experiments", "drills"):
            return parent.parent
    return path.parent


def git_state(root: Path) -> Git:
    """What git says of the work tree; nothing known where there is no git, no commit, or no answer in 20 s."""
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return Git()
    # What runs and `baseline accept` leave behind is no change of what was tested.
    kept_out = (":(exclude)reports", ":(exclude)baselines")
    changes = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".", *kept_out)
    return Git(commit=head.strip(), dirty=None if changes is None else bool(changes.strip()))


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    """A glob of the project's paths: `**` any folders, `*` and `?` within one name; a folder's name means all below it."""
    out, place = "", 0
    glob = glob.removeprefix("./")
    while place < len(glob):
        if glob.startswith("**/", place):
            out, place = out + "(?:.*/)?", place + 3
        elif glob.startswith("**", place):
            out, place = out + ".*", place + 2
        else:
            letter = glob[place]
            out += {"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter))
            place += 1
    return re.compile(out.rstrip("/") + "(?:/.*)?")


def covered(path: str, globs: Sequence[str]) -> bool:
    """Whether a path of the project falls under one of the globs."""
    return any(_pattern(glob).fullmatch(path) for glob in globs)


def subject_files(plan: Plan) -> Mapping[str, str]:
    """Path below the project's folder -> SHA-256 of its content, for what `covers:` names and for the plan's own files.

    The plan's own files are those that it names by path and that lie in the project: profiles, scripts, configurations.
    Files that git ignores are left out of `covers:`. Sorted by path.
    """
    root = project_root(plan.experiment.source)
    chosen = set(_own_files(plan, root))
    if plan.experiment.covers:
        chosen |= {path for path in _project_files(root) if covered(path, plan.experiment.covers)}
    digests = {}
    for path in sorted(chosen):
        file = root / path
        if file.is_file():
            with file.open("rb") as content:
                digests[path] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests


def _project_files(root: Path) -> Iterator[str]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is not None:
        yield from (path for path in listed.split("\0") if path)
        return
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in files)


def _own_files(plan: Plan, root: Path) -> Iterator[str]:
    base, root = Path(plan.experiment.base_dir), root.resolve()
    named = {key: value for key, value in canonical(plan)["experiment"].items() if key not in _OWN_DOCUMENT}
    for text in _texts(named):
        if "/" not in text or "\n" in text or len(text) > 500 or "://" in text:
            continue
        for form in (text, text.rpartition(":")[0]):
            path = (base / form).resolve() if form else root
            if path.is_relative_to(root) and path.is_file():
                yield path.relative_to(root).as_posix()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def subject_text(plan: Plan) -> str:
    """The text of `inputs/subject.json`."""
    body = {"version": 1, "covers": list(plan.experiment.covers), "files": dict(subject_files(plan))}
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


def subject_note(plan: Plan) -> NoteEvent:
    """Which commit, tool and plan a run was of: what `gate`, `compare` and `runs` go by."""
    git = git_state(project_root(plan.experiment.source))
    state = "no git" if git.commit is None else f"commit {git.commit[:12]}{', with changes' if git.dirty else ''}"
    data = {
        "commit": git.commit,
        "dirty": git.dirty,
        "tool": __version__,
        "comparable": comparable_key(plan),
    }
    return NoteEvent(at_ns=0, code="subject", text=f"{state}, Blackstart {__version__}", data=data)
