"""Users: what a load profile subclasses. `User` for any protocol, `HttpUser` with an aiohttp session."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

from harness.load.op import OpContext
from harness.load.outcomes import MODELS

if TYPE_CHECKING:
    import aiohttp

    from harness.load.http_client import HttpClient
    from harness.load.record import Recorder, Row

__all__ = ["Desk", "HttpUser", "Place", "User"]


@dataclass(slots=True, kw_only=True)
class Desk:
    """What all users of one worker share. `tag` names the run (its sessions), `seed_tag` the seed (its unique values).

    `first_f` is the word of the last arrival's first op, for arrivals that never got that far; `strays` counts exceptions
    that profiles raised outside every op.
    """

    recorder: Recorder
    origin_ns: int
    seed: int
    timeout_s: float
    tag: str
    seed_tag: str
    acknowledged: Callable[[str, str | None], None]
    first_f: str = "run"
    strays: Counter[str] = field(default_factory=Counter)
    shared: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who a user is: a number within the run, its session and group, where it asks, in which phase of the load."""

    index: int
    session: str
    entry: str
    group: str | None = None
    region: str | None = None
    phase: str = "load"
    timeout_s: float | None = None


class User:
    """One synthetic client. Subclass it, set `model`, write `run()` (one arrival) and `final()` (one final read).

    A life is `start()`, any number of `run()`, `stop()`; one arrival at a time. Attributes: `index` (unique in the run),
    `session`, `group` (None without groups), `region` (None for load; in `final` and for a region's prober that region),
    `entry` (URL; in `final` and for a region's prober the region's own), `run_tag` (differs from run to run, for names in
    a stack that outlives runs). Each key of the document's `with:` sets an annotated class attribute of that name.
    """

    model: ClassVar[str | None] = None
    no_effect: tuple[int, ...] = ()

    def __init__(self, desk: Desk, place: Place) -> None:
        self.index, self.session, self.group = place.index, place.session, place.group
        self.region, self.entry, self.run_tag = place.region, place.entry, desk.tag
        self._desk, self._place = desk, place
        self._timeout_s = desk.timeout_s if place.timeout_s is None else place.timeout_s
        self._number, self._uniques, self._writers = f"u{place.index}", 0, 0
        self._random: random.Random | None = None
        self._arrival_ns: int | None = None
        self._started = False
        self._begun = self._acked = 0
        self._ended_by: BaseException | None = None  # what ended the last op: its record, wherever it goes from there

    # ---- what a profile writes ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Called once before the first `run`."""

    async def run(self) -> None:
        """One arrival."""
        raise NotImplementedError(f"{type(self).__name__} has no run()")

    async def final(self) -> None:
        """One final read of `self.session` at `self.entry`; called again until an op of it ended ok."""

    async def probe(self) -> None:
        """The prober's op: small, and like the users'. Default: one `run()`."""
        await self.run()

    async def stop(self) -> None:
        """Called once when the user is done."""

    @classmethod
    def users_wanted(cls) -> int:
        """How many users there should be from the start, when the document does not ask for more."""
        return 1

    @classmethod
    def swift(cls) -> bool:
        """Whether its workers run on uvloop: worth it where the loop, and not the HTTP library, is what costs."""
        return False

    @classmethod
    def cannot_ask(cls, entry: str) -> str | None:
        """Why users of this class cannot speak to that entry; None when they can."""
        del entry
        return None

    # ---- what a profile uses --------------------------------------------------------------------------------------

    @property
    def random(self) -> random.Random:
        """Chance that is a function of the seed and of this arrival's number alone, whoever serves it."""
        if self._random is None:
            self._random = random.Random(f"{self._desk.seed}:{self._number}")
        return self._random

    def unique(self) -> str:
        """A text that is unique within the run, and the same for the same seed and arrival."""
        self._uniques += 1
        return f"{self._desk.seed_tag}-{self._number}-{self._uniques}"

    @property
    def writer(self) -> str:
        """Who writes, for session order: changes after an op that ended `info`, because that one may still happen."""
        return f"{self.index}.{self._writers}"

    def op(
        self,
        f: str,
        *,
        key: str | None = None,
        value: str | None = None,
        idem: str | None = None,
        session: str | None = None,
    ) -> OpContext:
        """A context in which one op happens; see `OpContext`. `session` defaults to the user's own."""
        return OpContext(self, f, (key, value, idem, self.session if session is None else session))

    # ---- what the worker and the op use ---------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self._desk.origin_ns

    def _arrive(self, number: str, intended_ns: int) -> None:
        """Begin an arrival: its first op was due at `intended_ns`, later ones are due when the code reaches them."""
        self._number, self._uniques, self._random = number, 0, None
        self._arrival_ns, self._begun, self._acked, self._ended_by = intended_ns, 0, 0, None

    def _begin(self, op: OpContext) -> None:
        now_ns = self._now_ns()
        op.op, op.writer, op.phase = self._desk.recorder.next_id(), self.writer, self._place.phase
        op.later = self._arrival_ns is None
        op.intended_ns = now_ns if self._arrival_ns is None else self._arrival_ns
        op.sent_ns, self._arrival_ns = now_ns, None
        self._begun += 1
        if self._begun == 1 and op.phase == "load":
            self._desk.first_f = op.f
        self._desk.recorder.started(op)

    def _end(self, op: OpContext, row: Row, outcome: str) -> None:
        self._desk.recorder.ended(op.op, row)
        if outcome == "info":
            self._writers += 1
        if outcome != "ok":
            return
        self._acked += 1
        if op.session is not None and self.model is not None and op.f in MODELS[self.model][0]:
            self._desk.acknowledged(op.session, self.group)

    async def _leave(self) -> None:
        """End this life: the profile's `stop()` if it started, then what the base classes hold, come what may."""
        try:
            if self._started and type(self).stop is not User.stop:
                await self.stop()
        finally:
            await self._close()

    async def _close(self) -> None:
        """Free what the base classes hold."""


class HttpUser(User):
    """A user with `client`, an aiohttp session bound to the entry: finite timeouts, own cookies, no silent re-send.

    Requests tell the current op their status, first byte and whether anything was sent. `no_effect` (also settable
    in `with:`) lists further statuses by which this stack says that it did nothing, such as a balancer's 503.
    """

    no_effect: tuple[int, ...] = ()

    @property
    def wire(self) -> HttpClient:
        """What the built-in profiles ask through: the session, or the lean client where `client_` says so."""
        if getattr(self, "client_", None) != "lean":
            return cast("HttpClient", self.client)
        lean: HttpClient | None = self.__dict__.get("_lean")
        if lean is None:
            from harness.load.lean import LeanClient

            lean = self.__dict__["_lean"] = LeanClient(self.entry, self._timeout_s, self._desk.shared)
        return lean

    @classmethod
    def swift(cls) -> bool:
        return getattr(cls, "client_", None) == "lean"

    @classmethod
    def cannot_ask(cls, entry: str) -> str | None:
        if getattr(cls, "client_", None) == "lean" and not entry.startswith("http://"):
            return f"the lean client speaks plain HTTP only, not {entry!r}"
        return None

    @property
    def client(self) -> aiohttp.ClientSession:
        """The session; made on first use. Paths such as "/cart" are relative to `entry`."""
        session: aiohttp.ClientSession | None = self.__dict__.get("_session")
        if session is None:
            from harness.load.client import open_session

            session = open_session(self.entry, self._timeout_s, self._desk.shared)
            self.__dict__["_session"] = session
        return session

    async def _close(self) -> None:
        session = self.__dict__.pop("_session", None)
        if session is not None:
            await session.close()
