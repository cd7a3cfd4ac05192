"""Host `external`: an endpoint that someone else runs. Nothing to start, nothing to break except on the way to it."""

from __future__ import annotations

from typing import NoReturn, Self
from urllib.parse import urlsplit

from pydantic import field_validator

from harness.errors import UnsafeError
from harness.model.catalog import HostKind
from harness.model.fields import JsonObject, Params
from harness.model.ports import HostFactory, HostSettings, Identity
from harness.model.stack import Instance
from harness.model.wiring import Wiring

__all__ = ["FACTORY", "KIND", "ExternalHost", "ExternalParams", "endpoint"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class ExternalParams(Params):
    """Where it is (`external`): a URL such as https://llm.internal:8443, or any scheme with a port."""

    external: str

    @field_validator("external")
    @classmethod
    def _has_a_host(cls, value: str) -> str:
        if "${" not in value:
            endpoint(value)
        return value

    @property
    def can_start(self) -> bool:
        """Whether a dead one can be brought back."""
        return False


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of a URL. Raises ValueError when it does not give both."""
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    if not parts.hostname or port is None:
        raise ValueError(f"expected a URL with a host and a port such as 'https://llm.internal:8443', got {url!r}")
    return parts.hostname, port


class ExternalHost:
    """Refuses everything but being there: who runs it is not ours to know, so `find` gives an identity without facts."""

    def __init__(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> None:
        self._name = instance.name

    @classmethod
    def revive(cls, recipe: JsonObject) -> Self:
        host = cls.__new__(cls)
        host._name = recipe["instance"]
        return host

    @property
    def instance(self) -> str:
        return self._name

    async def find(self) -> Identity | None:
        return Identity()

    async def start(self) -> Identity:
        return Identity()

    async def stop(self, grace_ns: int) -> bool:
        self._refuse("stopped")

    async def kill(self, identity: Identity) -> None:
        self._refuse("killed")

    async def freeze(self, identity: Identity) -> None:
        self._refuse("paused")

    async def thaw(self, identity: Identity) -> None:
        """Nothing: it cannot have been frozen."""

    async def frozen(self, identity: Identity) -> bool:
        return False

    def recipe(self) -> JsonObject:
        return {"kind": "external", "instance": self._name}

    async def close(self) -> None:
        """Nothing to let go of."""

    def _refuse(self, what: str) -> NoReturn:
        raise UnsafeError(
            f"instance {self._name} is external and cannot be {what}", remedy="put a link in front of it and break that"
        )


FACTORY: HostFactory = ExternalHost

KIND = HostKind(
    name="external",
    doc="an endpoint that someone else runs; faulted only through a link",
    params=ExternalParams,
    code="harness.stacks.external:ExternalHost",
    example='{external: "https://llm.internal:8443"}',
    started_by_run=False,
)
