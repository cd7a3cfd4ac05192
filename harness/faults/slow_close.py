"""slow-close: the end of a connection crosses a link late. What was sent before it is not delayed."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import field_validator

from harness.faults.link import STREAMS, Direction, ToxicFault, at_least_a_millisecond
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params

__all__ = ["KIND", "SlowClose", "SlowCloseParams"]


class SlowCloseParams(Params):
    """`delay` of the end; `direction`: ends from the server (in, the default), from clients (out), or both."""

    delay: Duration
    direction: Direction = "in"

    _in_its_unit = field_validator("delay")(at_least_a_millisecond)


class SlowClose(ToxicFault):
    """Adds `slow_close` toxics; `apply` cut half-way leaves at most one direction slow to end, which `revert` removes."""

    kind = "slow-close"

    def __init__(self, params: SlowCloseParams) -> None:
        self.params = params

    def streams(self) -> tuple[str, ...]:
        return STREAMS[self.params.direction]

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "slow_close", {"delay": self.params.delay // 1_000_000}


KIND = FaultKind(
    name="slow-close",
    doc="ends that come late: a connection closed at one end stays open at the other for a while",
    params=SlowCloseParams,
    code="harness.faults.slow_close:SlowClose",
    example="{fault: slow-close, delay: 2s, on: {link: eu-db}}",
    targets=frozenset({"link"}),
    what="hold the end of each connection on {target} for {delay}",
    clients_see="answers arrive in time; who waits for the close waits longer, and pools keep dead connections",
    on_revert="the toxics are removed; ends that are held arrive at once",
    witness="connections whose end was held (embedded), read back (Toxiproxy)",
)
