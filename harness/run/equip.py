"""What an instance must be started with so that a planned fault can be applied while it runs."""

from __future__ import annotations

from dataclasses import replace

from harness.model.catalog import Catalog
from harness.model.plan import Plan
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring

__all__ = ["equipped"]


def equipped(instance: Instance, plan: Plan, catalog: Catalog, wiring: Wiring) -> Instance:
    """The instance, with the environment of every fault that may fall on it added; its own entries win."""
    added: dict[str, str] = {}
    for fault in plan.faults:
        environment = catalog.fault(fault.kind).environment
        if environment is None:
            continue
        if any(instance.name in (target.name, *target.candidates) for target in fault.targets):
            added |= environment(wiring.dirs[instance.name])
    if not added:
        return instance
    params = instance.host.params
    given = params.get("env") or {}
    return replace(instance, host=HostSpec(kind=instance.host.kind, params=params | {"env": added | given}))
