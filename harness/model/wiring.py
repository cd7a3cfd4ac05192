"""Where everything is once ports are allocated, and the last step of interpolation: `${addr:gateway-eu.http}` -> text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import HarnessBug
from harness.model.fields import JsonObject

__all__ = ["RUNTIME_NAMES", "RegionNetworks", "Wiring", "placeholders"]

RUNTIME_NAMES = ("port", "addr", "link", "dir", "run")
"""Interpolations that only a run can resolve; `spec` leaves them in the text and checks their arguments."""

_PLACEHOLDER = re.compile(r"\$(?:(\$)|\{([a-z]+)(?::([^}]*))?\})")


def placeholders(text: str) -> tuple[tuple[str, str | None], ...]:
    """The (name, argument) pairs of every `${name:argument}` in the text, in order; `$$` is none."""
    return tuple((match[2], match[3]) for match in _PLACEHOLDER.finditer(text) if match[1] is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionNetworks:
    """Network namespaces of one run: `regions` is region -> its address, `instances` instance -> the region it lives in.

    `mark` is what the names of all begin with; `interface` is this machine's own end, with the address `gateway`.
    """

    mark: str
    interface: str
    gateway: str
    length: int = 24
    regions: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, str] = field(default_factory=dict)

    def namespace(self, region: str) -> str:
        """The name of a region's namespace."""
        return f"{self.mark}-{region}"

    @property
    def switch(self) -> str:
        """The namespace in which their bridge lies: no region's name has a dot."""
        return f"{self.mark}.switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Addresses of one run. `ports` is instance -> port name -> number; `links` is link -> "host:port" where it listens.

    `alerts` is the URL that takes alerts during runs, empty when the stack has none to send. `networks`: of isolated regions.
    """

    addresses: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    dirs: Mapping[str, str] = field(default_factory=dict)
    run_dir: str = ""
    alerts: str = ""
    networks: RegionNetworks | None = None

    def address(self, instance: str, port: str) -> str:
        """ "host:port" of a named port. Raises HarnessBug for a name that validation should have refused."""
        try:
            return f"{self.addresses[instance]}:{self.ports[instance][port]}"
        except KeyError as exc:
            raise HarnessBug(f"no address for {instance}.{port}") from exc

    def namespace(self, instance: str) -> str | None:
        """The network namespace that the run makes for an instance; None for one that lives in another."""
        region = None if self.networks is None else self.networks.instances.get(instance)
        return None if region is None or self.networks is None else self.networks.namespace(region)

    def text(self, template: str, *, instance: str | None = None) -> str:
        """The template with every placeholder resolved, seen from `instance` (for `${port:}` and `${dir}`)."""

        def resolve(match: re.Match[str]) -> str:
            if match[1]:
                return "$"
            return self._lookup(match[2], match[3], instance)

        return _PLACEHOLDER.sub(resolve, template)

    def filled(self, options: JsonObject) -> JsonObject:
        """Options with every placeholder in every text of theirs resolved; keys are left as they are."""
        return {key: self._filled(value) for key, value in options.items()}

    def _filled(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {key: self._filled(item) for key, item in value.items()}
            case list() | tuple():
                return [self._filled(item) for item in value]
        return value

    def _lookup(self, name: str, argument: str | None, instance: str | None) -> str:
        resolvers: Mapping[str, Callable[[str], str]] = {
            "port": lambda port: str(self.ports[str(instance)][port]),
            "addr": lambda dotted: self.address(*dotted.rsplit(".", 1)) if "." in dotted else self.addresses[dotted],
            "link": lambda link: self.links[link],
            "dir": lambda owner: self.dirs[owner or str(instance)],
            "run": lambda what: {"dir": self.run_dir, "alerts": self.alerts}[what],
        }
        try:
            return resolvers[name](argument or "")
        except KeyError as exc:
            raise HarnessBug(f"cannot resolve ${{{name}:{argument}}} for instance {instance!r}") from exc
