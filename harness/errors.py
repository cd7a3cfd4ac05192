"""The error tree, split by who must act. Here: exception types and their facts. Not here: exit handling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "HarnessBug",
    "HarnessError",
    "InjectError",
    "Problem",
    "RevertError",
    "SpecError",
    "StoreError",
    "UnsafeError",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one document.

    `line` and `column` count from 1 and are None when a problem has no place (a `--set`, a missing file). `source` is
    the whole offending line, `width` how many characters of it to underline (at least 1). `help` is the remedy.
    """

    file: str
    message: str
    where: str = ""
    line: int | None = None
    column: int | None = None
    source: str | None = None
    width: int = 1
    help: str | None = None
    severity: str = "error"

    def __str__(self) -> str:
        """The problem as a compiler would print it: place, rule, source line, caret, remedy."""
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        subject = f"{self.where}: " if self.where else ""
        lines = [f"{place}: {self.severity}: {subject}{self.message}"]
        if self.source is not None and self.line is not None:
            gutter = f"{self.line:5d} | "
            lines.append(f"{gutter}{self.source}")
            lines.append(" " * (len(gutter) - 2) + "| " + " " * ((self.column or 1) - 1) + "^" * max(1, self.width))
        if self.help:
            lines.append(f"   help: {self.help}")
        return "\n".join(lines)


class HarnessError(Exception):
    """Base of every error that Blackstart raises on purpose."""


class SpecError(HarnessError):
    """A document, flag or name is wrong and its author must mend it: exit 2. `problems` holds all, in file order."""

    def __init__(self, problems: Sequence[Problem] | Problem | str) -> None:
        if isinstance(problems, str):
            problems = Problem(file="blackstart", message=problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnsafeError(HarnessError):
    """The world is not as the plan needs it, and nothing was injected: exit 4. `remedy` says what to do."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(message if remedy is None else f"{message}; {remedy}")


class InjectError(HarnessError):
    """A fault could not be prepared, applied or witnessed: the run cannot prove anything, exit 3."""


class RevertError(HarnessError):
    """A fault could not be undone or its absence not proven: exit 7. `commands` would undo it by hand."""

    def __init__(self, message: str, *, commands: Sequence[str] = ()) -> None:
        self.commands = tuple(commands)
        super().__init__(message)


class StoreError(HarnessError):
    """The run directory could not be written or read: exit 6."""


class HarnessBug(HarnessError):
    """Blackstart contradicted itself: exit 6, please report it."""
