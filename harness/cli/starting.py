"""`init`: a project that runs at once, to be changed into one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import JsonFlag, say, show_json
from harness.errors import SpecError

__all__ = ["register"]

_STARTER = Path(__file__).with_name("starter")
_RENAMED = {"gitignore": ".gitignore"}  # as itself it would be a rule of this repository


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Examples: blackstart init; blackstart init chaos")(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; made when missing.")] = Path("."),
    json: JsonFlag = False,
) -> None:
    """Make a project that runs at once: a small stack of ordinary processes, a load profile, an experiment.

    Never overwrites: when a file of it is there already, nothing is written (exit 2).
    """
    texts = _texts()
    _refuse(folder, texts)
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as exc:
        raise SpecError(f"{exc.filename}: cannot write: {(exc.strerror or '').lower()}") from exc
    if json:
        show_json({"dir": str(folder), "files": list(texts)})
    else:
        sys.stdout.write("".join(f"{folder / name}\n" for name in texts))
    _say_what_next(folder)


def _texts() -> dict[str, str]:
    """Every file of a new project, path -> text."""
    files = sorted(path for path in _STARTER.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {
        str(path.relative_to(_STARTER).with_name(_RENAMED.get(path.name, path.name))): path.read_text(encoding="utf-8")
        for path in files
    }


def _refuse(folder: Path, texts: dict[str, str]) -> None:
    """Raise SpecError when the folder is none, or holds a file that would be overwritten."""
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder}: there is a file of that name, and a project is a folder")
    there = [str(folder / name) for name in texts if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        raise SpecError(f"nothing is written, these files are there already: {', '.join(there)}")


def _say_what_next(folder: Path) -> None:
    here = "" if folder == Path(".") else f"  cd {folder}\n"
    say(
        f"""
A project that runs as it is. Next:

{here}  blackstart validate             # every document, every problem at once
  blackstart plan store-down      # what would be touched, and how it is undone
  blackstart run store-down       # half a minute: the report lands in reports/
  blackstart gate                 # may it be released, on the evidence of stored runs?
  blackstart drill plan           # drills/monthly.yaml: people's steps, an approval, a schedule

Then make it yours: name your own instances in experiments/stacks/shop.yaml (started, or attached by pid), write what a
user does in experiments/load/shop.py, and state what must hold in experiments/store-down.yaml."""
    )
