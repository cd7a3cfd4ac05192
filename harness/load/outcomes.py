"""The one table that says how an op ended: `fail` only with proof of no effect, else `info` (a read is `fail` then).

Here: exceptions that profiles raise and how any exception is classified. Not here: HTTP clients; aiohttp is only
looked at when a profile has imported it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "MODELS",
    "NO_EFFECT_STATUSES",
    "READ_WORDS",
    "Broken",
    "Disconnected",
    "Ending",
    "NotHttp",
    "PayloadBroken",
    "Rejected",
    "StatusError",
    "classify",
    "is_write",
]

MODELS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "set": (frozenset({"add"}), frozenset({"read"})),
    "log": (frozenset({"append"}), frozenset({"read"})),
    "register": (frozenset({"write", "cas"}), frozenset({"read"})),
    "counter": (frozenset({"add"}), frozenset({"read"})),
    "jobs": (frozenset({"submit"}), frozenset({"read"})),
    "queue": (frozenset({"send", "receive"}), frozenset()),
}
"""Model -> (words of its writes, words of its reads). `receive` takes an item away, so it counts among the writes."""

READ_WORDS = frozenset({"read", "get", "head"})
"""Words that never have an effect, whatever the model."""

NO_EFFECT_STATUSES = frozenset({400, 401, 403, 404, 409, 412, 413, 422, 429})
"""HTTP statuses by which a server says that it did nothing."""

_UNREACHABLE = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE}
)


class Rejected(Exception):
    """Raised by a profile when the answer says that surely nothing was done: the op is `fail`."""


class Broken(Exception):
    """Raised by a profile when a stream ended before its end: `info` on a write, and marked as broken in mid-stream."""


class Disconnected(ConnectionError):
    """The lean client's: the connection ended before any answer."""


class PayloadBroken(ConnectionError):
    """The lean client's: the answer ended before its end."""


class NotHttp(ConnectionError):
    """The lean client's: what came back is no HTTP."""


class StatusError(Exception):
    """The lean client's: a status of 400 or above, from `raise_for_status`."""

    def __init__(self, status: int) -> None:
        super().__init__(f"http {status}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an exception ends an op. `error` is a short, low-cardinality word; `broke`: the wire failed, not the answer."""

    outcome: Literal["fail", "info"]
    error: str
    status: int | None = None
    broke: bool = False


def is_write(f: str) -> bool:
    """Whether an op of this word may have an effect, so that a failure without proof is `info`."""
    return f not in READ_WORDS


def classify(
    exc: BaseException, f: str, *, unsent: bool | None, tainted: bool = False, no_effect: Collection[int] = ()
) -> Ending:
    """How `exc` ends an op `f`.

    `unsent`: True when no byte of the op was sent, False when some was, None when the client cannot tell (then only a
    refused or unresolved connection proves it). `tainted`: an earlier wire attempt ended unanswered, so that no later
    proof counts. `no_effect`: further statuses by which this stack says that it did nothing. Source: DESIGN §8.
    """
    status = _status(exc)
    if isinstance(exc, Rejected):
        sure, error, broke = True, str(exc) or "rejected", False
    elif status is not None:
        sure, error, broke = status in NO_EFFECT_STATUSES or status in no_effect, _refusal(exc, status), False
    else:
        sure = bool(unsent) or (unsent is None and _never_connected(exc))
        error, broke = _word(exc, unsent), True
    certain = (sure and not tainted) or not is_write(f)
    return Ending(outcome="fail" if certain else "info", error=error, status=status, broke=broke)


def _status(exc: BaseException) -> int | None:
    """The HTTP status that an exception carries; None when it is none of that sort."""
    if isinstance(exc, StatusError):
        return exc.status
    client = sys.modules.get("aiohttp")
    if client is not None and isinstance(exc, client.ClientResponseError) and exc.status and not _garbled(exc):
        return int(exc.status)
    return None


def _refusal(exc: BaseException, status: int) -> str:
    """The status; for an answer that the profile took for JSON although it is none, and no error either, what it is."""
    if status < 400 and type(exc).__name__ == "ContentTypeError":
        named = (getattr(exc, "headers", None) or {}).get("content-type", "")
        return f"not JSON: {named.partition(';')[0].strip() or 'no content type'}"
    return f"http {status}"


def _garbled(exc: BaseException) -> bool:
    """Whether the answer was no HTTP. aiohttp gives such an exception a status of its own, 400, that no server sent."""
    client = sys.modules.get("aiohttp")
    return isinstance(exc, NotHttp) or (
        client is not None
        and isinstance(exc, client.ClientResponseError)
        and isinstance(exc.__cause__, client.http_exceptions.HttpProcessingError)
    )


def _never_connected(exc: BaseException) -> bool:
    return isinstance(exc, socket.gaierror) or (isinstance(exc, OSError) and exc.errno in _UNREACHABLE)


def _word(exc: BaseException, unsent: bool | None) -> str:
    """A word for the error, few in number so that they can be counted: types, not messages."""
    if isinstance(exc, asyncio.CancelledError):
        return "cancelled"
    if isinstance(exc, TimeoutError):
        return "connect-timeout" if unsent else "timeout"
    if isinstance(exc, Broken):
        return str(exc) or "broken"
    if isinstance(exc, ConnectionRefusedError) or getattr(exc, "errno", None) == errno.ECONNREFUSED:
        return "refused"
    if isinstance(exc, socket.gaierror) or type(exc).__name__ == "ClientConnectorDNSError":
        return "unresolved"
    if isinstance(exc, ConnectionResetError) or getattr(exc, "errno", None) in {errno.ECONNRESET, errno.EPIPE}:
        return "reset"
    if _garbled(exc):
        return "not-http"
    if isinstance(exc, Disconnected) or type(exc).__name__ in {"ServerDisconnectedError", "IncompleteReadError"}:
        return "eof"
    if isinstance(exc, PayloadBroken) or type(exc).__name__ == "ClientPayloadError":
        return "payload-broken"
    return type(exc).__name__
