"""`toxiproxy-python` made safe: the server chosen per call, a deadline on each, errors on 5xx. Not here: who calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar

__all__ = ["CALL_LIMIT_S", "library", "talking_to"]

CALL_LIMIT_S = 3.0
_server: ContextVar[tuple[str, int]] = ContextVar("toxiproxy_server")


@contextlib.contextmanager
def talking_to(address: tuple[str, int]) -> Iterator[Any]:
    """The library's `APIConsumer`, talking to that server from this thread; its errors become ValueError."""
    from toxiproxy import exceptions

    api = library()
    chosen = _server.set(address)
    try:
        yield api.APIConsumer
    except (exceptions.InvalidToxic, exceptions.NotFound, exceptions.ProxyExists) as exc:
        text = exc.args[0] if exc.args else b""
        said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise ValueError(f"answered {said.strip()[:200]}") from exc
    finally:
        _server.reset(chosen)


class _PerCall:
    """A class attribute that reads the context variable, in place of the library's class-wide host and port."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, instance: object, owner: type) -> str | int:
        return _server.get()[self._index]


class _BoundedRequests:
    """Stands in for the `requests` module inside the library: every call has a deadline, 5xx raises."""

    _verbs: ClassVar[tuple[str, ...]] = ("get", "post", "delete")

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb not in self._verbs:
            raise AttributeError(verb)
        import requests

        def call(**options: Any) -> Any:
            with requests.Session() as session:
                session.trust_env = False  # control traffic never takes a proxy from the environment
                response = session.request(verb.upper(), timeout=(1.0, CALL_LIMIT_S), **options)
                if response.status_code >= 500:
                    raise OSError(f"answered {response.status_code} {response.text.strip()[:200]}")
                return response

        return call


@cache
def library() -> Any:
    """The library's `api` module, made safe once per process."""
    import requests  # noqa: F401 - what the library's calls need is imported with it
    from toxiproxy import api

    api.APIConsumer.host = _PerCall(0)
    api.APIConsumer.port = _PerCall(1)
    api.requests = _BoundedRequests()
    return api
