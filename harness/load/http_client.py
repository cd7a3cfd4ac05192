"""What a built-in profile asks of an HTTP client: aiohttp's session and the lean client both fit. Types only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

__all__ = ["HttpClient", "HttpHeaders", "HttpReply"]


class HttpHeaders(Protocol):
    """Response headers, names in any case."""

    def get(self, name: str, default: str | None = None, /) -> str | None: ...


class HttpStream(Protocol):
    """A body that is read as it comes."""

    def iter_any(self) -> AsyncIterator[bytes]: ...


class HttpReply(Protocol):
    """An answer whose head is there. Reading raises when the body stops short, which ends the op as broken."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> HttpHeaders: ...

    @property
    def content(self) -> HttpStream: ...

    async def read(self) -> bytes: ...

    async def json(self, *, content_type: str | None = None) -> Any: ...

    def raise_for_status(self) -> None: ...


class HttpClient(Protocol):
    """Requests relative to the entry. Nothing is sent again silently; the current op is told of the wire."""

    def request(
        self,
        method: str,
        path: str,
        *,
        data: str | bytes | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[HttpReply]: ...
