"""Locust's request events as rows of our history."""

from __future__ import annotations

from typing import Any

from harness.load.outcomes import NO_EFFECT_STATUSES
from harness.load.record import Row

__all__ = ["EndedOp"]

_READS = {"get", "head", "options", "trace"}
_WORDS = (
    ("refused", ("connectionrefused", "connection refused", "errno 111")),
    ("unresolved", ("name or service not known", "gaierror", "nameresolution")),
    ("timeout", ("timeout", "timed out")),
    ("reset", ("connectionreset", "connection reset", "broken pipe")),
    ("eof", ("remotedisconnected", "remote end closed", "httpconnectionclosed", "connection closed", "no response")),
    ("payload-broken", ("incompleteread", "chunkedencoding", "httpparseerror")),
)


class EndedOp:
    """One request event that took `span_ns` (begin and end since the origin); open only while it is written down."""

    def __init__(self, op: int, message: dict[str, Any], span_ns: tuple[int, int]) -> None:
        self.op, self.f, self.phase = op, str(message["f"]), "load"
        self.intended_ns, done_ns = span_ns
        status, exc = message["status"], message["exc"]
        outcome, error = _outcome(self.f, status, exc)
        self.row: Row = (
            op, 0, "0.0", None, None, self.f, message["name"], None, None, self.intended_ns, self.intended_ns, None,
            done_ns, outcome, error, status, None, None, None, None, None, None, 1, 0,
            message["bytes"], None, "load", False, False, False, False, None,
            0, None, None,
        )  # fmt: skip

    def cut_row(self, at_ns: int) -> Row:
        """See `OpenOp`; it has ended already."""
        del at_ns
        return self.row


def _outcome(f: str, status: int | None, exc: list[str] | None) -> tuple[str, str | None]:
    """As in `outcomes`: `fail` with proof of no effect, `info` for a write that may have had one."""
    if exc is None and (status is None or status < 400):
        return "ok", None
    text = " ".join(exc or ()).lower()
    word = next((word for word, parts in _WORDS if any(part in text for part in parts)), exc[0] if exc else "error")
    if status is not None and status >= 400:
        word = f"http {status}"
    sure = word in ("refused", "unresolved") or status in NO_EFFECT_STATUSES
    return ("fail" if sure or f in _READS else "info"), word
