"""The journals that a stack exports, from `signals: {journals: [...]}`."""

from __future__ import annotations

from harness.model.stack import ExportSpec
from harness.spec.documents import SignalsDoc
from harness.spec.report import At, Report

__all__ = ["build_exports"]


def build_exports(root: At, doc: SignalsDoc | None, report: Report) -> tuple[ExportSpec, ...]:
    """The journals that are asked for at the end of a run, each name once; () without any."""
    made: dict[str, ExportSpec] = {}
    for index, journal in enumerate(doc.journals if doc is not None else ()):
        at = root.walk("signals", "journals", index)
        if at is None:
            continue
        if (journal.http is None) == (journal.exec is None):
            report.error(at, "expected one of http (a URL) and exec (a command)")
        if journal.name in made:
            report.error(at, f"there are two journals {journal.name!r}", remedy="give one of them another name")
        made[journal.name] = ExportSpec(name=journal.name, http=journal.http, argv=tuple(journal.exec or ()))
    return tuple(made.values())
