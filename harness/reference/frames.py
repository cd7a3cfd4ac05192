"""Pushes between two journals: sealed by who sends them, opened once by who takes them.

A frame names the life of the receiver that it is for, and its number there: a frame of an earlier life, or with a number not
above the last, was sent before. Nothing of one that does not open has any effect. Without a root nothing is sealed or asked for.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from harness.reference.channel import Refused, Wire
from harness.reference.journal import Entry
from harness.reference.metrics import Metrics
from harness.reference.mutants import TAKES_ANY_FRAME
from harness.reference.program import log

if TYPE_CHECKING:
    from harness.reference.seal import Seals

__all__ = ["Frames"]


class Frames:
    """Both ends of one journal: what it sends to its peer, and what it takes from whoever says to be that."""

    def __init__(self, seals: Seals | None, metrics: Metrics, mutants: frozenset[str]) -> None:
        self._seals = seals
        self._metrics = metrics
        self._open = seals is None or TAKES_ANY_FRAME in mutants
        self._life = secrets.token_hex(8)
        self._last = 0
        self._to, self._number = "", 0
        self.refused: Counter[str] = Counter()

    # -- as sender ----------------------------------------------------------------------------------------------

    def seal(self, body: Wire) -> Wire:
        """The frame that carries this body."""
        if self._seals is None:
            return body
        self._number += 1
        frame = body | {"to": self._to, "number": self._number}
        return frame | {"mac": self._seals.mac(frame)}

    def forget(self) -> None:
        """Another life of the receiver may answer next."""
        self._to = ""

    def meet(self, refusal: Refused) -> bool:
        """Whether the receiver said who it is, so that the frame can be sent anew."""
        if refusal.code != "unacquainted" and refusal.facts.get("why") != "replayed":
            return False
        self._to, self._number = str(refusal.facts["life"]), int(refusal.facts["number"])
        return True

    # -- as receiver --------------------------------------------------------------------------------------------

    def about(self) -> Wire:
        """Who this receiver is, which is no secret: a frame needs the MAC."""
        return {"life": self._life, "number": self._last}

    def open(self, frame: Wire) -> list[Entry]:
        """Its entries, when it is the peer's and here for the first time. Raises Refused, to no effect on what comes next."""
        if not self._open:
            self._check(frame)
        try:
            entries = [Entry.parse(row) for row in frame["entries"]]
        except (TypeError, ValueError) as exc:
            raise self.forged("bad-entry") from exc
        for entry in () if self._open else entries:
            if not entry.signed(self._seals):
                raise self.forged("bad-entry", seq=entry.seq)
        return entries

    def taken(self, frame: Wire) -> None:
        """It has had its effect: it is not taken again."""
        self._last = max(self._last, int(frame.get("number", 0)))

    def _check(self, frame: Wire) -> None:
        assert self._seals is not None
        stated = {name: value for name, value in frame.items() if name != "mac"}
        if not hmac.compare_digest(str(frame.get("mac", "")), self._seals.mac(stated)):
            raise self.forged("no-key")
        if not frame["to"]:
            raise Refused("unacquainted", **self.about())
        if frame["to"] != self._life or frame["number"] <= self._last:
            raise self.forged("replayed")

    def forged(self, why: str, **facts: object) -> Refused:
        """The refusal of a frame, which is counted."""
        self.count(why, **facts)
        return Refused("forged", why=why, **self.about())

    def count(self, why: str, **facts: object) -> None:
        """Tell that a frame was not taken."""
        self.refused[why] += 1
        self._metrics.count("store_refused_frames_total", why=why)
        log("frame-refused", why=why, **facts)
