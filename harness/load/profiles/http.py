"""Profile `http`: one request to one path. Measured, not checked: it has no model."""

from __future__ import annotations

from typing import Literal

from harness.load import HttpUser, Rejected

__all__ = ["PathUser"]


class PathUser(HttpUser):
    """Requests `path` with `method` and expects status `expect`; the op's word is the method, in lower case.

    `body` is sent as it is with `content_type`; `stream` reads the answer piece by piece and counts each as a chunk.
    `contains` must be in the answer, else the content is wrong. The `*_header` options name the response headers that say
    who served; None (the default) reads none.
    """

    path: str = "/"
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] = "GET"
    expect: int = 200
    body: str | None = None
    content_type: str = "application/json"
    stream: bool = False
    contains: str | None = None
    served_by_header: str | None = None
    region_header: str | None = None
    version_header: str | None = None

    async def run(self) -> None:
        headers = None if self.body is None else {"content-type": self.content_type}
        async with (
            self.op(self.method.lower()) as op,
            self.client.request(self.method, self.path, data=self.body, headers=headers) as reply,
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
            if reply.status != self.expect:
                reply.raise_for_status()
                raise Rejected(f"http {reply.status}")
            if self.contains is not None:
                op.expect(self.contains.encode() in body, True)

    @staticmethod
    def _named(headers: object, name: str | None) -> str | None:
        return None if name is None else headers.get(name)  # type: ignore[attr-defined]
