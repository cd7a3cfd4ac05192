"""One proxied connection. Here: the two endpoints, the two directions between them, and how endings travel.

Not here: who is accepted and when (`proxy`), and what the toxics do (`toxics`). Without toxics a chunk goes from
`data_received` of one endpoint to `transport.write` of the other with nothing but two additions in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.proxy.server.http.exchange import Answers, Requests, joined
from harness.proxy.server.toxics.base import End, Receiver, Stage, Toxic

__all__ = ["Connection", "Direction", "Owner", "Tls", "reset"]

# A read takes at most this much, and a peer that does not read holds up at most about twice as much on our side.
_CHUNK_BYTES = 64 * 1024
_HIGH_WATER_BYTES = 256 * 1024
_LINGER_0 = struct.pack("ii", 1, 0)


def reset(sock: socket.socket | None) -> None:
    """Make the close of `sock` send RST instead of FIN. Harmless on a socket that is already dead."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to speak TLS to an upstream: as whom it must prove itself, and how long the handshake may take."""

    context: ssl.SSLContext
    host: str
    limit_s: float


class Owner(Protocol):
    """What a connection needs from its proxy."""

    name: str
    seed: int

    @property
    def http(self) -> bool:
        """Whether its connections carry HTTP."""

    @property
    def http_toxics(self) -> Sequence[Toxic]:
        """Those that act on requests, in order of creation."""

    def draw(self, toxic: Toxic) -> random.Random:
        """A generator for the next request that meets an HTTP toxic."""

    def forget(self, connection: Connection) -> None:
        """The connection is over; its counters are final."""


class Endpoint(asyncio.Protocol):
    """One end of a connection: what it reads goes `out`, what comes `into` it is written."""

    __slots__ = ("alive", "connection", "into", "out", "transport")

    def __init__(self, connection: Connection, out: Direction, into: Direction) -> None:
        self.connection = connection
        self.out = out
        self.into = into
        self.transport: asyncio.Transport | None = None
        self.alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.alive = True
        transport.max_size = _CHUNK_BYTES  # type: ignore[attr-defined]  # asyncio's read size, 256 KiB otherwise
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        transport.pause_reading()  # until the other end is there too
        self.into.write = transport.write

    def data_received(self, data: bytes) -> None:
        out = self.out
        out.received_bytes += len(data)
        out.head.feed(data)

    def eof_received(self) -> bool:
        self.out.source_ended(End.EOF)
        # The other direction may go on, unless this is TLS, which knows no half-close.
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self.connection.lost(self, exc)

    def pause_writing(self) -> None:
        self.into.block(self)

    def resume_writing(self) -> None:
        self.into.unblock(self)


def _discard(data: bytes) -> None:
    """The write of a direction whose far end is gone."""


