"""How a journal that begins with a log on disk comes back: gate after gate, each named, timed and logged.

`keys`      this log was begun with the keys that we have
`registry`  every record is what was hashed and signed
`ledger`    so is every entry, and each follows the one before it
`sessions`  every outcome belongs to one earlier turn, and no turn has two
`traffic`   nothing was cut, or it is there again: the log equals a primary's to its end

An entry that fails its gate is cut off with all that follows it, into quarantine. The first gate cuts nothing: with the wrong
keys every entry would fail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness.reference.channel import Refused, Wire
from harness.reference.journal import GENESIS, Entry, Journal
from harness.reference.mutants import TRUSTS_ITS_DISK
from harness.reference.program import log

if TYPE_CHECKING:
    from harness.reference.seal import Seals

__all__ = ["Restoration"]

_T = TypeVar("_T")
_CHUNK = 500
_RETRY_S = 1.0


class _Read(Protocol):
    def __call__(self, question: Callable[[Journal], _T], /) -> Awaitable[_T]: ...


class Restoration:
    """Where one journal stands; `stage` is None once it takes part again."""

    def __init__(self, region: str, seals: Seals | None, mutants: frozenset[str] = frozenset()) -> None:
        self.stage: str | None = "keys"
        self.why = ""
        self.cut = 0  # entries
        self.passed: list[Wire] = []
        self._region = region
        self._seals = seals
        self._trusts = TRUSTS_ITS_DISK in mutants
        self._began = time.monotonic()

    def closed(self) -> bool:
        """Whether nothing but the stage may be asked for yet."""
        return self.stage not in (None, "traffic")

    def about(self) -> Wire:
        """For people and for the edge."""
        return {"stage": self.stage, "why": self.why, "passed": self.passed}

    async def run(self, read: _Read, accept_cut: bool = False) -> None:
        """Pass all gates up to `traffic`; return at one that people must open, with `why`. `accept_cut`: they opened that.

        While the database does not answer, begin anew.
        """
        while True:
            try:
                await self._run(read)
                if accept_cut and self.stage == "traffic":
                    await read(lambda journal: journal.batch([Journal.mend]))
                    log("cut-accepted", region=self._region, why=self.why)
                    self.whole()
                return
            except Refused as refusal:
                self._stand(str(refusal.facts.get("why", refusal.code)))
            await asyncio.sleep(_RETRY_S)
            self.stage, self.passed, self._began = "keys", [], time.monotonic()

    async def _run(self, read: _Read) -> None:
        if not self._trusts:
            own, begun = self._seals.key(self._region) if self._seals else "", await read(lambda journal: journal.key)
            if own != begun:
                self._stand(f"the log was begun with the key {begun or 'none'}, ours is {own or 'none'}")
                return
        self._pass("registry")
        for stage, following, gate in (
            ("registry", "ledger", self._records),
            ("ledger", "sessions", self._chain),
            ("sessions", "traffic", self._references),
        ):
            bad = None if self._trusts else await gate(read)
            if bad is not None:
                seq, why = bad
                reached = await read(partial(_cut, seq))
                self.cut += reached - seq + 1
                self.why = f"{stage}: cut before entry {seq} of {reached}: {why}"
                log("log-cut", region=self._region, stage=stage, seq=seq, reached=reached, why=why)
            self._pass(following)
        if await read(lambda journal: journal.damaged) is None:
            self.whole()

    def whole(self) -> None:
        """Pass the last gate."""
        if self.stage == "traffic":
            self.why = ""
            self._pass(None)

    def _pass(self, following: str | None) -> None:
        now = time.monotonic()
        self.passed.append({"stage": self.stage, "ms": round((now - self._began) * 1e3, 1)})
        log("restored", region=self._region, **self.passed[-1])
        self.stage, self._began = following, now

    def _stand(self, why: str) -> None:
        self.why = why
        log("restore-stands", region=self._region, stage=self.stage, why=why)

    # -- gates: the first entry that fails, and why -------------------------------------------------------------

    def _entry(self, row: tuple[object, ...]) -> Entry:
        entry = Entry.parse(row)
        if not entry.signed(self._seals):
            raise ValueError(f"it is not signed by {entry.region}")
        return entry

    async def _records(self, read: _Read) -> tuple[int, str] | None:
        for row in await read(lambda journal: journal.rows("kind = 'record'")):
            try:
                self._entry(row)
            except (TypeError, ValueError) as exc:
                return row[0], str(exc)
        return None

    async def _chain(self, read: _Read) -> tuple[int, str] | None:
        seq, prev = 0, GENESIS
        while rows := await read(partial(Journal.rows, where="seq > ?", values=(seq,), limit=_CHUNK)):
            for row in rows:
                try:
                    entry = self._entry(row)
                except (TypeError, ValueError) as exc:
                    return row[0], str(exc)
                if (entry.seq, entry.prev_hash) != (seq + 1, prev):
                    return entry.seq, f"it does not follow entry {seq}"
                seq, prev = entry.seq, entry.hash
        return None

    async def _references(self, read: _Read) -> tuple[int, str] | None:
        seq = await read(lambda journal: journal.stray())
        return None if seq is None else (seq, "an outcome without its turn, or a second one")


def _cut(seq: int, journal: Journal) -> int:
    reached: int = journal.batch([lambda one: one.cut(seq)])[0]
    return reached
