"""One proxy: a listener, an upstream, a chain of toxics each way, and the connections. Not here: the HTTP API."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import cache

from harness.proxy.server.address import Address, split
from harness.proxy.server.connection import Connection, Tls, reset
from harness.proxy.server.decode import ApiError, number
from harness.proxy.server.http.exchange import Answers
from harness.proxy.server.listener import Listener
from harness.proxy.server.toxics.base import Toxic

__all__ = ["Context", "Options", "Proxy"]

# How often a refusing upstream is tried. Its return is seen at most this much late: finer than any recovery worth
# measuring, and 40 connects a second cost both sides next to nothing.
_PROBE_S = 0.025
_PROBE_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a proxy can do beyond Toxiproxy's. `http`: its connections carry HTTP; `tls`: it speaks TLS to the upstream."""

    mirror_refusal: bool = False
    http: bool = False
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all proxies of a server share. `spawn` starts a task that must not raise; `witness` claims a source port."""

    seed: int
    dial_limit_s: float
    spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
    witness: Callable[[int], bool]
    log: Callable[[str], None]


@dataclass(slots=True)
class _Counts:
    """Totals of connections that are over."""

    connections_count: int = 0
    received_bytes: list[int] = field(default_factory=lambda: [0, 0])
    sent_bytes: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, connection: Connection) -> None:
        for index, direction in enumerate((connection.up, connection.down)):
            self.received_bytes[index] += direction.received_bytes
            self.sent_bytes[index] += direction.sent_bytes

    def copy(self) -> _Counts:
        return replace(self, received_bytes=list(self.received_bytes), sent_bytes=list(self.sent_bytes))


@cache
def _trust() -> ssl.SSLContext:
    """The machine's certificate authorities (SSL_CERT_FILE names others); HTTP/1.1 is all that is spoken."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _connected(address: str, limit_s: float) -> socket.socket:
    """A socket connected to `address`. Raises OSError, ConnectionRefusedError when it is refused, or TimeoutError."""
    loop = asyncio.get_running_loop()
    try:
        host, port = split(address)
    except ApiError as exc:
        raise OSError(exc.message) from exc
    async with asyncio.timeout(limit_s):
        found = await loop.getaddrinfo(host or "127.0.0.1", port, type=socket.SOCK_STREAM)
        failure: OSError = OSError(f"no address for {address!r}")
        for family, kind, proto, _, where in found:
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, where)
                # A connect to a free port of the ephemeral range can be given that same port as its source and meet
                # itself. Nobody is there: that is a refusal.
                if sock.getsockname() != sock.getpeername():
                    return sock
                failure = ConnectionRefusedError("connected to itself")
            except OSError as exc:
                failure = exc
            except BaseException:
                sock.close()
                raise
            reset(sock)
            sock.close()
        raise failure


