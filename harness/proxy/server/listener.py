"""The accepting side of a proxy. Here: a port that is listened on, held back, or only kept. Not here: who is accepted.

Three states: `open` (listening), `gated` (listening with an empty backlog and accepting nobody: one connect may
succeed, the next get no answer) and `shut` (the port is bound but not listened on: connects are refused, and with
SO_REUSEADDR only another fault proxy, never a stranger that asks for any free port, can be given it).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from harness.proxy.server.address import Address, format_address, strerror
from harness.proxy.server.decode import ApiError

__all__ = ["Listener"]

_BACKLOG = 1024
_PER_TURN = 64
_EXHAUSTED_PAUSE_S = 0.1


def _bound(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "::" else 1)
        sock.setblocking(False)
        sock.bind((address.host, address.port))
    except BaseException:
        sock.close()
        raise
    return sock


class Listener:
    """A listening port that can be shut and opened again without losing it. `accepted` is handed each new socket."""

    def __init__(self, accepted: Callable[[socket.socket, str, int], None]) -> None:
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        self._address: Address | None = None
        self._listening = False
        self._gated = False

    @property
    def listening(self) -> bool:
        """Whether the kernel answers connects on this port."""
        return self._listening

    def open(self, address: Address) -> str:
        """Listen on `address` and return where: "127.0.0.1:41537". Raises ApiError 500 when that cannot be."""
        try:
            if self._sock is None or address != self._address:
                self.close()
                self._sock = _bound(address)
                host, port = self._sock.getsockname()[:2]
                self._address = Address(family=address.family, host=address.host, port=port)
            self._listening = True
            self._apply()
        except (OSError, OverflowError) as exc:
            self.close()
            detail = strerror(exc) if isinstance(exc, OSError) else str(exc)
            raise ApiError(500, f"listen tcp {address}: bind: {detail}") from exc
        host, port = self._sock.getsockname()[:2]
        return format_address(host, port)

    def gate(self, gated: bool) -> None:
        """Accept nobody while `gated`."""
        if gated != self._gated:
            self._gated = gated
            if self._listening:
                self._apply()

    def _apply(self) -> None:
        assert self._sock is not None
        self._sock.listen(0 if self._gated else _BACKLOG)
        if self._gated:
            self._loop.remove_reader(self._sock)
        else:
            self._loop.add_reader(self._sock, self._readable)

    def shut(self) -> None:
        """Refuse connects from now on, and reset those that nobody accepted yet; the port stays ours."""
        address = self._address
        self.close()
        self._address = address
        if address is not None:
            # Lost to another fault proxy in between: then the port is bound when it is opened again, or that fails.
            with contextlib.suppress(OSError):
                self._sock = _bound(address)

    def reopen(self) -> None:
        """Listen again where it was shut. Raises ApiError 500 when that cannot be."""
        if self._address is not None:
            self.open(self._address)

    def close(self) -> None:
        """Give the port up."""
        self._listening = False
        self._address = None
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _readable(self) -> None:
        for _ in range(_PER_TURN):
            if self._sock is None or not self._listening or self._gated:
                return
            try:
                sock, peer = self._sock.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # that client gave up meanwhile
            except OSError:
                # Out of descriptors or memory: an unread backlog would spin the loop, so look again in a moment.
                self._loop.remove_reader(self._sock)
                self._loop.call_later(_EXHAUSTED_PAUSE_S, self._resume, self._sock)
                return
            sock.setblocking(False)
            self._accepted(sock, str(peer[0]), int(peer[1]))

    def _resume(self, sock: socket.socket) -> None:
        if sock is self._sock and self._listening:
            self._apply()