class Direction:
    """One direction of a connection: its stages, and the sink behind them (itself)."""

    __slots__ = (
        "blockers",
        "connection",
        "dest",
        "done",
        "ended",
        "front",
        "head",
        "loop",
        "received_bytes",
        "sent_bytes",
        "source",
        "stages",
        "write",
    )

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = connection
        self.loop = loop
        self.source: Endpoint
        self.dest: Endpoint
        self.stages: list[Stage] = []
        self.front: Requests | Answers | None = None  # before the stages, where the link carries HTTP
        self.head: Receiver = self
        self.write: Callable[[bytes], None] = _discard
        self.blockers: set[object] = set()
        self.received_bytes = 0
        self.sent_bytes = 0
        self.ended = False  # the source will send no more
        self.done = False  # the sink has passed that on

    # --- the sink

    def feed(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        self.write(data)

    def feed_end(self, end: End) -> None:
        if end is End.RESET:
            self.connection.abort()
        elif end is End.CLOSE:
            self.connection.close()
        elif not self.done:
            self.done = True
            self.connection.finished(self)

    # --- what stages ask for

    def block(self, who: object) -> None:
        self.blockers.add(who)
        self.steer()

    def unblock(self, who: object) -> None:
        self.blockers.discard(who)
        self.steer()

    def steer(self) -> None:
        """Read the source, or do not, as the blockers say."""
        # A transport that has seen the end must not be resumed: it would read, and report, that end again.
        if self.ended or not self.connection.open or not self.source.alive or self.source.transport is None:
            return
        if self.blockers:
            self.source.transport.pause_reading()
        else:
            self.source.transport.resume_reading()

    def abort(self) -> None:
        self.connection.abort()

    def random_for(self, toxic: Toxic) -> random.Random:
        return self.connection.random_for(toxic, "use")

    # --- the chain

    def source_ended(self, end: End) -> None:
        """The source has sent everything (EOF) or is gone (RESET): tell the chain, once for each."""
        if self.ended and end is End.EOF:
            return
        self.ended = True
        self.head.feed_end(end)

    def _link(self) -> None:
        following: Receiver = self
        for stage in reversed(self.stages):
            stage.next = following
            following = stage
        if self.front is not None:
            self.front.next = following
            following = self.front
        self.head = following

    def sync(self, chain: Sequence[Toxic], late: bool) -> None:
        """Make the stages those of `chain` that hit this connection; what stays keeps its state."""
        wanted = [toxic for toxic in chain if not toxic.kind.http and self.connection.hit_by(toxic)]
        present = {id(stage.toxic): stage for stage in self.stages}
        fresh: list[Stage] = []
        stages = []
        for toxic in wanted:
            stage = present.pop(id(toxic), None)
            if stage is None:
                assert issubclass(toxic.kind, Stage)
                stage = toxic.kind(toxic, self)
                fresh.append(stage)
            stages.append(stage)
        self.stages = stages
        self._link()
        for stage in present.values():  # their `next` still leads to what follows, so what they held keeps its place
            stage.removed()
        for stage in fresh:
            stage.installed(late)

    def updated(self, toxic: Toxic) -> None:
        """Tell the stage of `toxic`, if this connection has one, that its attributes changed."""
        for stage in self.stages:
            if stage.toxic is toxic:
                stage.updated()

    def drop(self) -> None:
        """Forget what waits: the far end is gone."""
        self.drop_held()
        self.stages = []
        self.front = None
        self.head = self
        self.write = _discard
        self.done = True

    def drop_held(self) -> None:
        """Forget what waits, and stop every timer."""
        for stage in self.stages:
            stage.dropped()
        if isinstance(self.front, Answers):
            self.front.dropped()

    @property
    def held_bytes(self) -> int:
        """Bytes that wait before the sink."""
        front = 0 if self.front is None else self.front.held_bytes
        return front + sum(stage.held_bytes for stage in self.stages)


class Connection:
    """A client, its upstream, and the two directions between them."""

    __slots__ = (
        "_forgotten",
        "_over",
        "client",
        "down",
        "loop",
        "named",
        "number",
        "open",
        "owner",
        "pending",
        "task",
        "up",
        "upstream",
        "witness",
    )

    def __init__(self, owner: Owner, number: int, sock: socket.socket, witness: bool) -> None:
        self.owner = owner
        self.number = number
        self.witness = witness
        self.named: bytes | None = None  # the upstream's name in `Host`, where the client cannot know it
        self.loop = asyncio.get_running_loop()
        self.pending: socket.socket | None = sock  # the client, before it has a transport
        self.task: asyncio.Task[None] | None = None  # dials
        self.up = Direction(self, self.loop)
        self.down = Direction(self, self.loop)
        self.client = Endpoint(self, self.up, self.down)
        self.upstream = Endpoint(self, self.down, self.up)
        self.up.source = self.down.dest = self.client
        self.up.dest = self.down.source = self.upstream
        self.open = False  # both ends are there
        self._over = False
        self._forgotten = False

    async def establish(self, upstream: socket.socket, tls: Tls | None) -> None:
        """Give both sockets a transport. Raises OSError when either is already dead, or TLS fails; the caller aborts."""
        client, self.pending = self.pending, None
        assert client is not None
        try:
            if tls is None:
                await self.loop.create_connection(lambda: self.upstream, sock=upstream)
            else:
                await self.loop.create_connection(
                    lambda: self.upstream,
                    sock=upstream,
                    ssl=tls.context,
                    server_hostname=tls.host,
                    ssl_handshake_timeout=tls.limit_s,
                )
            await self.loop.connect_accepted_socket(lambda: self.client, client)
        except BaseException:
            # Whichever socket has no transport yet is ours to close; closing one twice does no harm.
            for sock, endpoint in ((client, self.client), (upstream, self.upstream)):
                if endpoint.transport is None:
                    reset(sock)
                    sock.close()
            raise

    def start(self, up: Sequence[Toxic], down: Sequence[Toxic]) -> None:
        """Let bytes flow, through these toxics."""
        if not (self.client.alive and self.upstream.alive):
            self.abort()
            return
        self.task = None
        self.open = True
        if self.owner.http:
            self.up.front, self.down.front = joined(self.down, lambda: self.owner.http_toxics, self.owner.draw)
            self.up.front.host = self.named
        self.up.sync(up, late=False)
        self.down.sync(down, late=False)
        for direction in (self.up, self.down):
            direction.steer()

    def random_for(self, toxic: Toxic, purpose: str) -> random.Random:
        """A generator that depends on the seed, the names, the connection's number and `purpose` only."""
        return random.Random(f"{self.owner.seed}/{self.owner.name}/{toxic.name}/{self.number}/{purpose}")

    def hit_by(self, toxic: Toxic) -> bool:
        """Whether `toxic` acts on this connection: the same answer however often it is asked."""
        if toxic.toxicity >= 1 or toxic.toxicity <= 0:
            return toxic.toxicity >= 1
        return self.random_for(toxic, "draw").random() < toxic.toxicity

    def finished(self, direction: Direction) -> None:
        """One direction has delivered its end: half-close, or close when it was the second."""
        if self.up.done and self.down.done:
            self.close()
            return
        transport = direction.dest.transport
        if direction.dest.alive and transport is not None:
            if not transport.can_write_eof():
                self._end_without_eof()
                return
            try:
                transport.write_eof()
            except OSError:  # it was reset between its last event and now; its transport has yet to notice
                self.abort()

    def _end_without_eof(self) -> None:
        """The client sends no more, and TLS cannot say so to the upstream: close, now or when all is answered."""
        front = self.down.front
        if isinstance(front, Answers) and front.outstanding_count:
            front.close_when_answered()
        else:
            self.close()

    def lost(self, endpoint: Endpoint, exc: Exception | None) -> None:
        """One end is gone: what was on its way to it is dropped, and its reset travels the other way."""
        endpoint.into.drop()
        if not self.client.alive and not self.upstream.alive:
            self._finish()
            return
        if exc is not None and not self._over:
            endpoint.out.source_ended(End.RESET)

    def close(self) -> None:
        """Close both ends after what was written to them has left."""
        self._over = True
        self._drop_stages()
        for endpoint in (self.client, self.upstream):
            if endpoint.transport is not None:
                endpoint.transport.close()

    def abort(self) -> None:
        """Reset both ends now."""
        self._over = True
        self._drop_stages()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
        if self.pending is not None:
            reset(self.pending)
            self.pending.close()
            self.pending = None
        if self.client.transport is None and self.upstream.transport is None:
            self._finish()  # else the transports say when they are gone
        for endpoint in (self.client, self.upstream):
            if endpoint.transport is not None:
                if endpoint.alive:
                    reset(endpoint.transport.get_extra_info("socket"))
                endpoint.transport.abort()

    def _drop_stages(self) -> None:
        for direction in (self.up, self.down):
            direction.drop_held()

    def _finish(self) -> None:
        if self._forgotten:
            return
        self._forgotten = True
        self.open = False
        for direction in (self.up, self.down):
            direction.drop()
        self.owner.forget(self)
