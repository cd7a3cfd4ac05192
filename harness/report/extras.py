"""What a report may show beside the result: other runs, inputs, logs. Plain values, handed in by whoever renders."""

from __future__ import annotations

from dataclasses import dataclass

from harness.model.control import Controls
from harness.model.measured import Interval
from harness.model.verdict import Verdict

__all__ = ["ComparableRun", "InputFile", "LogTail", "ReportExtras"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparableRun:
    """An earlier run with the same comparability key. `recovery` is None when the run has no recovery time."""

    run_id: str
    started_utc: str
    verdict: Verdict
    recovery: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A document as it was resolved, secrets removed."""

    name: str
    text: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTail:
    """The last lines that one instance logged, oldest first."""

    instance: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportExtras:
    """All of it optional: a page made of the result alone says what it lacks. `comparable` is oldest first."""

    plan_yaml: str | None = None
    inputs: tuple[InputFile, ...] = ()
    manifest_hash: str | None = None
    comparable: tuple[ComparableRun, ...] = ()
    logs: tuple[LogTail, ...] = ()
    controls: Controls | None = None
