"""in-band-error: streams on the link end with an error event, long after status 200 was sent."""

from __future__ import annotations

from collections.abc import Mapping

from harness.faults.http_link import HttpFault, StreamParams
from harness.model.catalog import FaultKind

__all__ = ["KIND", "InBandError", "InBandErrorParams"]


class InBandErrorParams(StreamParams):
    """As in every fault on streams."""


class InBandError(HttpFault):
    """An `in_band_error` toxic."""

    kind = "in-band-error"
    params: InBandErrorParams

    def __init__(self, params: InBandErrorParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "in_band_error", {"after_chunks": self.params.after_chunks}


KIND = FaultKind(
    name="in-band-error",
    doc="a provider that fails after it said 200: the error is an event of the stream",
    params=InBandErrorParams,
    code="harness.faults.in_band_error:InBandError",
    example="{fault: in-band-error, after_chunks: 3, ratio: 20%, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="end {ratio} of the streams on {target} with an error event after {after_chunks} chunks",
    clients_see="a hit chunked answer begins well, then an `error` event and a proper end; others are left alone",
    on_revert="the toxic is removed; connections go on, the next stream is whole",
    witness="the share of requests whose stream ended so",
)
