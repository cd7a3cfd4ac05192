"""Profile `http`: one request to one path. Measured, not checked: it has no model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config

from harness.load import HttpUser, Rejected
from harness.load.http_client import HttpHeaders

__all__ = ["PathUser", "Request"]

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sort of request of a mix; out of all arrivals it gets the share `weight` / sum of weights."""

    path: str
    weight: Annotated[float, Field(gt=0)] = 1.0
    method: Method = "GET"
    body: str | None = None
    expect: int = 200


class PathUser(HttpUser):
    """Requests `path` with `method` and expects status `expect`; the op's word is the method, in lower case.

    With a `mix`, each arrival draws one of its requests instead, from the seed. `body` is sent as it is with
    `content_type`; `stream` reads the answer piece by piece and counts each as a chunk. `contains` must be in the answer,
    else the content is wrong. The `*_header` options name the response headers that say who served; None (the default)
    reads none. `client: lean` asks with a client that costs a fraction, for plain HTTP without redirects and cookies.
    """

    client_: Literal["aiohttp", "lean"] = "aiohttp"
    path: str = "/"
    method: Method = "GET"
    expect: int = 200
    body: str | None = None
    mix: tuple[Request, ...] = ()
    content_type: str = "application/json"
    stream: bool = False
    contains: str | None = None
    served_by_header: str | None = None
    region_header: str | None = None
    version_header: str | None = None

    async def run(self) -> None:
        await self._ask(self._drawn() if self.mix else self._single)

    @cached_property
    def _single(self) -> Request:
        return Request(path=self.path, method=self.method, body=self.body, expect=self.expect)

    def _drawn(self) -> Request:
        return self.random.choices(self.mix, [request.weight for request in self.mix])[0]

    async def _ask(self, request: Request) -> None:
        headers = None if request.body is None else {"content-type": self.content_type}
        async with (
            self.op(request.method.lower(), key=request.path if self.mix else None) as op,
            self.wire.request(request.method, request.path, data=request.body, headers=headers) as reply,
        ):
            op.served_by = self._named(reply.headers, self.served_by_header)
            op.region = self._named(reply.headers, self.region_header)
            op.version = self._named(reply.headers, self.version_header)
            body = b""
            if self.stream:
                async for piece in reply.content.iter_any():
                    op.chunk(len(piece))
                    body += piece if self.contains is not None else b""
            else:
                body = await reply.read()
                op.bytes = len(body)
            if reply.status != request.expect:
                reply.raise_for_status()
                raise Rejected(f"http {reply.status}, not {request.expect}")
            if self.contains is not None:
                op.expect(self.contains.encode() in body, True)

    @staticmethod
    def _named(headers: HttpHeaders, name: str | None) -> str | None:
        return None if name is None else headers.get(name)
