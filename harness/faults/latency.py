"""latency: every chunk on a link arrives later, connects do not."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator

from harness.faults.link import STREAMS, Direction, ToxicFault, at_least_a_millisecond
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params

__all__ = ["KIND", "Latency", "LatencyParams"]


class LatencyParams(Params):
    """`delay` one way, evenly `jitter` more or less; `direction`: both ways, to the server (out) or back (in)."""

    delay: Duration
    jitter: Duration = Field(default=0)
    direction: Direction = "both"

    _in_its_unit = field_validator("delay")(at_least_a_millisecond)


class Latency(ToxicFault):
    """Adds `latency` toxics; `apply` cut half-way leaves at most one direction slow, which `revert` removes."""

    kind = "latency"

    def __init__(self, params: LatencyParams) -> None:
        self.params = params

    def streams(self) -> tuple[str, ...]:
        return STREAMS[self.params.direction]

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "latency", {"latency": self.params.delay // 1_000_000, "jitter": self.params.jitter // 1_000_000}


KIND = FaultKind(
    name="latency",
    doc="a slow link: every chunk is held for a while, one way or both",
    params=LatencyParams,
    code="harness.faults.latency:Latency",
    example="{fault: latency, delay: 100ms, on: {link: eu-db}}",
    targets=frozenset({"link"}),
    what="delay every chunk on {target}",
    clients_see="connects succeed at once, every answer is late; nothing fails unless a timeout is shorter",
    on_revert="the toxics are removed; open connections go on, what was held arrives at once",
    witness="connections that the toxic held (embedded), read back (Toxiproxy)",
)
