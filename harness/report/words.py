"""Words for verdicts, reasons, measures and states: what they mean to a reader, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.model.measured import Recovery
from harness.model.result import Reason
from harness.model.verdict import CheckVerdict, Status, Verdict
from harness.report.page import Badge

__all__ = [
    "CHECK_BADGES",
    "MEANING",
    "NO",
    "RESIDUE",
    "SEVERITY_BADGES",
    "STATUS_BADGES",
    "UNKNOWN",
    "UNRESOLVED",
    "VERDICT_BADGES",
    "YES",
    "measure_label",
    "recovered_by",
    "slug",
    "todo",
    "yes_no",
]

VERDICT_BADGES: Mapping[Verdict, Badge] = {
    Verdict.PASS: Badge(word="PASS", sign="✓", tone="pass"),
    Verdict.FAIL: Badge(word="FAIL", sign="✕", tone="fail"),
    Verdict.INCONCLUSIVE: Badge(word="INCONCLUSIVE", sign="?", tone="warn"),
    Verdict.REFUSED: Badge(word="REFUSED", sign="–", tone="info"),
    Verdict.ABORTED: Badge(word="ABORTED", sign="■", tone="warn"),
    Verdict.ERROR: Badge(word="ERROR", sign="!", tone="fail"),
    Verdict.DIRTY: Badge(word="DIRTY", sign="!", tone="fail"),
}
STATUS_BADGES: Mapping[Status, Badge] = {
    Status.MET: Badge(word="met", sign="✓", tone="pass"),
    Status.MISSED: Badge(word="missed", sign="✕", tone="fail"),
    Status.UNKNOWN: Badge(word="unknown", sign="?", tone="warn"),
}
CHECK_BADGES: Mapping[CheckVerdict, Badge] = {
    CheckVerdict.VALID: Badge(word="valid", sign="✓", tone="pass"),
    CheckVerdict.INVALID: Badge(word="invalid", sign="✕", tone="fail"),
    CheckVerdict.UNKNOWN: Badge(word="unknown", sign="?", tone="warn"),
}
SEVERITY_BADGES: Mapping[str, Badge] = {
    "high": Badge(word="high", sign="▲", tone="fail"),
    "medium": Badge(word="medium", sign="◆", tone="warn"),
    "low": Badge(word="low", sign="▽", tone="info"),
    "strength": Badge(word="strength", sign="✓", tone="pass"),
}
YES = Badge(word="yes", sign="✓", tone="pass")
NO = Badge(word="no", sign="✕", tone="fail")
UNKNOWN = Badge(word="not known", sign="?", tone="warn")
UNRESOLVED = Badge(word="unresolved", sign="✕", tone="fail")
RESIDUE = Badge(word="left behind", sign="✕", tone="fail")

MEANING: Mapping[Verdict, str] = {
    Verdict.PASS: "Every objective was met, and the proof is complete: the fault was real, the load felt it, all was put back.",
    Verdict.FAIL: "The fault was real and the result is certain: an objective was missed, or data was damaged.",
    Verdict.INCONCLUSIVE: "This is not a pass. The run went ahead, but a link in the chain of proof is missing.",
    Verdict.REFUSED: "The run did not begin, so it is neither pass nor failure: a condition that it needs was not met.",
    Verdict.ABORTED: "Stopped early, by a safety rule or a person. What was seen until then is below.",
    Verdict.ERROR: "The run itself broke off, not the stack. The verdict is void: nothing on this page judges the stack.",
    Verdict.DIRTY: "Act now: it is not proven that everything was put back. The stack may still be degraded.",
}

_HELD = "Find what restored the target while the fault stood: a supervisor, or a second operator. Then run again."
_FINAL = "Make the final reads possible: see which regions did not answer; lengthen `final.within` if they were slow."
_LOAD = "Give the load generator more room: processor time, `users_max`, workers, or a lower rate. Then run again."
_RECOVER = "Run `blackstart recover`, then the commands on this page for what it cannot undo."
_STEADY = "Bring the stack to its steady state, or correct `steady_state` if it asks too much. Then run again."
_PERSON = "Ask whoever stopped the run; nothing else is needed. Run again when ready."

# Beginnings of words in a reason's code (for REFUSED and ABORTED also in its text), first match wins.
_TODO: Mapping[Verdict, tuple[tuple[str, str], ...]] = {
    Verdict.INCONCLUSIVE: (
        (
            "witness",
            "Check that the fault can reach its target (`blackstart plan`, `blackstart faults`), then run again.",
        ),
        ("gone", _HELD),
        ("held", _HELD),
        ("exposure", "Send load through the target: check `entry`, routing and groups, or state `expect: no-impact`."),
        ("steady", _STEADY),
        ("calm", "Lengthen `steady_state.for` or raise the load, so that the rule can tell calm from outage."),
        ("final", _FINAL),
        ("unread", _FINAL),
        ("worker", "See logs/ for why the worker ended. " + _LOAD),
        ("unaccounted", "Run again; if it comes back, report it with the run directory."),
        ("untrusted", _LOAD),
        ("dropped", _LOAD),
        ("late", _LOAD),
        ("load", "See whether the stack's entry could be reached and the profile made any operation."),
        ("inject", "See the fault's error under “Faults and steps”, and `blackstart doctor`. Then run again."),
        ("apply", "See the fault's error under “Faults and steps”, and `blackstart doctor`. Then run again."),
        ("step", "See the step's output under “Faults and steps”."),
        ("check", "See the check's reason under “Data”; `blackstart check` repeats it on the stored history."),
    ),
    Verdict.REFUSED: (
        ("port", "Free the port, or name another one in the stack file. Then run again."),
        ("steady", _STEADY),
        ("ready", "See the instance's last log lines for why it was not ready in time."),
        ("lock", "Another run holds the stack: wait for it (`blackstart status`), or stop it (`blackstart halt`)."),
        ("match", "Compare `on:` with the stack's instances, links and regions (`blackstart plan`)."),
        (
            "budget",
            "Wait for error budget to return, or lower the predicted cost: a shorter fault, a smaller blast radius.",
        ),
        ("confirm", "Name the target to confirm that it is meant: `--confirm-target NAME`."),
        ("drillable", "Opt the target in under `drillable:` in the stack file, if its owner agrees."),
        ("foreign", "Ask its owner to remove it, or wait: Blackstart does not touch what it did not make."),
    ),
    Verdict.ABORTED: (
        ("rule", "See how far the abort rule was crossed; correct the stack, or the rule if it was too tight."),
        ("halt", _PERSON),
        ("signal", _PERSON),
        ("sigint", _PERSON),
        ("interrupt", _PERSON),
        ("person", _PERSON),
        ("user", _PERSON),
        ("reaper", "Find out why the reaper died: without it nothing may stay broken."),
    ),
    Verdict.ERROR: (
        (
            "incomplete",
            "See `blackstart status` for what is left to undo; find out what ended the process. Then run again.",
        ),
        ("space", "Make room where runs are kept (`--reports`), then run again."),
    ),
}
_DEFAULT_TODO: Mapping[Verdict, str] = {
    Verdict.PASS: "",
    Verdict.FAIL: "The operations that prove it are under “Objectives in full” and “Data”.",
    Verdict.INCONCLUSIVE: "Close the gap that is named here, then run again. Do not count this run.",
    Verdict.REFUSED: "Meet the condition that is named here, then run again.",
    Verdict.ABORTED: "Find out why it was stopped, then run again.",
    Verdict.ERROR: "Run again; if it comes back, report it with the run directory.",
    Verdict.DIRTY: _RECOVER,
}


def todo(reason: Reason) -> str:
    """What to do about a reason; the verdict's own advice when its words are not known. Empty for PASS."""
    said = reason.code if reason.verdict is Verdict.INCONCLUSIVE else f"{reason.code} {reason.text}"
    pieces = re.split("[^a-z]+", said.lower())
    known = _TODO.get(reason.verdict, ())
    found = (advice for part, advice in known if any(piece.startswith(part) for piece in pieces))
    return next(found, _DEFAULT_TODO[reason.verdict])


