"""Links: the fault proxy, ours or Shopify's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from harness.model.fields import JsonObject

__all__ = ["LinkControl", "LinkCounters", "LinkState", "Toxic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """A toxic as Toxiproxy names it. `stream` is upstream (client to server) or downstream."""

    name: str
    type: str
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """A proxy as its server reports it now."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[Toxic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCounters:
    """Traffic through a link so far, our witnesses' own apart. None where the server cannot tell."""

    bytes_up: int
    bytes_down: int
    connections_open: int
    connections_total: int


class LinkControl(Protocol):
    """The fault proxy, ours or Shopify's. Every change is read back; foreign toxics raise UnsafeError and stay."""

    @property
    def url(self) -> str:
        """The control API's base URL."""
        ...

    @property
    def embedded(self) -> bool:
        """Whether it is our own server, with its additions (`partition` toxic, live counters)."""
        ...

    async def get(self, link: str) -> LinkState:
        """The link as it is now. Raises InjectError when the server has no such proxy or does not answer in time."""
        ...

    async def add(self, link: str, toxic: Toxic) -> None:
        """Add a toxic; a toxic of the same name is updated."""
        ...

    async def remove(self, link: str, toxic: str) -> None:
        """Remove one of our toxics. Legal when it is not there."""
        ...

    async def set_enabled(self, link: str, enabled: bool) -> None:
        """Open or close the link. Closing ends its connections."""
        ...

    async def counters(self, link: str) -> LinkCounters | None:
        """Traffic so far, or None where the server does not count live."""
        ...

    async def gone(self) -> bool:
        """Whether the server was a process of ours that is no more: then nothing that was put on it stands."""
        ...

    async def recreate(self, link: str) -> None:
        """Delete the proxy and make it again, with those of our toxics that should still stand. All its connections end.

        Raises UnsafeError when it is not ours to delete, or carries foreign toxics.
        """
        ...

    async def restart(self) -> None:
        """Kill the server and start it again, with all that should still stand; for the reaper, killing is all.

        Raises UnsafeError when this run did not start it.
        """
        ...

    def recipe(self) -> JsonObject:
        """What another process needs to build a control for the same server."""
        ...


# ---- faults ----------------------------------------------------------------------------------------------------------
