"""aiohttp as a drill needs it: nothing re-sent silently, nothing waits for ever, the current op hears of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from harness.errors import HarnessBug
from harness.load.op import CURRENT_OP

if TYPE_CHECKING:
    from aiohttp.connector import Connection

__all__ = ["close_shared", "open_session"]

_MARGIN_S = 0.25  # the op's own timeout comes first, so that it is the op that names what was late


class _Request(aiohttp.ClientRequest):
    """Tells the op when it is made and just before its first byte: until then a failure surely had no effect."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        op = CURRENT_OP.get()
        if op is not None:
            op.requested()

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        op = CURRENT_OP.get()
        if op is not None:
            op.sending()
        return await super().send(conn)


class _Response(aiohttp.ClientResponse):
    """Tells the op its status when the head of the answer is there."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        response = await super().start(connection)
        op = CURRENT_OP.get()
        if op is not None:
            op.answered(self.status)
        return response


def open_session(entry: str, timeout_s: float, shared: dict[str, Any]) -> aiohttp.ClientSession:
    """A session of its own cookies over the worker's one connector (kept in `shared`). Call it in a running loop.

    Names are resolved for every new connection: a cached address would hide a failover by DNS. Raises HarnessBug when
    this release of aiohttp has no switch for its silent re-send, which doubles writes and hides lost requests.
    """
    connector = shared.get("connector")
    if connector is None:
        connector = shared["connector"] = aiohttp.TCPConnector(limit=0, limit_per_host=0, use_dns_cache=False)
    session = aiohttp.ClientSession(
        entry,
        connector=connector,
        connector_owner=False,
        cookie_jar=aiohttp.CookieJar(unsafe=True),  # addresses may be numbers; each user has cookies of its own
        timeout=aiohttp.ClientTimeout(total=timeout_s + _MARGIN_S),
        request_class=_Request,
        response_class=_Response,
    )
    if not isinstance(getattr(session, "_retry_connection", None), bool):
        raise HarnessBug(f"aiohttp {aiohttp.__version__} has no known switch for its silent re-send; use 3.11 to 3.14")
    session._retry_connection = False
    return session


async def close_shared(shared: dict[str, Any]) -> None:
    """Close the worker's connections, if any were ever opened."""
    connector = shared.pop("connector", None)
    if connector is not None:
        await connector.close()
    if "lean" in shared:
        from harness.load.lean import close_idle

        close_idle(shared)
