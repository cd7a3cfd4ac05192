"""limit-data: each connection of a link is closed after so many bytes: answers that break off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harness.faults.link import STREAMS, ToxicFault
from harness.model.catalog import FaultKind
from harness.model.fields import Params, Size

__all__ = ["KIND", "LimitData", "LimitDataParams"]


class LimitDataParams(Params):
    """`bytes` that a connection may carry from when the fault meets it; `direction`: from the server (in) or to it (out)."""

    bytes: Size
    direction: Literal["in", "out"] = "in"


class LimitData(ToxicFault):
    """Adds a `limit_data` toxic. `apply` is one call."""

    kind = "limit-data"

    def __init__(self, params: LimitDataParams) -> None:
        self.params = params

    def streams(self) -> tuple[str, ...]:
        return STREAMS[self.params.direction]

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "limit_data", {"bytes": self.params.bytes}


KIND = FaultKind(
    name="limit-data",
    doc="connections that break off after so many bytes",
    params=LimitDataParams,
    code="harness.faults.limit_data:LimitData",
    example="{fault: limit-data, bytes: 4KB, on: {link: eu-db}, for: 10s}",
    targets=frozenset({"link"}),
    what="close each connection of {target} after {bytes}",
    clients_see="connects succeed, the first bytes are right, then the connection is closed in the middle of an answer",
    on_revert="the toxic is removed; clients must connect anew where they were cut off",
    witness="connections that were cut off (embedded), read back (Toxiproxy)",
)
