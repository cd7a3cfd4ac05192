"""Documents by name or path. Here: where they are looked for. Not here: what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import Problem, SpecError
from harness.spec.report import did_you_mean, known_names

__all__ = ["FOLDERS", "find_document", "in_project", "is_path", "named"]

FOLDERS = {
    "experiment": ("experiments", "."),
    "stack": ("experiments/stacks", "stacks", "."),
    "drill": ("drills", "."),
    "runbook": ("drills/runbooks", "runbooks", "."),
    "gate": ("drills", "."),
}
"""The folders of a project (or of the built-ins) in which documents of a kind are, nearest first."""

_ENDINGS = (".yaml", ".yml")


def is_path(text: str) -> bool:
    """Whether a text means a file rather than a name: it has a slash or ends as YAML files do."""
    return "/" in text or text.endswith(_ENDINGS)


def in_project(path: Path) -> str:
    """The path as its project names it, wherever we stand: below the repository, else below the folder of experiments/.

    What code hosts annotate is named so. Absolute for a document that is in neither.
    """
    absolute = path.absolute()
    for parent in absolute.parents:
        if (parent / ".git").exists():
            return absolute.relative_to(parent).as_posix()
    for parent in absolute.parents:
        if parent.name in ("experiments", "drills"):
            return absolute.relative_to(parent.parent).as_posix()
    return absolute.as_posix()


def named(name: str, folders: Iterable[Path]) -> Path | None:
    """The document of that name in the first folder that has one."""
    for folder in folders:
        for ending in _ENDINGS:
            path = folder / f"{name}{ending}"
            if path.is_file():
                return path
    return None


def find_document(name_or_path: str | Path, kind: str, search: Sequence[Path]) -> Path:
    """The path of a document: a path as it is, a bare name ("region-kill") from the first of the folders that has it.

    `search` are projects, then the built-ins; in each the kind's own folder is looked at, then the folder itself. Raises
    SpecError naming near matches when there is none.
    """
    text = str(name_or_path)
    if is_path(text):
        path = Path(text)
        if path.is_file():
            return path
        near = _names([path.parent]) if path.parent.is_dir() else ()
        hint = did_you_mean(path.stem, near)
        what = "is a folder, not a document" if path.is_dir() else "no such file"
        raise SpecError(
            Problem(file=text, message=f"{what}{hint}", help=known_names("document", near) if near else None)
        )
    folders = [root / folder for root in search for folder in FOLDERS.get(kind, (".",))]
    found = named(text, folders)
    if found is not None:
        return found
    known = _names(folders)
    raise SpecError(
        Problem(
            file=text,
            message=f"no {kind} of that name{did_you_mean(text, known)}",
            help=f"{known_names(kind, known)}; a path has a slash or ends in .yaml",
        )
    )


def _names(folders: Iterable[Path]) -> tuple[str, ...]:
    """The names of the documents in the folders, each once, sorted."""
    return tuple(
        sorted(
            {path.stem for folder in folders if folder.is_dir() for path in folder.iterdir() if path.suffix in _ENDINGS}
        )
    )
