"""garble: bytes of answers on the link are others than were sent; all else about them is right."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from harness.faults.http_link import HttpFault, HttpParams
from harness.model.catalog import FaultKind

__all__ = ["KIND", "Garble", "GarbleParams"]


class GarbleParams(HttpParams):
    """`bytes` changed in each piece of the payload, at random places; `ratio` of the requests."""

    bytes: int = Field(default=1, ge=1)


class Garble(HttpFault):
    """A `garble` toxic."""

    kind = "garble"
    params: GarbleParams

    def __init__(self, params: GarbleParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "garble", {"bytes": self.params.bytes}


KIND = FaultKind(
    name="garble",
    doc="a provider that answers garbage: single bytes of the payload are wrong",
    params=GarbleParams,
    code="harness.faults.garble:Garble",
    example="{fault: garble, ratio: 10%, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="change bytes in {ratio} of the answers on {target}",
    clients_see="a hit answer has the right status, length and framing, and wrong bytes in its payload: no JSON, or another text",
    on_revert="the toxic is removed; the rest of an answer that was hit is right",
    witness="the share of requests whose answer was changed",
)
