"""Addresses that no stack file can tell: those of instances whose hosts know where they serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.errors import HarnessBug
from harness.model.catalog import Catalog
from harness.model.ports import Host, Located
from harness.model.stack import Instance, Stack
from harness.model.wiring import Wiring

__all__ = ["located_hosts", "with_places"]


def located_hosts(stack: Stack, catalog: Catalog, make: Callable[[Instance], Host]) -> dict[str, Host]:
    """The hosts that know where their instances serve, by instance. They are made before links are, which lead there."""
    return {
        name: make(instance) for name, instance in stack.instances.items() if catalog.host(instance.host.kind).located
    }


async def with_places(stack: Stack, wiring: Wiring, hosts: Mapping[str, Host]) -> Wiring:
    """The wiring with what these hosts say. Raises UnsafeError when one of them finds nothing, or cannot tell."""
    addresses, ports = dict(wiring.addresses), dict(wiring.ports)
    for name, host in hosts.items():
        if not isinstance(host, Located):
            raise HarnessBug(
                f"host kind {stack.instances[name].host.kind!r} is registered as located, but cannot locate"
            )
        addresses[name], ports[name] = await host.locate(stack.instances[name])
    return replace(wiring, addresses=addresses, ports=ports)