_MEASURES: Mapping[str, str] = {
    "recovery_time": "Recovery time",
    "recovery_time.return": "Recovery after the return",
    "recovery_time.prober": "Recovery time, seen by the prober",
    "data_loss": "Acknowledged writes lost",
    "data_loss.share": "Share of acknowledged writes lost",
    "data_loss.span": "Span of lost writes",
    "data_loss.until": "Last lost write after the effect",
    "availability": "Availability",
    "mid_stream": "Streams broken mid-way",
    "gap": "Longest time without a good answer",
    "first_success": "First success after the fault",
    "last_error_seen": "Last error seen",
    "detection": "Detection",
    "failover": "Failover",
    "failback": "Failback",
    "attempts": "Wire attempts per operation",
    "steady_state.after": "Steady state afterwards",
    "good": "Good operations",
    "bad": "Bad operations",
    "valid": "Valid operations",
}
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"budget\.(.+)", "Error budget used ({0})"),
    (r"burn\.(.+)", "Burn rate ({0})"),
    (r"latency\.p(\d+)\.all", "Latency p{0}, outage included"),
    (r"latency\.p(\d+)", "Latency p{0} outside the outage"),
    (r"ttft\.p(\d+)\.all", "Time to first token p{0}, outage included"),
    (r"ttft\.p(\d+)", "Time to first token p{0} outside the outage"),
    (r"alert\.(.+)\.fires", "Alert {0} fires"),
    (r"alert\.(.+)\.clears", "Alert {0} clears"),
    (r"probe\.(.+)\.(min|max|mean|last)", "Probe {0}, {1}"),
    (r"(.+)\.(lost|duplicates|reordered|altered|phantoms|holes|gaps)", "{0}: {1}"),
)


def measure_label(measure: str, kind: str) -> str:
    """An objective's measure as a person would name it; as it is written when it has no name of its own."""
    name, brace, where = measure.partition("{")
    slice_words = f" ({where.rstrip('}').replace('=', ' ')})" if brace else ""
    if kind == "check":
        return f"Data check: {measure}"
    if name in _MEASURES:
        return _MEASURES[name] + slice_words
    for pattern, words in _PATTERNS:
        match = re.fullmatch(pattern, name)
        if match:
            return words.format(*match.groups()) + slice_words
    return measure


def recovered_by(recovery: Recovery) -> str:
    """Who ended the disruption, in words; empty when there was none or nobody can tell."""
    if recovery.state != "recovered":
        return ""
    return {
        "stack": "by the stack itself, before the fault ended",
        "step": "after a scenario step, before the fault ended",
        "revert": "only when the fault was taken away",
        "unclear": "by whom cannot be told",
    }.get(recovery.recovered_by or "", "")


def slug(text: str, prefix: str, taken: set[str]) -> str:
    """A stable anchor from words, unique among `taken`, to which it is added."""
    base = f"{prefix}-{re.sub('[^a-z0-9]+', '-', text.lower()).strip('-')[:48] or 'x'}"
    name, count = base, 2
    while name in taken:
        name, count = f"{base}-{count}", count + 1
    taken.add(name)
    return name


def yes_no(value: bool | None) -> Badge:
    """A yes, a no, or not known."""
    return UNKNOWN if value is None else YES if value else NO
