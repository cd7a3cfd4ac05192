"""All that injectors may touch, for a live run and, rebuilt from its journal, after its death."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from harness.errors import HarnessBug, HarnessError, InjectError
from harness.model.catalog import Catalog
from harness.model.ports import Clock, Host, LinkControl, LoadControl
from harness.model.wiring import Wiring
from harness.proxy.client import revive_links
from harness.run.clock import MonotonicClock
from harness.run.journal import Opened

__all__ = ["RunWorld", "revive_world"]


class RunWorld:
    """A `ports.World` over given parts."""

    def __init__(
        self, run_id: str, clock: Clock, wiring: Wiring, hosts: Mapping[str, Host], links: LinkControl | None
    ) -> None:
        self.run_id = run_id
        self.clock = clock
        self.wiring = wiring
        self.hosts = hosts
        self._links = links
        self.offered: LoadControl | None = None

    def host(self, instance: str) -> Host:
        try:
            return self.hosts[instance]
        except KeyError as exc:
            raise HarnessBug(f"no host for instance {instance!r}") from exc

    @property
    def links(self) -> LinkControl:
        if self._links is None:
            raise InjectError("the stack has no fault proxy")
        return self._links

    @property
    def load(self) -> LoadControl:
        if self.offered is None:
            raise InjectError("no load is offered")
        return self.offered


def revive_world(opened: Opened, catalog: Catalog) -> RunWorld:
    """The world of a run that is gone. Touches nothing; parts that are gone too show when they are used.

    A host that cannot be revived (its kind is not installed here) is left out: the others' faults can still be undone.
    """
    hosts = {}
    for name, made in opened.hosts.items():
        with contextlib.suppress(HarnessError, KeyError, ValueError):
            hosts[name] = catalog.host(made["kind"]).load().revive(made["recipe"])
    links = revive_links(opened.links) if opened.links is not None else None
    return RunWorld(opened.run_id, MonotonicClock(opened.origin_ns), opened.wiring, hosts, links)
