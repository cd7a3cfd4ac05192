"""One op as a profile sees it: a context in which it happens, and what the profile tells about it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from harness.load.outcomes import NO_EFFECT_STATUSES, Broken, Ending, classify

if TYPE_CHECKING:
    from harness.load.record import Row
    from harness.load.user import User

__all__ = ["CURRENT_OP", "Attempt", "OpContext", "dropped_row"]

CURRENT_OP: ContextVar[OpContext | None] = ContextVar("current_op", default=None)
"""The innermost op of this task: to it the HTTP client reports what happens on the wire."""

_MAX_TEXT = 200
_MAX_INT16 = 32767


class OpContext:
    """What `async with self.op("append", value=...) as op` gives.

    A profile may set `served_by`, `region`, `epoch`, `version`, `degraded`, `cached`, `result` (any JSON value),
    `input` and `answer` (what was asked and answered: any text, stored as a digest) and `status`, call `chunk()` for each
    piece of a stream and `expect(got, want)` on content, and open `attempt()` around each wire attempt when it makes
    several. Leaving the block ends the op: normally `ok`; `Rejected` is `fail`; anything
    else by the table in `outcomes`. Exceptions go on to the caller, who ends the arrival. The op ends with a
    TimeoutError when it takes longer than the load's timeout.
    """

    __slots__ = (
        "_attempted", "_chunk_ns", "_guard", "_maybe", "_requests", "_sends", "_token", "_user", "answer", "attempts", "bytes",
        "cached", "chunks", "compared", "cut", "degraded", "epoch", "error", "f", "first_ns", "gap_ns", "idem", "input",
        "intended_ns", "key", "later", "op",
        "phase", "region", "result", "sent_ns", "served_by", "session", "status", "value", "version", "writer", "wrong",
    )  # fmt: skip

    def __init__(self, user: User, f: str, words: tuple[str | None, str | None, str | None, str | None]) -> None:
        self._user, self.f = user, f
        self.key, self.value, self.idem, self.session = words
        self.op = -1
        self.intended_ns = 0
        self.sent_ns: int | None = None
        self.first_ns: int | None = None
        self.writer, self.phase, self.later = "", "load", False
        self.error: str | None = None
        self.status: int | None = None
        self.served_by: str | None = None
        self.region: str | None = None
        self.epoch: int | None = None
        self.version: str | None = None
        self.degraded: str | None = None
        self.cached: bool | None = None
        self.result: Any = None
        self.attempts, self.chunks, self.bytes = 1, 0, 0
        self.wrong, self.cut, self.compared = False, False, 0
        self.input: str | None = None
        self.answer: str | None = None
        self.gap_ns: int | None = None  # the longest wait between two chunks
        self._chunk_ns = 0
        self._maybe = False  # an earlier wire attempt ended unanswered
        self._attempted = 0
        self._requests, self._sends = 0, 0  # HTTP requests begun, and begun to be sent
        self._guard: asyncio.Timeout | None = None
        self._token: Token[OpContext | None] | None = None

    def chunk(self, size_bytes: int = 0) -> None:
        """Note one piece of a stream; the first is the op's first byte."""
        now_ns = self._user._now_ns()
        self.chunks += 1
        self.bytes += size_bytes
        if self.chunks == 1:
            self.first_ns = now_ns
        else:
            self.gap_ns = max(self.gap_ns or 0, now_ns - self._chunk_ns)
        self._chunk_ns = now_ns

    def expect(self, got: object, want: object) -> None:
        """Compare content: an op whose answer is not as it must be is not good, whatever its status.

        Every comparison is counted (check `content`): that nothing differed means little where nothing was compared.
        """
        self.compared += 1
        if got != want:
            self.wrong = True
            self.error = self.error or "wrong content"

    def attempt(self) -> Attempt:
        """One wire attempt. Once one ended unanswered the op is at best `info`, also when a later one is refused."""
        return Attempt(self)

    async def __aenter__(self) -> OpContext:
        self._user._begin(self)
        self._token = CURRENT_OP.set(self)
        self._guard = asyncio.timeout(self._user._timeout_s)
        await self._guard.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._guard is not None and self._token is not None
        CURRENT_OP.reset(self._token)
        late: TimeoutError | None = None
        try:
            await self._guard.__aexit__(kind, exc, trace)
        except TimeoutError as timeout:
            late = timeout
        self._finish(late or exc)
        if late is not None:
            raise late

    def _finish(self, exc: BaseException | None) -> None:
        """End the op as `exc` says and hand its row to the recorder."""
        done_ns = self._user._now_ns()
        self._user._ended_by = exc
        if self.cut or exc is None:
            self._user._end(self, self._row("info" if self.cut else "ok", done_ns), "info" if self.cut else "ok")
            return
        ending = self.ending(exc)
        self.error = ending.error
        self.status = self.status if ending.status is None else ending.status
        broken = isinstance(exc, Broken) or (ending.broke and self.first_ns is not None)
        self._user._end(self, self._row(ending.outcome, done_ns, broken), ending.outcome)

    def ending(self, exc: BaseException) -> Ending:
        """How an exception would end this op now."""
        return classify(exc, self.f, unsent=self._unsent(), tainted=self._maybe, no_effect=self._user.no_effect)

    def _unsent(self) -> bool | None:
        """Whether nothing was sent; None when no HTTP request tells."""
        return self._sends == 0 if self._requests else None

    def answered(self, status: int) -> None:
        """Called by the HTTP client when the head of an answer is there."""
        self.status = status
        if self.first_ns is None:
            self.first_ns = self._user._now_ns()

    def requested(self) -> None:
        """Called by the HTTP client when it begins a request: nothing is sent yet."""
        self._requests += 1

    def sending(self) -> None:
        """Called by the HTTP client just before the first byte of a request."""
        self._sends += 1

    def cut_row(self, at_ns: int) -> Row:
        """The row of this op, cut at the drain's end: it may or may not have had an effect."""
        self.cut, self.error = True, "cut"
        return self._row("info", at_ns, self.first_ns is not None)

    def _row(self, outcome: str, done_ns: int, broken: bool = False) -> Row:
        """The values in the order of `history.schema.COLUMNS`."""
        user = self._user
        region = self.region if self.phase == "load" else user.region  # probes and final reads: the region asked
        result = None if self.result is None else json.dumps(self.result, separators=(",", ":"), default=str)
        return (
            self.op, user.index, self.writer, user.group, self.session, self.f, self.key, self.value, self.idem,
            self.intended_ns, self.sent_ns, self.first_ns, done_ns, outcome, _clean(self.error), self.status,
            _clean(self.served_by), _clean(region), self.epoch, _clean(self.version), _clean(self.degraded),
            self.cached, min(self.attempts, _MAX_INT16), self.chunks, self.bytes, result, self.phase, self.cut,
            self.later, self.wrong, broken, self.gap_ns, self.compared, _digest(self.input), _digest(self.answer),
        )  # fmt: skip


