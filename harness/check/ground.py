"""What every check stands on: which ops it judges, how much evidence there was, and why it may have to say "unknown"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from harness.check.context import CheckContext, FaultSpan
from harness.check.index import FOREVER, Bools, Entries, Index, Ints, Reads
from harness.check.words import noun
from harness.history.history import History
from harness.history.op import Op
from harness.model.chance import rule_of_three
from harness.model.experiment import CheckSpec
from harness.model.result import CheckResult, EvidenceRow
from harness.model.verdict import CheckVerdict
from harness.units import format_duration

__all__ = ["EVIDENCE_ROWS", "Ground", "Ruling", "below", "counted", "first", "listed"]

T = TypeVar("T")

EVIDENCE_ROWS = 12
_LONGEST_TEXT = 60
_LONGEST_LABEL = 24


def below(count: int) -> str:
    """ "below 0.066 % at 95 %": the bound after 0 of `count`, rounded up to two digits, so that it never says too little."""
    percent = rule_of_three(count) * 100
    scale = 10.0 ** (1 - int(np.floor(np.log10(percent))))
    rounded = min(100.0, float(np.ceil(percent * scale - 1e-9)) / scale)
    return f"below {rounded:.{max(0, round(np.log10(scale)))}f} % at 95 %"


def listed(names: tuple[str, ...] | list[str], most: int = 4) -> str:
    """Names in words, the first few: "a, b and c", "a, b, c, d and 7 more". "none" when there are none."""
    shown, rest = list(names[:most]), len(names) - most
    if rest > 0:
        shown.append(f"{rest:,} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown) or "none"


def counted(count: int, one: str, many: str | None = None) -> str:
    """ "1 turn", "4,581 turns"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a check found, before it is weighed: broken or not, why it may not be known, and in what words.

    `holds` is the sentence when nothing is wrong, `broken` when something is (None: nothing is).
    """

    broken: str | None
    unknown: tuple[str, ...]
    holds: str
    counts: dict[str, int]
    volume: dict[str, int]
    evidence: tuple[EvidenceRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ground:
    """One check's view of a history. `judged` are the rows of its slice `on`; final reads are never sliced away."""

    history: History
    spec: CheckSpec
    context: CheckContext

    @cached_property
    def index(self) -> Index:
        """The history's columns."""
        return self.context.index(self.history)

    @property
    def entries(self) -> Entries:
        """What was written."""
        return self.index.entries

    @property
    def reads(self) -> Reads:
        """What was read."""
        return self.index.reads

    @cached_property
    def judged(self) -> Bools:
        """Rows within the slice. `f` cuts only ops of the same sort: `{f: append}` takes no read away.

        Raises KeyError for a column that is no text column.
        """
        index, on = self.index, self.spec.on
        mask = index.table.slice_({name: text for name, text in on.items() if name != "f"})
        if "f" in on:
            same = index.table.is_("f", on["f"])
            for sort in (index.is_write, index.is_read):
                if np.any(sort & same):
                    mask = mask & (same | ~sort)
        return mask

    @cached_property
    def judged_entries(self) -> Bools:
        """Entries that users of the slice wrote; the prober's own are left out, for nobody reads them back."""
        return self.entries.load & self.judged[self.entries.row]

    @cached_property
    def acked(self) -> Bools:
        """Judged entries that were acknowledged."""
        return self.judged_entries & self.entries.acked

    @cached_property
    def regions(self) -> tuple[str | None, ...]:
        """The regions asked; without any named, those that final reads name; (None,) where these name none."""
        if self.context.regions:
            return self.context.regions
        codes = np.unique(self.reads.region[self.reads.phase == 2])
        named = tuple(self.index.regions[code] for code in codes.tolist() if code >= 0)
        return tuple(name for name in named if name not in self.context.evidence_regions) or (None,)

    # ---- why it may not be known

    def overlapping(self, mask: Bools) -> int:
        """How many of these rows were open while a fault was in effect."""
        index, hit = self.index, np.zeros(len(mask), dtype=np.bool_)
        sent = ~index.table.is_("outcome", "dropped")
        for span in self.context.faults:
            end_ns = FOREVER if span.end_hi_ns is None else span.end_hi_ns
            hit |= (index.done_ns >= span.effect_lo_ns) & (index.lo_ns <= end_ns)
        return int(np.count_nonzero(hit & mask & sent))

    def gaps(self, mask: Bools | None = None) -> list[str]:
        """Why nothing can be said, in words: nothing acknowledged, no op overlapped a fault. Empty when all is there.

        `mask`: the rows that matter; None for every write and read of the slice.
        """
        index, why = self.index, []
        if not np.any(index.is_write & index.ok & index.load & self.judged):
            why.append("nothing was acknowledged" + (" in this slice" if self.spec.on else ""))
        if self.context.faults_planned or self.context.faults:
            rows = (index.is_write | index.is_read) & index.load & self.judged if mask is None else mask
            if not self.context.faults:
                why.append("no fault was applied")
            elif not self.overlapping(rows):
                why.append("no operation was open while a fault was in effect")
        return why

    def unread(self) -> list[str]:
        """Why the final reads do not tell everything. Empty when each acknowledged entry was looked for in each region."""
        return list(self._once("unread", self._unread))

    def _once(self, what: str, find: Callable[[], T]) -> T:
        """What several checks ask of one slice of one history, found out once."""
        told, key = self.index.told, (what, *sorted(self.spec.on.items()))
        if key not in told:
            told[key] = find()
        found: T = told[key]
        return found

    def _unread(self) -> list[str]:
        reads, index = self.reads, self.index
        finals = reads.phase == 2
        if not np.any(finals) and not len(reads.damaged):
            return ["there was no final read"]
        why = []
        if len(reads.damaged):
            why.append(
                f"{counted(len(reads.damaged), 'final read')} returned something else than a model {self.context.model!r} does"
            )
        for region in self.regions:
            chosen = np.zeros(len(reads), dtype=np.bool_)
            chosen[index.latest_finals(region)] = True
            missed = int(np.count_nonzero(self.acked & (index.homes(chosen) < 0)))
            where = "" if region is None else f" in {region}"
            if missed:
                was = "was" if missed == 1 else "were"
                why.append(f"{missed:,} acknowledged {self.nouns(missed)} {was} not looked for{where}")
            elif not np.any(chosen):
                why.append(f"there was no final read{where}")
        sessions = {index.names[code] for code in np.unique(self.entries.session[self.acked]).tolist() if code >= 0}
        silent = [place for place in self.context.unread if self._matters(place, sessions)]
        if silent and not why:
            why.append(f"{counted(len(silent), 'final read')} never succeeded ({listed(silent, 3)})")
        return why

    def _matters(self, place: str, sessions: set[str]) -> bool:
        session, _, region = place.rpartition("@")
        asked = region in self.regions or self.regions == (None,)
        return asked and (session in sessions or not self.spec.on)

    def unnamed(self) -> list[str]:
        """Why writes cannot be told apart. Empty when each has a value of its own."""
        return list(self._once("unnamed", self._unnamed))

    def _unnamed(self) -> list[str]:
        rivals = int(np.count_nonzero(self.entries.rivals & self.judged_entries))
        why = []
        if self.index.nameless_acked:
            why.append(f"{counted(self.index.nameless_acked, 'acknowledged write')} carried no value of its own")
        if rivals:
            why.append(f"{counted(rivals, 'value was', 'values were')} written by more than one operation")
        return why

    # ---- how much there was

    def volume(self) -> dict[str, int]:
        """How much evidence there was: acknowledged before, during and after the faults, uncertain, read, by how many."""
        return dict(self._once("volume", self._volume))

    def _volume(self) -> dict[str, int]:
        entries, index, spans = self.entries, self.index, self.context.faults
        acks = entries.ack_ns[self.acked]
        first = spans[0].effect_lo_ns if spans else FOREVER
        ends = [FOREVER if span.end_hi_ns is None else span.end_hi_ns for span in spans]
        last = max(ends, default=FOREVER)
        before, after = int(np.count_nonzero(acks < first)), int(np.count_nonzero(acks > last))
        load = index.load & self.judged
        return {
            "acked": len(acks),
            "acked_before": before,
            "acked_during": len(acks) - before - after,
            "acked_after": after,
            "info": int(np.count_nonzero(index.is_write & index.info & load)),
            "reads": int(np.count_nonzero(index.is_read & index.ok & load)),
            "final_reads": int(np.count_nonzero(self.reads.phase == 2)),
            "sessions": len(np.unique(entries.session[self.acked])),
        }

    # ---- in words

    def nouns(self, count: int) -> str:
        """The model's word for what its writes make."""
        return noun(self.context.model, self.context.profile, count)

    def when(self, at_ns: int) -> str:
        """An instant beside the faults: "0.41 s after the effect of eu-down", or since the origin when there is none."""
        spans = self.context.faults
        if not spans:
            return f"at {format_duration(at_ns)}"
        past: FaultSpan = next((span for span in reversed(spans) if span.effect_lo_ns <= at_ns), spans[0])
        gap_ns = at_ns - past.effect_lo_ns
        return f"{format_duration(abs(gap_ns))} {'after' if gap_ns >= 0 else 'before'} the effect of {past.id}"

    def op(self, row: int) -> Op:
        """One row as an op."""
        return self.index.table.rows([row])[0]

    def write_row(self, entry: int, finding: str) -> EvidenceRow:
        """The evidence row of a write: what, whose, when acknowledged, by whom, and what is wrong with it."""
        op = self.op(int(self.entries.row[entry]))
        fate = {"ok": "acknowledged", "info": "uncertain", "fail": "refused", "dropped": "never sent"}[op.outcome]
        at_ns = op.done_ns if op.outcome == "ok" and op.done_ns is not None else op.sent_ns or op.intended_ns
        words = f"{op.f} {_shown(self.entries.texts[entry])}{self._whose(op)}, {fate} {self.when(at_ns)}{_by(op)}"
        return _evidence(op, at_ns, f"{words}: {finding}")

    def read_row(self, read: int, finding: str) -> EvidenceRow:
        """The evidence row of a read: which, whose, when it ended, by whom, and what it shows."""
        return self.op_row(int(self.reads.row[read]), finding)

    def op_row(self, row: int, finding: str) -> EvidenceRow:
        """The evidence row of any op, by its end."""
        op = self.op(row)
        at_ns = op.done_ns if op.done_ns is not None else op.intended_ns
        what = f"final {op.f}" if op.phase == "final" else op.f
        value = "" if op.value is None else f" {_shown(op.value)}"
        whose = self._whose(op) or (f" of key {_shown(op.key)}" if op.key is not None else "")
        return _evidence(op, at_ns, f"{what}{value}{whose}, ended {self.when(at_ns)}{_by(op)}: {finding}")

    def value(self, number: int) -> str:
        """A value that was read, quoted."""
        count = len(self.entries)
        return _shown(self.entries.texts[number] if number < count else self.reads.foreign[number - count])

    def _whose(self, op: Op) -> str:
        return "" if op.session is None else f" of session {_shown(op.session)}"

    # ---- the verdict

    def rule(self, ruling: Ruling) -> CheckResult:
        """The result: invalid beats unknown beats valid. Counts are left out when unknown, so that no limit is met by them."""
        if ruling.broken is not None:
            verdict, sentence = CheckVerdict.INVALID, ruling.broken
        elif ruling.unknown:
            verdict, sentence = CheckVerdict.UNKNOWN, "cannot be told"
        else:
            verdict, sentence = CheckVerdict.VALID, ruling.holds
        return CheckResult(
            name=self.spec.name,
            kind=self.spec.kind,
            verdict=verdict,
            sentence=sentence,
            counts={} if verdict is CheckVerdict.UNKNOWN else ruling.counts,
            volume=ruling.volume,
            evidence=ruling.evidence[:EVIDENCE_ROWS] if verdict is CheckVerdict.INVALID else (),
            why_unknown="; ".join(ruling.unknown) if verdict is CheckVerdict.UNKNOWN else None,
        )


def _evidence(op: Op, at_ns: int, text: str) -> EvidenceRow:
    """A row of evidence with what its picture needs."""
    lane = f"final, {op.region}" if op.phase == "final" and op.region else op.session or op.writer or f"user {op.user}"
    label = f"{op.f} {op.value}" if op.value is not None else op.f
    return EvidenceRow(
        op=op.op,
        at_ns=at_ns,
        text=text,
        lane=lane[:_LONGEST_LABEL],
        label=label[:_LONGEST_LABEL],
        began_ns=op.sent_ns if op.sent_ns is not None else op.intended_ns,
        ended_ns=op.done_ns if op.outcome in ("ok", "fail") and not op.cut else None,
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…")


def _by(op: Op) -> str:
    facts = [fact for fact in (op.region, None if op.epoch is None else f"epoch {op.epoch}") if fact]
    if op.served_by is None:
        return f" ({', '.join(facts)})" if facts else ""
    return f" by {op.served_by}" + (f" ({', '.join(facts)})" if facts else "")


def first(mask: Bools, most: int = EVIDENCE_ROWS) -> Ints:
    """The first few positions at which the mask is true."""
    return np.flatnonzero(mask)[:most]
