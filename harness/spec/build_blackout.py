"""`blackout:` of a stack or an experiment, to instants in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from harness.model.stack import Blackout
from harness.spec.documents import BlackoutDoc
from harness.spec.report import At, Report

__all__ = ["build_blackouts"]

_DAY_LENGTH = len("2026-12-15")


def build_blackouts(root: At, docs: Sequence[BlackoutDoc], report: Report) -> tuple[Blackout, ...]:
    """The windows, as written; a day that there is not, or an end before its beginning, is reported."""
    made = []
    for index, doc in enumerate(docs):
        begin = _instant(root.walk("blackout", index, "from"), doc.from_, report, end=False)
        until = _instant(root.walk("blackout", index, "to"), doc.to, report, end=True)
        if begin is None or until is None:
            continue
        at = root.walk("blackout", index, "to")
        if until <= begin and at is not None:
            report.error(at, f"expected an instant after {doc.from_!r}, got {doc.to!r}")
        made.append(Blackout(from_utc=begin.isoformat(), until_utc=until.isoformat(), why=doc.why))
    return tuple(made)


def _instant(at: At | None, text: str, report: Report, *, end: bool) -> datetime | None:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        if at is not None:
            report.error(at, f"there is no such day or time: {text!r}")
        return None
    if end and len(text) == _DAY_LENGTH:
        read += timedelta(days=1)
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)
