"""slice: what crosses a link arrives in small pieces, as from a path with a tiny segment size."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from harness.faults.link import STREAMS, Direction, ToxicFault
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params, Size

__all__ = ["KIND", "Slice", "SliceParams"]


class SliceParams(Params):
    """`size` of a piece in bytes, on average, `variation` more or less; `delay` between pieces; `direction` as in latency."""

    size: Size
    variation: Size = Field(default=0)
    delay: Duration = Field(default=0)
    direction: Direction = "both"

    @model_validator(mode="after")
    def _pieces_have_bytes(self) -> SliceParams:
        # Toxiproxy recurses without end on an average of 0, and on pieces that vary down to nothing.
        if self.size < 1:
            raise ValueError(f"size: expected at least '1B', got '{self.size}B'")
        if self.variation >= self.size:
            raise ValueError(f"variation: expected less than size ('{self.size}B'), got '{self.variation}B'")
        return self


class Slice(ToxicFault):
    """Adds `slicer` toxics; `apply` cut half-way leaves at most one direction sliced, which `revert` removes."""

    kind = "slice"

    def __init__(self, params: SliceParams) -> None:
        self.params = params

    def streams(self) -> tuple[str, ...]:
        return STREAMS[self.params.direction]

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        params = self.params
        delay_us = params.delay // 1_000
        return "slicer", {"average_size": params.size, "size_variation": params.variation, "delay": delay_us}


KIND = FaultKind(
    name="slice",
    doc="a link in small pieces: what was sent at once arrives bit by bit",
    params=SliceParams,
    code="harness.faults.slice:Slice",
    example="{fault: slice, size: 100B, delay: 1ms, on: {link: eu-db}}",
    targets=frozenset({"link"}),
    what="cut what crosses {target} into pieces of {size}",
    clients_see="connects succeed, no byte is lost, every read is short and large answers take long",
    on_revert="the toxics are removed; open connections go on, what waits arrives at once",
    witness="connections whose bytes were cut up (embedded), read back (Toxiproxy)",
)
