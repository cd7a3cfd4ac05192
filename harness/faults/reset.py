"""reset: connections of a link die with RST, those open now and those opened while it stands."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from harness.faults.link import STREAMS, ToxicFault
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params

__all__ = ["KIND", "Reset", "ResetParams"]


class ResetParams(Params):
    """`after`: how long a connection lives once the fault met it; 0: reset at its first byte."""

    after: Duration = Field(default=0)


class Reset(ToxicFault):
    """A `reset_peer` toxic towards the client. `apply` is one call."""

    kind = "reset"

    def __init__(self, params: ResetParams) -> None:
        self.params = params

    def streams(self) -> tuple[str, ...]:
        return STREAMS["in"]

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "reset_peer", {"timeout": self.params.after // 1_000_000}


KIND = FaultKind(
    name="reset",
    doc="connections die with RST, open ones and new ones",
    params=ResetParams,
    code="harness.faults.reset:Reset",
    example="{fault: reset, after: 50ms, on: {link: eu-db}, for: 5s}",
    targets=frozenset({"link"}),
    what="reset the connections of {target}",
    clients_see="open connections get RST, new ones connect and get RST once the server answers",
    on_revert="the toxic is removed; clients must connect anew",
    witness="connections that were reset (embedded), read back (Toxiproxy)",
)
