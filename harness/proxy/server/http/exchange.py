"""The two sides of one HTTP connection: which answer belongs to which request, and which effects act on it.

Requests go up and answers come down as they arrive. A request that an effect answers never reaches the upstream; its
answer waits until those before it are through, so that a pipelining client still gets them in order.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from harness.proxy.server.http.effects import EFFECTS, Effect
from harness.proxy.server.http.framing import Framer, Head, Part, Piece
from harness.proxy.server.toxics.base import End, Line, Receiver, Toxic

__all__ = ["Answers", "Requests", "joined"]

_CAPACITY_BYTES = 64 * 1024
_HOST = re.compile(rb"(?im)^host:[^\r\n]*")
Reply = tuple[int, dict[str, str], bytes]


@dataclass(slots=True, eq=False)
class _Exchange:
    """One request and the answer to it."""

    method: str
    keeps: bool
    effects: list[Effect] = field(default_factory=list)
    reply: Reply | None = None
    by: Effect | None = None  # whose reply it is
    asked: bool = False  # the request is complete, or need not be awaited


class Requests:
    """The way up. `http_chain` gives the HTTP toxics that stand now, `draw` those random numbers that belong to one of them."""

    def __init__(
        self, answers: Answers, http_chain: Callable[[], Sequence[Toxic]], draw: Callable[[Toxic], random.Random]
    ) -> None:
        self.next: Receiver
        self.host: bytes | None = None  # what to call the upstream, where the client cannot know its name
        self._answers = answers
        self._chain = http_chain
        self._draw = draw
        self._framer = Framer()
        self._current: _Exchange | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of a head that is not complete."""
        return self._framer.held_bytes

    def go_raw(self) -> None:
        """Let everything pass from here on: no more requests are seen."""
        self._framer.go_raw()

    def feed(self, data: bytes) -> None:
        self._framer.push(data)
        self._pump()

    def feed_end(self, end: End) -> None:
        self._pump()
        rest = self._framer.finish()
        if rest is not None and rest.data:
            self.next.feed(rest.data)
        self.next.feed_end(end)

    def _pump(self) -> None:
        passing: list[bytes] = []
        while (piece := self._framer.pull()) is not None:
            if piece.head is not None:
                self._current = self._begin(piece.head)
            if self._current is None or self._current.reply is None:
                passing.append(self._named(piece) if self.host is not None and piece.head is not None else piece.data)
            if piece.part is Part.END and self._current is not None:
                self._current.asked = True
                self._current = None
        if self._framer.raw:
            self._answers.go_raw()
        data = b"".join(passing)
        if data:
            self.next.feed(data)
        self._answers.pump()

    def _named(self, piece: Piece) -> bytes:
        return _HOST.sub(lambda _: b"Host: " + (self.host or b""), piece.data, count=1)

    def _begin(self, head: Head) -> _Exchange:
        exchange = _Exchange(head.method, head.keeps)
        for toxic in self._chain():
            chance = self._draw(toxic)
            if not (toxic.toxicity >= 1 or (toxic.toxicity > 0 and chance.random() < toxic.toxicity)):
                continue
            toxic.drawn_count += 1
            effect = EFFECTS[toxic.type](toxic, chance)
            exchange.effects.append(effect)
            if (reply := effect.reply()) is not None:
                exchange.reply, exchange.by = reply, effect
                break  # the upstream is not asked: there is no answer for others to act on
        if exchange.reply is not None and "expect" in head.fields:
            # The client waits for leave to send its body, and must not wait for ever. It may send it all the same, and
            # nobody could tell that from a next request: the connection ends with the answer.
            exchange.asked, exchange.keeps = True, False
        self._answers.expect(exchange)
        return exchange