class Proxy:
    """A named proxy. It is enabled when it should listen; it may still not, while its upstream refuses."""

    def __init__(self, context: Context, name: str, listen: str, upstream: str) -> None:
        self.context = context
        self.name = name
        self.seed = context.seed
        self.listen = listen
        self.upstream = upstream
        self.options = Options()
        self.enabled = False
        self.up: list[Toxic] = []
        self.down: list[Toxic] = []
        self.http_toxics: tuple[Toxic, ...] = ()
        self.connections: set[Connection] = set()
        self.numbers = 0
        self.refused_count = 0
        self.dial_failed_count = 0
        self.refusing_since_ns: int | None = None
        self._listener = Listener(self._accepted)
        self._probe: asyncio.Task[None] | None = None
        self._load = _Counts()
        self._witness = _Counts()

    # --- life

    def start(self, address: Address) -> None:
        """Listen on `address`, which is what `listen` resolved to. Raises ApiError 500 when that cannot be."""
        self._listener.gate(self._gated)
        self.listen = self._listener.open(address)
        self.enabled = True

    def stop(self) -> None:
        """Refuse connects and reset what is open, at once. The port stays reserved."""
        if self.enabled:
            self.enabled = False
            self._end_refusing()
            self._listener.shut()
        self.reset_connections()

    def close(self) -> None:
        """Stop for good and give up the port."""
        self.stop()
        self._listener.close()

    def configure(self, options: Options) -> None:
        """Take new options; switching `mirror_refusal` off opens the listener again."""
        self.options = options
        if not options.mirror_refusal and self._probe is not None:
            self._end_refusing()
            self._reopen()

    def reset_connections(self) -> int:
        """How many connections were open; each end of them is sent RST now."""
        open_now = list(self.connections)
        for connection in open_now:
            connection.abort()
        return len(open_now)

    # --- toxics

    @property
    def toxics(self) -> list[Toxic]:
        """All of them, the upstream chain first, each in order of creation."""
        return [*self.up, *self.down]

    def find(self, name: str) -> Toxic:
        """The toxic of that name. Raises ApiError 404."""
        for toxic in self.toxics:
            if toxic.name == name:
                return toxic
        raise ApiError(404, "toxic not found")

    def add(self, toxic: Toxic) -> None:
        """Put `toxic` at the end of its chain, in open connections too."""
        toxic.since_ns = toxic.updated_ns = time.monotonic_ns()
        (self.up if toxic.upstream else self.down).append(toxic)
        self._edited()

    def update(self, toxic: Toxic) -> None:
        """Spread changed attributes or toxicity."""
        toxic.updated_ns = time.monotonic_ns()
        self._edited()
        for connection in list(self.connections):
            if connection.open:
                (connection.up if toxic.upstream else connection.down).updated(toxic)

    def remove(self, toxic: Toxic) -> None:
        """Take `toxic` out, of open connections too."""
        (self.up if toxic.upstream else self.down).remove(toxic)
        self._edited()

    def remove_all(self) -> None:
        """Take every toxic out."""
        self.up.clear()
        self.down.clear()
        self._edited()

    def _edited(self) -> None:
        self.http_toxics = tuple(toxic for toxic in self.down if toxic.kind.http)
        for connection in list(self.connections):
            if connection.open:
                connection.up.sync(self.up, late=True)
                connection.down.sync(self.down, late=True)
                if isinstance(connection.down.front, Answers):
                    connection.down.front.sync(self.http_toxics)
        self._listener.gate(self._gated)

    @property
    def _gated(self) -> bool:
        return any(toxic.kind.gates and toxic.toxicity >= 1 for toxic in self.toxics)

    @property
    def http(self) -> bool:
        """Whether its connections carry HTTP."""
        return self.options.http

    def draw(self, toxic: Toxic) -> random.Random:
        """A generator that depends on the seed, the link, the type, and how many requests met the toxic before."""
        number = toxic.requests_count
        toxic.requests_count += 1
        return random.Random(f"{self.seed}/{self.name}/{toxic.type}/{number}")

    # --- connections

    def _accepted(self, sock: socket.socket, host: str, port: int) -> None:
        connection = Connection(self, self.numbers, sock, self.context.witness(port))
        self.numbers += 1
        (self._witness if connection.witness else self._load).connections_count += 1
        self.connections.add(connection)
        connection.task = self.context.spawn(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        try:
            upstream = await _connected(self.upstream, self.context.dial_limit_s)
            await connection.establish(upstream, self._tls(connection))
            connection.start(self.up, self.down)
        except ConnectionRefusedError:
            self.refused_count += 1
            connection.abort()
            if self.options.mirror_refusal and self.enabled:
                self._begin_refusing()
        except (OSError, TimeoutError):
            self.dial_failed_count += 1
            connection.abort()
        except Exception as exc:  # a bug in one connection must not take the other links down; it is logged
            self.context.log(f"{self.name}: connection {connection.number}: {exc!r}")
            connection.abort()

    def _tls(self, connection: Connection) -> Tls | None:
        if not self.options.tls:
            return None
        host, port = split(self.upstream)
        # Clients speak to a loopback address; the upstream serves by its own name.
        connection.named = (host if port == 443 else f"{host}:{port}").encode()
        return Tls(context=_trust(), host=host, limit_s=self.context.dial_limit_s)

    def forget(self, connection: Connection) -> None:
        """Add up the counters of a connection that is over."""
        self.connections.discard(connection)
        (self._witness if connection.witness else self._load).add(connection)

    # --- mirrored refusal

    def _begin_refusing(self) -> None:
        if self._probe is None:
            self.refusing_since_ns = time.monotonic_ns()
            self._listener.shut()
            self._probe = self.context.spawn(self._probe_upstream())

    def _end_refusing(self) -> None:
        self.refusing_since_ns = None
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def _reopen(self) -> None:
        try:
            self._listener.reopen()
        except ApiError as exc:
            self.enabled = False
            self.context.log(f"{self.name}: could not listen again: {exc.message}")

    async def _probe_upstream(self) -> None:
        """Open the listener as soon as the upstream no longer refuses: it accepts, or it is silent, as clients see."""
        while True:
            await asyncio.sleep(_PROBE_S)
            try:
                sock = await _connected(self.upstream, _PROBE_LIMIT_S)
            except ConnectionRefusedError:
                continue
            except (OSError, TimeoutError):
                break
            sock.close()
            break
        self._probe = None
        self.refusing_since_ns = None
        self._reopen()

    # --- what it looks like

    def describe(self) -> dict[str, object]:
        """The proxy as the plain API shows it, and its options."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "blackstart": {
                "http": self.options.http,
                "mirror_refusal": self.options.mirror_refusal,
                "tls": self.options.tls,
            },
            "toxics": [describe_toxic(toxic) for toxic in self.toxics],
        }

    def evidence(self) -> dict[str, object]:
        """Live counters and states, for `GET /blackstart/links`."""
        load, witness = self._load.copy(), self._witness.copy()
        held = [0, 0]
        open_count = witness_open_count = 0
        for connection in self.connections:
            (witness if connection.witness else load).add(connection)
            open_count += not connection.witness
            witness_open_count += connection.witness
            held[0] += connection.up.held_bytes
            held[1] += connection.down.held_bytes
        return {
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "listening": self._listener.listening,
            "gated": self._gated,
            "http": self.options.http,
            "refusing_since_ns": self.refusing_since_ns,
            "connections": {"open": open_count, "total": load.connections_count},
            "received_bytes": {"upstream": load.received_bytes[0], "downstream": load.received_bytes[1]},
            "sent_bytes": {"upstream": load.sent_bytes[0], "downstream": load.sent_bytes[1]},
            "held_bytes": {"upstream": held[0], "downstream": held[1]},
            "refused": self.refused_count,
            "dial_failed": self.dial_failed_count,
            "witness": {
                "connections": {"open": witness_open_count, "total": witness.connections_count},
                "received_bytes": {"upstream": witness.received_bytes[0], "downstream": witness.received_bytes[1]},
                "sent_bytes": {"upstream": witness.sent_bytes[0], "downstream": witness.sent_bytes[1]},
            },
            "toxics": [
                {
                    **describe_toxic(toxic),
                    "since_ns": toxic.since_ns,
                    "updated_ns": toxic.updated_ns,
                    "affected": toxic.affected_count,
                    **({"requests": toxic.requests_count, "drawn": toxic.drawn_count} if toxic.kind.http else {}),
                }
                for toxic in self.toxics
            ],
        }


def describe_toxic(toxic: Toxic) -> dict[str, object]:
    """The toxic as the plain API shows it."""
    return {
        "attributes": dict(toxic.attributes),
        "name": toxic.name,
        "type": toxic.type,
        "stream": toxic.stream,
        "toxicity": number(toxic.toxicity),
    }