def _digest(text: str | None) -> str | None:
    """Half of a SHA-256, in hex: two of a million different texts share it with a chance of 1e-27."""
    return None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def dropped_row(op: int, f: str, group: str | None, intended_ns: int, place: tuple[str, str | None]) -> Row:
    """The row of an arrival that no user was left for; `place` is its phase and region. It was never sent."""
    phase, region = place
    return (
        op, -1, "", group, None, f, None, None, None, intended_ns, None, None, None, "dropped", "no user left", None,
        None, region, None, None, None, None, 1, 0, 0, None, phase, False, False, False, False, None, 0, None, None,
    )  # fmt: skip


class Attempt:
    """One wire attempt of an op; see `OpContext.attempt`."""

    __slots__ = ("_op", "_sends")

    def __init__(self, op: OpContext) -> None:
        self._op, self._sends = op, 0

    async def __aenter__(self) -> Attempt:
        op = self._op
        op._attempted += 1
        op.attempts = max(op.attempts, op._attempted)
        self._sends = op._sends
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        op = self._op
        if exc is not None:
            nothing = op.ending(exc).outcome == "fail"
            op._maybe = op._maybe or not nothing
        else:
            nothing = op.status in NO_EFFECT_STATUSES or op.status in op._user.no_effect
            op._maybe = op._maybe or (op.status is not None and op.status >= 500 and not nothing)
        if nothing:
            op._sends = self._sends  # answered, and surely without effect: as if it had not been sent


def _clean(text: str | None) -> str | None:
    """Text of the stack, made harmless: no control characters, bounded length. Other types become text."""
    if text is None or (isinstance(text, str) and len(text) <= _MAX_TEXT and text.isprintable()):
        return text
    return "".join(char if char.isprintable() else "?" for char in str(text)[:_MAX_TEXT])