class Answers:
    """The way down. Pieces pass one after another, each through the effects of its exchange in their order."""

    def __init__(self, line: Line) -> None:
        self.next: Receiver
        self.requests: Requests
        self._line = line
        self._expected: deque[_Exchange] = deque()
        self._framer = Framer(self._method)
        self._work: deque[tuple[Piece, int]] = deque()  # pieces on their way, and the effect that sees each next
        self._passing: list[bytes] = []
        self._holder: Effect | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._interim = False
        self._blocking = False
        self._closing = False
        self._ending: End | None = None
        self._over = False
        self._raw = False
        self._leaving = False

    @property
    def held_bytes(self) -> int:
        """Bytes that wait here."""
        return self._framer.held_bytes + sum(len(piece.data) for piece, _ in self._work)

    @property
    def outstanding_count(self) -> int:
        """Requests whose answer is not through."""
        return len(self._expected)

    def close_when_answered(self) -> None:
        """Close the connection once every request is answered; at once when an answer is held."""
        self._leaving = True
        if self._holder is not None:
            self._closing = True
            self.pump()

    def expect(self, exchange: _Exchange) -> None:
        """Another request came; its answer is due after those before it."""
        self._expected.append(exchange)

    def go_raw(self) -> None:
        """Let everything pass from here on. A request that an effect was to answer can only be cut off."""
        self._framer.go_raw()

    def feed(self, data: bytes) -> None:
        self._framer.push(data)
        self.pump()

    def feed_end(self, end: End) -> None:
        self._ending = end
        self.pump()

    def sync(self, standing: Sequence[Toxic]) -> None:
        """End the effects of toxics that are gone, and let go of what they hold."""
        for exchange in self._expected:
            for effect in exchange.effects:
                if effect.toxic not in standing:
                    effect.over = True
        if self._holder is not None and self._holder.over and self._holder.toxic not in standing:
            self._release()

    def dropped(self) -> None:
        """Called when the connection is gone: forget everything, keep no timer."""
        self._over = True
        self._stop_timer()
        self._work.clear()
        self._expected.clear()

    # --- what effects ask for

    def hold(self, effect: Effect, for_s: float | None) -> None:
        self._holder = effect
        self._closing = self._closing or self._leaving
        if for_s is not None:
            self._timer = self._line.loop.call_later(for_s, self._release)

    def cut(self) -> None:
        self._closing = True

    # --- the way down

    def pump(self) -> None:
        """Let pass what may pass now."""
        while self._holder is None and not self._closing and not self._over and self._step():
            pass
        if self._framer.raw and not self._raw:
            self._raw = True
            self.requests.go_raw()
            self._closing = self._closing or any(exchange.reply is not None for exchange in self._expected)
        if self._passing:
            data = b"".join(self._passing)
            self._passing.clear()
            self.next.feed(data)
        self._steer()
        if self._closing and not self._over:
            self._over = True
            self.next.feed_end(End.CLOSE)
        elif self._ending is not None and self._holder is None and not self._over:
            self._over = True
            self._finish(self._ending)

    def _steer(self) -> None:
        full = self.held_bytes > _CAPACITY_BYTES and not self._over
        if full != self._blocking:
            self._blocking = full
            (self._line.block if full else self._line.unblock)(self)

    def _finish(self, end: End) -> None:
        rest = self._framer.finish()
        if rest is not None and rest.data:
            self.next.feed(rest.data)
        self.next.feed_end(end)

    def _step(self) -> bool:
        """Whether anything moved."""
        if self._work:
            self._pass(*self._work.popleft())
            return True
        exchange = self._expected[0] if self._expected else None
        if exchange is not None and exchange.reply is not None and not self._framer.raw:
            return self._reply(exchange)
        piece = self._framer.pull()
        if piece is None:
            return False
        if piece.head is not None:
            self._interim = piece.head.interim
        if self._interim and piece.part is Part.END:
            self._interim = False
        elif self._interim or exchange is None or piece.part is Part.RAW:
            self._passing.append(piece.data)
        else:
            self._work.append((piece, 0))
        return True

    def _pass(self, piece: Piece, index: int) -> None:
        exchange = self._expected[0]
        if index < len(exchange.effects):
            seen = exchange.effects[index].see(piece, self)
            self._work.extendleft((one, index + 1) for one in reversed(seen))
        else:
            self._passing.append(piece.data)
            if piece.part is Part.END:
                self._expected.popleft()
                self._closing = self._leaving and not self._expected

    def _reply(self, exchange: _Exchange) -> bool:
        if not exchange.asked:
            return False
        assert exchange.reply is not None and exchange.by is not None
        exchange.by.touch()
        self._passing.append(_answer(exchange.reply, exchange.method, exchange.keeps))
        self._expected.popleft()
        self._closing = not exchange.keeps
        return True

    def _release(self) -> None:
        self._holder = None
        self._stop_timer()
        self.pump()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _method(self) -> str:
        return self._expected[0].method if self._expected else ""


def _answer(reply: Reply, method: str, keeps: bool) -> bytes:
    status, fields, body = reply
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    fields = {**fields, "Content-Length": str(len(body)), "X-Blackstart-Fault": "injected"}
    if not keeps:
        fields["Connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{head}\r\n".encode() + (b"" if method == "HEAD" else body)


def joined(
    line: Line, chain: Callable[[], Sequence[Toxic]], draw: Callable[[Toxic], random.Random]
) -> tuple[Requests, Answers]:
    """Both sides of one connection; `line` is its way down."""
    answers = Answers(line)
    requests = answers.requests = Requests(answers, chain, draw)
    return requests, answers
