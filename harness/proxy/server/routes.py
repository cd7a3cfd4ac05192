"""Paths and methods to calls, and answers to bytes. Here: everything about HTTP that is not framing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from harness.proxy.server.collection import Collection
from harness.proxy.server.decode import ApiError

__all__ = ["VERSION", "Request", "Response", "Routes"]

# The API level that we speak, and a mark that no release of Toxiproxy carries.
VERSION = "2.12.0-blackstart"

_JSON = "application/json"
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; header names are lower case, `path` is still percent-encoded and has no query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer. `content_type` is None when there is nothing to describe (204, 405)."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    extra: dict[str, str] = field(default_factory=dict)


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _json(status: int, value: object) -> Response:
    return Response(status=status, body=_encode(value), content_type=_JSON)


def _plain(status: int, text: str) -> Response:
    """What Go's http.Error sends: the text, a newline, and a warning not to guess its type."""
    extra = {"X-Content-Type-Options": "nosniff"}
    return Response(status=status, body=text.encode() + b"\n", content_type=_PLAIN, extra=extra)


def _error(status: int, message: str) -> Response:
    return _plain(status, _encode({"error": message, "status": status}).decode())


_Handler = Callable[[list[str], bytes], Awaitable[Response]]


class Routes:
    """The control API over one collection."""

    def __init__(self, collection: Collection, log: Callable[[str], None]) -> None:
        self._collection = collection
        self._log = log
        # A path is its number of parts and its fixed words; "*" stands for a name.
        self._table: dict[tuple[str, ...], dict[str, _Handler]] = {
            ("proxies",): {"GET": self._index, "POST": self._create},
            ("proxies", "*"): {"GET": self._show, "POST": self._update, "PATCH": self._update, "DELETE": self._delete},
            ("proxies", "*", "toxics"): {"GET": self._toxics, "POST": self._add_toxic},
            ("proxies", "*", "toxics", "*"): {
                "GET": self._toxic,
                "POST": self._update_toxic,
                "PATCH": self._update_toxic,
                "DELETE": self._delete_toxic,
            },
            ("populate",): {"POST": self._populate},
            ("reset",): {"POST": self._reset},
            ("version",): {"GET": self._version},
            ("blackstart", "links"): {"GET": self._links},
            ("blackstart", "links", "*", "reset"): {"POST": self._reset_link},
            ("blackstart", "witness"): {"POST": self._witness},
        }

    async def answer(self, request: Request) -> Response:
        """The response to `request`; never raises."""
        parts = [unquote(part) for part in request.path.split("/")[1:]]
        methods = self._match(parts)
        if methods is None:
            return _plain(404, "404 page not found")
        handler = methods.get(request.method)
        if handler is None:
            return Response(status=405)
        if request.headers.get("user-agent", "").startswith("Mozilla/"):
            return _plain(403, "User agent not allowed")
        try:
            return await handler(parts, request.body)
        except ApiError as exc:
            return _error(exc.status, exc.message)
        except Exception as exc:  # the control API answers, whatever happens; the fault is logged and reported
            self._log(f"{request.method} {request.path}: {exc!r}")
            return _error(500, f"internal error: {exc!r}")

    def _match(self, parts: list[str]) -> dict[str, _Handler] | None:
        for pattern, methods in self._table.items():
            if len(pattern) == len(parts) and all(
                part and want in ("*", part) for want, part in zip(pattern, parts, strict=True)
            ):
                return methods
        return None

    async def _index(self, parts: list[str], body: bytes) -> Response:
        return _json(200, self._collection.index())

    async def _create(self, parts: list[str], body: bytes) -> Response:
        return _json(201, await self._collection.create(body))

    async def _show(self, parts: list[str], body: bytes) -> Response:
        return _json(200, self._collection.get(parts[1]).describe())

    async def _update(self, parts: list[str], body: bytes) -> Response:
        return _json(200, await self._collection.update(parts[1], body))

    async def _delete(self, parts: list[str], body: bytes) -> Response:
        self._collection.delete(parts[1])
        return Response(status=204)

    async def _toxics(self, parts: list[str], body: bytes) -> Response:
        return _json(200, self._collection.toxics(parts[1]))

    async def _add_toxic(self, parts: list[str], body: bytes) -> Response:
        return _json(200, self._collection.add_toxic(parts[1], body))

    async def _toxic(self, parts: list[str], body: bytes) -> Response:
        toxics = self._collection.toxics(parts[1])
        for toxic in toxics:
            if toxic["name"] == parts[3]:
                return _json(200, toxic)
        return _error(404, "toxic not found")

    async def _update_toxic(self, parts: list[str], body: bytes) -> Response:
        return _json(200, self._collection.update_toxic(parts[1], parts[3], body))

    async def _delete_toxic(self, parts: list[str], body: bytes) -> Response:
        self._collection.delete_toxic(parts[1], parts[3])
        return Response(status=204)

    async def _populate(self, parts: list[str], body: bytes) -> Response:
        return _json(*await self._collection.populate(body))

    async def _reset(self, parts: list[str], body: bytes) -> Response:
        await self._collection.reset()
        return Response(status=204)

    async def _version(self, parts: list[str], body: bytes) -> Response:
        text = f'{{"version": "{VERSION}"}}\n'
        return Response(status=200, body=text.encode(), content_type="application/json;charset=utf-8")

    async def _links(self, parts: list[str], body: bytes) -> Response:
        return _json(200, self._collection.links())

    async def _reset_link(self, parts: list[str], body: bytes) -> Response:
        return _json(200, {"reset": self._collection.get(parts[2]).reset_connections()})

    async def _witness(self, parts: list[str], body: bytes) -> Response:
        return _json(200, self._collection.expect_witness(body))
