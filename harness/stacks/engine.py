"""Calls to a container engine: off the event loop, each under a deadline, errors in our own words. Not here: what they mean."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from harness.errors import InjectError
from harness.model.fields import JsonObject

__all__ = ["CALL_LIMIT_S", "CHANGE_LIMIT_S", "DEFAULT_ENGINE", "ContainerEngine", "EngineError", "engine_recipe"]

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
CALL_LIMIT_S = 5.0
"""For a call that only reads; below the limits of a revert, so that a hanging engine is named and not cut off."""
CHANGE_LIMIT_S = 8.0
_ANY_VERSION = "1.41"

T = TypeVar("T")


class EngineError(InjectError):
    """The engine refused, or did not answer in time. `status` is its HTTP status; None when there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


def engine_recipe(url: str | None) -> JsonObject:
    """Which engine is meant, as the environment says (DOCKER_HOST and the rest), for this process and for others."""
    secured = os.environ.get("DOCKER_TLS_VERIFY") not in (None, "", "0")
    return {
        "url": url or os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE,
        "certificates": os.environ.get("DOCKER_CERT_PATH", os.path.expanduser("~/.docker")) if secured else None,
    }


class ContainerEngine:
    """One engine. Every call runs in a thread of its own that nobody waits for longer than the call's deadline."""

    def __init__(self, recipe: JsonObject) -> None:
        self.url = str(recipe["url"])
        self._certificates = recipe["certificates"]
        self._idle: list[Any] = []
        self._version: str | None = None

    async def call(self, what: str, do: Callable[[Any], T], *, change: bool = False, more_s: float = 0) -> T:
        """The result of `do(client)`, the SDK's low-level client. Raises EngineError, saying `what` was wanted.

        `change`: it does more than read, and may take longer; `more_s`: by so much longer still, as a grace period.
        """
        limit_s = (CHANGE_LIMIT_S if change else CALL_LIMIT_S) + more_s
        idle = self._idle.pop() if self._idle else None

        def work() -> tuple[Any, T]:
            self._knock(limit_s)
            client = idle or self._connect(limit_s)
            client.timeout = limit_s
            try:
                return client, do(client)
            except BaseException:
                client.close()
                raise

        try:
            async with asyncio.timeout(limit_s + 0.5):  # the SDK's own limit is per read and has fired before
                used, result = await _in_thread(lambda: _translated(work))
        except TimeoutError as exc:
            raise EngineError(f"engine {self.url}: {what}: no answer in {limit_s:g} s") from exc
        except EngineError as exc:
            raise EngineError(f"engine {self.url}: {what}: {exc}", exc.status) from exc.__cause__
        self._idle.append(used)
        return result

    def _knock(self, limit_s: float) -> None:
        """Raise OSError when nobody listens at the engine's socket: the SDK would leave its own half-made one open."""
        if self.url.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(limit_s)
                one.connect(self.url.removeprefix("unix://"))

    def _connect(self, limit_s: float) -> Any:
        """A client that speaks the engine's own version. Asking for it makes a first one, of which nothing is kept."""
        import docker  # here and not above: most commands have no container in sight

        tls: Any = False
        if self._certificates is not None:
            tls = docker.tls.TLSConfig(
                client_cert=tuple(os.path.join(self._certificates, name) for name in ("cert.pem", "key.pem")),
                ca_cert=os.path.join(self._certificates, "ca.pem"),
                verify=True,
            )

        def client(version: str) -> Any:
            return docker.APIClient(base_url=self.url, version=version, timeout=limit_s, tls=tls)

        if self._version is None:
            first = client(_ANY_VERSION)
            try:
                self._version = str(first.version(api_version=False)["ApiVersion"])
            finally:
                first.close()
        return client(self._version)

    async def inspect(self, container: str) -> JsonObject | None:
        """The engine's account of a container, by id or name; None when it has none such."""
        try:
            return await self.call(f"inspect {container}", lambda client: client.inspect_container(container))
        except EngineError as exc:
            if exc.status == 404:
                return None
            raise

    async def close(self) -> None:
        """Let go of idle connections."""
        while self._idle:
            self._idle.pop().close()


def _translated(work: Callable[[], T]) -> T:
    import docker
    import requests

    try:
        return work()
    except docker.errors.APIError as exc:
        raise EngineError(str(exc.explanation or exc).strip(), exc.status_code) from exc
    except requests.exceptions.Timeout as exc:
        raise EngineError("no answer in time") from exc
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as exc:
        raise EngineError(_innermost(exc)) from exc


def _innermost(exc: BaseException) -> str:
    """What was wrong at the bottom of a chain of wrapped errors: "no such file or directory", "connection refused"."""
    seen: BaseException | None = exc
    while seen is not None:
        if isinstance(seen, TimeoutError):
            return "no answer in time"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror.lower()
        seen = seen.__cause__ or seen.__context__
    return str(exc)


async def _in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, run in a daemon thread: one that hangs holds up neither the loop nor the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, failure: BaseException | None) -> None:
        if future.done():
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as exc:
            failure = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=body, name="container-engine", daemon=True).start()
    return await future
