"""Check `sealed`: the stack's own journal holds together, entry by entry, and its clock runs forward."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from harness.check.context import CheckContext
from harness.check.ground import EVIDENCE_ROWS, Ground, Ruling, counted, listed
from harness.history.chain import FIRST, digest_of
from harness.history.events import NoteEvent, of_type
from harness.history.exports import EXPORTED, Export
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Params
from harness.model.result import CheckResult, EvidenceRow
from harness.units import format_duration

__all__ = ["KIND", "check"]

KIND = CheckKind(
    name="sealed",
    doc="The stack's own journal verifies (hash chain, signatures, timestamps).",
    params=Params,
    code="harness.check.sealed:check",
    example="checks: [sealed]",
    counts=("broken", "forged", "backwards", "ahead"),
    needs_journals=True,
)
_AHEAD_NS = 1_000_000_000
Sort = Literal["broken", "forged", "backwards", "ahead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flaw:
    journal: str
    entry: int
    sort: Sort
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One line, taken apart. `at_ns`: by the writer's wall clock. `by`: whose clock. `why`: why it does not hold together.

    `forged`: why it is not its writer's.
    """

    at_ns: int | None
    by: str
    why: str | None
    forged: str | None = None


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Whether every entry of every exported journal follows the one before it, and was written at a time that can be.

    A stack names its exports in `signals: {journals: [{name: eu, http: URL}]}` (or `exec: [argv]`, which prints it); each is
    asked once, after the final reads. One JSON object a line, from the first entry on: `prev` (the hash of the entry before;
    64 zeros at first), `hash`, `body` (the very text that was hashed), `at_unix_ns`, and `by` where clocks differ; `hash` is
    the SHA-256 (hex) of `prev` and `body` together. Or lines that carry as `prev` the SHA-256 of the line before, as our own
    record does. *broken*: a hash that does not fit its entry, an entry that does not follow the one before, a line that is
    no entry (the first of each journal). *forged*: where the stack file names the keys of those who write, `keys: {eu: HEX}`
    beside the URL, an entry whose `sig` is not the Ed25519 signature (hex) of its `hash` (as text) by the key of its `by` (the
    first of each journal); keys in the export itself would prove nothing. *backwards*: an entry that says to be older than one
    before it by the same clock, by more than `within`. *ahead*: one that says to be younger than its export, by more than
    `within` and 1 s. A chain shows that nothing in it was changed since; whoever can write the whole of it can chain it anew,
    unless it is signed, and its end can be cut off: `durable` judges that. Unknown: no journal declared, one not exported or
    empty, entries without times, none written during the run. Linear. Source: Haber and Stornetta 1991.
    """
    ground = Ground(history=history, spec=spec, context=context)
    slack_ns = spec.within_ns or 0
    begun_ns = _wall_ns(history)
    flaws: list[_Flaw] = []
    why, entries, recent = _missing(history, context), 0, 0
    for export in history.exports:
        found = list(_entries(export, context.keys.get(export.name, {})))
        entries += len(found)
        flaws += _flaws(export.name, found, slack_ns, _end_ns(history, export.name, begun_ns))
        if not found:
            why.append(f"the journal {export.name} is empty")
        elif any(entry.at_ns is None for entry in found if entry.why is None):
            why.append(f"entries of the journal {export.name} carry no time")
        recent += sum(begun_ns is None or (entry.at_ns or 0) >= begun_ns for entry in found)
    if entries and not recent:
        why.append("no entry was written during the run")
    counts = {sort: sum(flaw.sort == sort for flaw in flaws) for sort in KIND.counts}
    names = [export.name for export in history.exports]
    return ground.rule(
        Ruling(
            broken=_sentence(flaws) if flaws else None,
            unknown=tuple(why),
            holds=f"{counted(entries, 'entry', 'entries')} of {counted(len(names), 'journal')} ({listed(names)}) hold together",
            counts=counts,
            volume={"journals": len(names), "entries": entries, "entries_during": recent},
            evidence=tuple(
                EvidenceRow(op=0, text=f"{flaw.journal}, entry {flaw.entry}: {flaw.words}")
                for flaw in flaws[:EVIDENCE_ROWS]
            ),
        )
    )


def _missing(history: History, context: CheckContext) -> list[str]:
    """Why not every declared journal is there."""
    if not context.exports and not history.exports:
        return ["the stack exports no journal: name it in `signals: {journals: [...]}` of the stack file"]
    there = {export.name for export in history.exports}
    errors = {
        note.data.get("name"): str(note.data.get("error", ""))
        for note in of_type(history.events, NoteEvent)
        if note.code == EXPORTED
    }
    return [
        f"the journal {name} was not exported: {errors.get(name) or 'the run never asked for it'}"
        for name in context.exports
        if name not in there
    ]


def _wall_ns(history: History) -> int | None:
    """The wall clock at the run's origin, ns since 1970; None when the record does not say."""
    run = history.run
    if run is None:
        return None
    try:
        return round(datetime.fromisoformat(run.wall_utc).timestamp() * 1000) * 1_000_000 - run.at_ns
    except ValueError:
        return None


