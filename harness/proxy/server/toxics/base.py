"""What every toxic is made of. Here: the toxic as the API knows it, and its stage in one direction of one connection.

A direction is a chain: source endpoint -> stages in creation order -> sink (the other endpoint). Stages are pushed
bytes and at last one `End`; they never block, they hold bytes back and ask the line to stop reading its source.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections import deque
from collections.abc import Mapping
from typing import ClassVar, Protocol

__all__ = ["End", "Fields", "Holding", "Line", "Receiver", "Stage", "Toxic"]

# The clock of an event loop may fire a timer this much early (its own resolution, in seconds).
_EARLY_S = 1e-6
# At most so many pieces leave per turn of the event loop, so that a finely sliced stream cannot starve the control API.
_PER_TURN = 64


class End(enum.Enum):
    """How a direction ends: the source said so (EOF), it is gone (RESET), or a toxic closes the connection (CLOSE)."""

    EOF = "eof"
    RESET = "reset"
    CLOSE = "close"


class Receiver(Protocol):
    """Whatever takes the bytes of a direction: a stage, or the sink at its end."""

    def feed(self, data: bytes) -> None: ...

    def feed_end(self, end: End) -> None: ...


class Line(Protocol):
    """What a stage may ask of the direction that it sits in."""

    loop: asyncio.AbstractEventLoop

    def block(self, who: object) -> None:
        """Stop reading the source until `who` (and every other blocker) has unblocked."""

    def unblock(self, who: object) -> None: ...

    def abort(self) -> None:
        """Reset both ends of the connection now, past whatever still waits in the chain."""

    def random_for(self, toxic: Toxic) -> random.Random:
        """A generator for this connection and toxic, the same in every run with the same seed."""


class Toxic:
    """One toxic of one proxy, as the API shows it. Times are CLOCK_MONOTONIC nanoseconds.

    `affected_count` counts the connections (of an HTTP toxic: requests) in which the toxic has changed anything so far,
    not those it could change. For HTTP toxics also: `requests_count` met it, of which it was to hit `drawn_count`.
    """

    __slots__ = (
        "affected_count",
        "attributes",
        "drawn_count",
        "kind",
        "name",
        "requests_count",
        "since_ns",
        "stream",
        "toxicity",
        "type",
        "updated_ns",
    )

    def __init__(self, name: str, type_name: str, stream: str, kind: type[Fields]) -> None:
        self.name = name
        self.type = type_name
        self.stream = stream
        self.kind = kind
        self.toxicity = 1.0
        self.attributes: Mapping[str, int] = dict(kind.fields)
        self.since_ns = 0
        self.updated_ns = 0
        self.affected_count = 0
        self.requests_count = 0
        self.drawn_count = 0

    @property
    def upstream(self) -> bool:
        """Whether it acts on what flows from the client to the upstream."""
        return self.stream.lower() == "upstream"


class Fields:
    """What the API must know of a kind of toxic."""

    fields: ClassVar[Mapping[str, int]] = {}  # attribute names and defaults
    gates: ClassVar[bool] = False  # whether nobody is accepted while a toxic of this kind hits every connection
    http: ClassVar[bool] = False  # whether it acts on requests, not on bytes

    __slots__ = ()


class Stage(Fields):
    """What one toxic does to one direction of one connection. As it stands here: nothing, everything passes."""

    __slots__ = ("line", "loop", "next", "touched", "toxic")

    def __init__(self, toxic: Toxic, line: Line) -> None:
        self.toxic = toxic
        self.line = line
        self.loop = line.loop
        self.next: Receiver
        self.touched = False

    @property
    def held_bytes(self) -> int:
        """Bytes that wait here."""
        return 0

    def touch(self) -> None:
        """Note that this connection has felt the toxic."""
        if not self.touched:
            self.touched = True
            self.toxic.affected_count += 1

    def feed(self, data: bytes) -> None:
        self.next.feed(data)

    def feed_end(self, end: End) -> None:
        self.next.feed_end(end)

    def installed(self, late: bool) -> None:
        """Called once when the stage is in its place; `late` when the connection was open before the toxic."""

    def updated(self) -> None:
        """Called after the toxic's attributes changed."""

    def removed(self) -> None:
        """Called after the stage left the chain, `next` still set: let go of what is held, or close."""

    def dropped(self) -> None:
        """Called when the connection is gone: forget everything, keep no timer."""


class Holding(Stage):
    """A stage that keeps bytes until their time. Order is kept, an end waits its turn, removal lets all go at once.

    Reading stops while more than `capacity_bytes` wait, and resumes at half of that.
    """

    capacity_bytes: ClassVar[int] = 64 * 1024

    __slots__ = ("_blocking", "_held_bytes", "ending", "queue", "timer")

    def __init__(self, toxic: Toxic, line: Line) -> None:
        super().__init__(toxic, line)
        self.queue: deque[tuple[float, bytes]] = deque()  # (when it may leave, on the loop's clock; inf: not by itself)
        self.ending: End | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._held_bytes = 0
        self._blocking = False

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def hold(self, data: bytes, due: float) -> None:
        """Keep `data` until `due` on the loop's clock; infinity: until removed."""
        self.touch()
        self.queue.append((due, data))
        self._held_bytes += len(data)
        if not self._blocking and self._held_bytes > self.capacity_bytes:
            self._blocking = True
            self.line.block(self)
        if len(self.queue) == 1:
            self._arm()

    def feed_end(self, end: End) -> None:
        if self.queue:
            self.ending = end
        else:
            self.next.feed_end(end)

    def rearm(self) -> None:
        """Look at the first due time again, after the queue was changed from outside."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self._arm()

    def _arm(self) -> None:
        if self.timer is None and self.queue and self.queue[0][0] != float("inf"):
            self.timer = self.loop.call_at(self.queue[0][0], self._turn)

    def _turn(self) -> None:
        self.timer = None
        now = self.loop.time() + _EARLY_S
        for _ in range(_PER_TURN):
            if not self.queue or self.queue[0][0] > now:
                break
            self._release()
        self._settle()

    def _release(self) -> None:
        _, data = self.queue.popleft()
        self._held_bytes -= len(data)
        self.next.feed(data)

    def _settle(self) -> None:
        if self._blocking and self._held_bytes <= self.capacity_bytes // 2:
            self._blocking = False
            self.line.unblock(self)
        if self.queue:
            self._arm()
        elif self.ending is not None:
            end, self.ending = self.ending, None
            self.next.feed_end(end)

    def removed(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        while self.queue:
            self._release()
        self._settle()

    def dropped(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.queue.clear()
        self._held_bytes = 0
        self.ending = None
