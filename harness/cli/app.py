"""The command tree, and the one place where an error becomes an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from harness import __version__
from harness.cli import (
    aftercare,
    catalogue,
    checking,
    comparing,
    demo,
    doctor,
    documents,
    drilling,
    drills,
    evidence,
    gating,
    halting,
    hosting,
    importing,
    proxying,
    scheduling,
    serving,
    starting,
)
from harness.errors import HarnessBug, HarnessError, RevertError, SpecError, StoreError, UnsafeError
from harness.model.verdict import EXIT_CODES, SPEC_EXIT, Verdict

__all__ = ["app", "run"]

app = typer.Typer(
    name="blackstart",
    help="Failover drills with a verdict: break a serving stack under load, measure recovery, budget and data, put it back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"blackstart {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """What comes before a command's name."""


for commands in (
    demo,
    starting,
    documents,
    drilling,
    drills,
    catalogue,
    checking,
    evidence,
    importing,
    comparing,
    gating,
    aftercare,
    halting,
    hosting,
    doctor,
    proxying,
    scheduling,
    serving,
):
    commands.register(app)

_SIGPIPE_EXIT = 141
_EXITS: tuple[tuple[type[HarnessError], int], ...] = (
    (SpecError, SPEC_EXIT),
    (UnsafeError, EXIT_CODES[Verdict.REFUSED]),
    (RevertError, EXIT_CODES[Verdict.DIRTY]),
    (StoreError, EXIT_CODES[Verdict.ERROR]),
    (HarnessBug, EXIT_CODES[Verdict.ERROR]),
)


def _exit_unread() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(_SIGPIPE_EXIT)


def run() -> None:
    """Carry out the command line. Errors go to stderr in words.

    What we did not foresee is no verdict about the stack: exit 6, never the 1 of a FAIL. Of a reader that went away (`| head`)
    nothing is said, and the exit code is a shell's, 141: whatever was to be told, a verdict too, nobody has read it.
    """
    try:
        app(prog_name="blackstart")
    except HarnessError as exc:
        sys.stderr.write(f"{exc}\n")
        for command in getattr(exc, "commands", ()):
            sys.stderr.write(f"   to undo it by hand: {command}\n")
        sys.exit(next((code for kind, code in _EXITS if isinstance(exc, kind)), EXIT_CODES[Verdict.ERROR]))
    except BrokenPipeError:
        _exit_unread()
    except SystemExit as exc:
        if isinstance(exc.__context__, BrokenPipeError):  # typer's own code for it is 1
            _exit_unread()
        raise
    except Exception as exc:
        traceback.print_exc()
        sys.stderr.write(f"this is a defect of blackstart, not of what it was used on: {type(exc).__name__}: {exc}\n")
        sys.exit(EXIT_CODES[Verdict.ERROR])
