"""bandwidth: a link carries so many bytes a second and no more."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import field_validator

from harness.faults.link import ToxicFault
from harness.model.catalog import FaultKind
from harness.model.fields import Params, Size

__all__ = ["KIND", "Bandwidth", "BandwidthParams"]


class BandwidthParams(Params):
    """`rate` in bytes per second, each way; the fault proxy counts in KB of 1000 bytes, so at least "1KB/s"."""

    rate: Size

    @field_validator("rate")
    @classmethod
    def _at_least_a_kilobyte(cls, rate: int) -> int:
        if rate < 1000:
            raise ValueError(f"expected at least '1KB/s', the fault proxy's unit, got '{rate}B/s'")
        return rate


class Bandwidth(ToxicFault):
    """Adds `bandwidth` toxics; `apply` cut half-way leaves at most one direction narrow, which `revert` removes."""

    kind = "bandwidth"

    def __init__(self, params: BandwidthParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "bandwidth", {"rate": round(self.params.rate / 1000)}


KIND = FaultKind(
    name="bandwidth",
    doc="a narrow link: at most so many bytes a second each way",
    params=BandwidthParams,
    code="harness.faults.bandwidth:Bandwidth",
    example="{fault: bandwidth, rate: 64KB/s, on: {link: eu-db}}",
    targets=frozenset({"link"}),
    what="let {target} carry {rate} and no more",
    clients_see="connects succeed, small answers are whole, large ones trickle",
    on_revert="the toxics are removed; open connections go on at full speed",
    witness="connections that the toxic slowed (embedded), read back (Toxiproxy)",
)