def _end_ns(history: History, name: str, begun_ns: int | None) -> int | None:
    """The wall clock when a journal was exported; None when nobody knows."""
    if begun_ns is None:
        return None
    notes = of_type(history.events, NoteEvent)
    return next(
        (begun_ns + note.at_ns for note in notes if note.code == EXPORTED and note.data.get("name") == name), None
    )


def _entries(export: Export, keys: Mapping[str, str]) -> Iterator[_Entry]:
    expected = FIRST
    for line in export.lines:
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            yield _Entry(at_ns=None, by="", why="is no JSON object")
            return
        at_ns, prev, stated, body = (fields.get(name) for name in ("at_unix_ns", "prev", "hash", "body"))
        why = None
        if prev != expected:
            why = "does not follow the entry before it" if isinstance(prev, str) else "carries no `prev`"
        if isinstance(body, str):
            own = hashlib.sha256((str(prev) + body).encode("utf-8", "surrogatepass")).hexdigest()
            if stated != own:
                why = why or "its hash does not fit what it says"
            elif isinstance(at_ns, int) and str(at_ns) not in body:
                why = why or "its time is not part of what was hashed"
            expected = str(stated)
        else:
            expected = digest_of(line.encode())
        stamp = at_ns if isinstance(at_ns, int) and not isinstance(at_ns, bool) else None
        forged = _forged(fields, keys) if keys else None
        yield _Entry(at_ns=stamp, by=str(fields.get("by", "")), why=why, forged=forged)


def _forged(fields: Mapping[str, object], keys: Mapping[str, str]) -> str | None:
    """Why a line does not come from who it says wrote it; None when it does."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    by, signature, digest = (str(fields.get(name, "")) for name in ("by", "sig", "hash"))
    if by not in keys:
        return f"says to be by {by!r}, of whom the stack file names no key"
    if not signature:
        return "carries no signature"
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(keys[by])).verify(bytes.fromhex(signature), digest.encode())
    except (InvalidSignature, ValueError):
        return f"is not signed by {by}"
    return None


def _flaws(journal: str, entries: list[_Entry], slack_ns: int, end_ns: int | None) -> Iterator[_Flaw]:
    torn = next((number for number, entry in enumerate(entries, start=1) if entry.why is not None), None)
    if torn is not None:
        yield _Flaw(journal=journal, entry=torn, sort="broken", words=str(entries[torn - 1].why))
    forged = next((number for number, entry in enumerate(entries, start=1) if entry.forged is not None), None)
    if forged is not None:
        yield _Flaw(journal=journal, entry=forged, sort="forged", words=str(entries[forged - 1].forged))
    latest: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        if entry.at_ns is None:
            continue
        before_ns = latest.get(entry.by, entry.at_ns)
        if entry.at_ns < before_ns - slack_ns:
            back = format_duration(before_ns - entry.at_ns)
            yield _Flaw(
                journal=journal, entry=number, sort="backwards", words=f"says to be {back} older than one before it"
            )
        if end_ns is not None and entry.at_ns > end_ns + slack_ns + _AHEAD_NS:
            ahead = format_duration(entry.at_ns - end_ns)
            yield _Flaw(
                journal=journal, entry=number, sort="ahead", words=f"says to be {ahead} younger than its export"
            )
        latest[entry.by] = max(before_ns, entry.at_ns)


def _sentence(flaws: list[_Flaw]) -> str:
    torn = [flaw for flaw in flaws if flaw.sort == "broken"]
    forged = [flaw for flaw in flaws if flaw.sort == "forged"]
    rest = [flaw for flaw in flaws if flaw.sort not in ("broken", "forged")]
    parts = [f"the journal {flaw.journal} breaks at entry {flaw.entry}: {flaw.words}" for flaw in torn]
    parts += [f"the journal {flaw.journal} is forged at entry {flaw.entry}: it {flaw.words}" for flaw in forged]
    if rest:
        parts.append(f"{counted(len(rest), 'entry', 'entries')} at times that cannot be: {rest[0].words}")
    return "; ".join(parts)
