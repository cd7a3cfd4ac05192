"""What a file written for aiolocust finds when it is run on our engine: its `HttpUser.run` contract, and nothing else of it.

While such a file is imported `import aiolocust` gives the module that `standing_in` makes, installed or not: aiolocust itself is
never run (it needs Python 3.14, and loses requests that die in flight). One arrival is one `run()`; every request in it is an op,
named by `name=` or its path. What else a file asks of aiolocust is an ImportError that says so. Source: aiolocust 0.12.7, its
`HttpUser` and `LocustClientSession`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from harness.load.op import OpContext
from harness.load.outcomes import Rejected
from harness.load.user import HttpUser

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AiolocustUser", "LocustClientSession", "from_function", "refusal", "standing_in"]

_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")


class AiolocustUser(HttpUser):
    """aiolocust's `HttpUser` on our engine: `client` makes ops of its requests; `cm()` is entered once in a user's life."""

    session_kwargs: ClassVar[dict[str, Any]] = {}
    ssl_context: ClassVar[object] = None
    host: ClassVar[str | None] = None
    running = True
    runner: ClassVar[object] = None

    @asynccontextmanager
    async def cm(self) -> AsyncIterator[None]:
        """For a file to override: around all of its runs."""
        yield

    @property
    def client(self) -> LocustClientSession:  # type: ignore[override]
        """The session."""
        client: LocustClientSession | None = self.__dict__.get("_locust_client")
        if client is None:
            client = self.__dict__["_locust_client"] = LocustClientSession(self, super().client)
        return client

    async def start(self) -> None:
        """Enter `cm()`."""
        around: AbstractAsyncContextManager[None] = self.cm()
        await around.__aenter__()
        self.__dict__["_around"] = around

    async def stop(self) -> None:
        """Leave it."""
        self.running = False
        around = self.__dict__.pop("_around", None)
        if around is not None:
            await around.__aexit__(None, None, None)


class LocustClientSession:
    """aiohttp's session, each request an op of its own. Addresses are relative to the entry; another origin is never asked."""

    def __init__(self, user: AiolocustUser, session: aiohttp.ClientSession) -> None:
        self._user, self._session = user, session

    def request(self, method: str, url: Any, *, name: str | None = None, **more: Any) -> _Request:
        """As aiohttp's, with aiolocust's `name`."""
        return _Request(self._user, self._session, (method.upper(), str(url), name), more)

    def __getattr__(self, name: str) -> Callable[..., _Request]:
        if name not in _METHODS:
            raise AttributeError(
                f"Blackstart's stand-in for aiolocust's session has {', '.join(_METHODS)}, request; not {name}"
            )
        return lambda url, **more: self.request(name, url, **more)


class _Request:
    """`async with client.get(...) as resp`: the body is read before the block; it ends the op as aiolocust would count it.

    A status from 400 on is no success, and raises only with `raise_for_status`; `resp.error = ...` and an AssertionError in the
    block are wrong content; whatever else the block raises is the op's end.
    """

    def __init__(
        self,
        user: AiolocustUser,
        session: aiohttp.ClientSession,
        what: tuple[str, str, str | None],
        more: dict[str, Any],
    ) -> None:
        self._session, self._more = session, more
        self._method, self._url, name = what
        self._raises = bool(more.pop("raise_for_status", False))
        self._entry = user.entry
        self._op: OpContext = user.op(self._method.lower(), key=name or urlsplit(self._url).path or "/")
        self._reply: Any = None
        self._context: Any = None

    async def __aenter__(self) -> Any:
        await self._op.__aenter__()
        try:
            asked, entry = urlsplit(self._url), urlsplit(self._entry)
            if asked.netloc and (asked.scheme, asked.netloc) != (entry.scheme, entry.netloc):
                raise Rejected(f"not the stack's entry: {asked.scheme}://{asked.netloc}")
            self._context = self._session.request(self._method, self._url, **self._more)
            self._reply = await self._context.__aenter__()
            self._reply.error = None
            self._op.bytes += len(await self._reply.read())
            if self._raises:
                self._reply.raise_for_status()
        except BaseException as exc:
            await self._close(type(exc), exc, exc.__traceback__)
            raise
        return self._reply

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(exc, AssertionError) or (exc is None and self._reply.error):
            self._op.error = str(exc or self._reply.error) or "assertion failed"
            self._op.expect(False, True)
            await self._close(None, None, None)
            self._op._user._ended_by = exc
            return
        if exc is None and self._reply.status >= 400:
            failed = self._failure()
            await self._close(type(failed), failed, None)
            return
        await self._close(kind, exc, trace)

    def __await__(self) -> Any:
        raise TypeError("write `async with client.get(...) as resp`: an answer must be let go of")

    def _failure(self) -> BaseException:
        try:
            self._reply.raise_for_status()
        except Exception as exc:  # its own error for that status, which the op is classified by
            return exc
        raise AssertionError("a status from 400 on raises")

    async def _close(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the answer, then end the op."""
        try:
            if self._reply is not None:
                await self._context.__aexit__(kind, exc, trace)
        finally:
            await self._op.__aexit__(kind, exc, trace)


def from_function(run: Callable[[Any], Awaitable[None]]) -> type[AiolocustUser]:
    """A user whose `run` is a file's `async def run(user)`."""
    return type("SimpleUser", (AiolocustUser,), {"__module__": run.__module__, "__doc__": run.__doc__, "run": run})


def refusal(cls: type[AiolocustUser]) -> str | None:
    """What such a class asks for that our engine does not do; None when there is nothing."""
    others = sorted(set(cls.session_kwargs) - {"timeout"})
    if others:
        return f"{cls.__name__}.session_kwargs: {', '.join(others)} is not passed on; give it with each request"
    if cls.ssl_context is not None:
        return f"{cls.__name__}.ssl_context is not used here: https entries are verified as the machine does"
    return None if inspect.iscoroutinefunction(cls.run) else f"{cls.__name__}.run: expected `async def run(self)`"


@contextmanager
def standing_in() -> Iterator[None]:
    """While this lasts, `import aiolocust` gives the contract; whatever was imported under that name before is back afterwards."""
    module = ModuleType("aiolocust", "Blackstart's stand-in: the HttpUser.run contract alone.")
    module.__dict__.update(
        HttpUser=AiolocustUser, LocustClientSession=LocustClientSession, Runner=_Runner, __getattr__=_missing
    )
    before = {name: sys.modules[name] for name in list(sys.modules) if name.partition(".")[0] == "aiolocust"}
    for name in before:
        del sys.modules[name]
    sys.modules["aiolocust"] = module
    try:
        yield
    finally:
        del sys.modules["aiolocust"]
        sys.modules.update(before)


class _Runner:
    """For `if __name__ == "__main__":` at the end of a file: there is none here."""

    def __init__(self, *args: object, **more: object) -> None:
        raise RuntimeError("aiolocust.Runner: Blackstart's engine runs this file's users; no Runner is needed")


def _missing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    said = "Blackstart runs files written to aiolocust's HttpUser.run contract: it has HttpUser and LocustClientSession"
    if name == "rate_limit":
        said = "the load's arrival paces here, as in arrival: {rate: 100/s}; take rate_limit off"
    raise ImportError(f"aiolocust.{name}: {said}")
