"""The journals that a stack exports, from `signals: {journals: [...]}`."""

from __future__ import annotations

import re

from harness.model.stack import ExportSpec
from harness.spec.documents import SignalsDoc
from harness.spec.report import At, Report

__all__ = ["build_exports"]

_KEY = re.compile("[0-9a-f]{64}")


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
        for by, key in journal.keys.items():
            if _KEY.fullmatch(key) is None:
                message = f"expected an Ed25519 public key, 64 hexadecimal digits, got {key!r}"
                report.error(at.walk("keys", by) or at, message)
        made[journal.name] = ExportSpec(
            name=journal.name, http=journal.http, argv=tuple(journal.exec or ()), keys=journal.keys
        )
    return tuple(made.values())
