"""stall-stream: streams on the link stop after a while, and are not closed."""

from __future__ import annotations

from collections.abc import Mapping

from harness.faults.http_link import HttpFault, StreamParams
from harness.model.catalog import FaultKind

__all__ = ["KIND", "StallStream", "StallStreamParams"]


class StallStreamParams(StreamParams):
    """As in every fault on streams."""


class StallStream(HttpFault):
    """A `stall_stream` toxic."""

    kind = "stall-stream"
    params: StallStreamParams

    def __init__(self, params: StallStreamParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "stall_stream", {"after_chunks": self.params.after_chunks}


KIND = FaultKind(
    name="stall-stream",
    doc="a provider that freezes: streams stop in the middle and stay open",
    params=StallStreamParams,
    code="harness.faults.stall_stream:StallStream",
    example="{fault: stall-stream, after_chunks: 5, ratio: 50%, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="stop {ratio} of the answers on {target} after {after_chunks} chunks",
    clients_see="a hit answer begins well, then nothing comes and nothing is closed",
    on_revert="the toxic is removed; what was held of a stream arrives, unchanged, if the client still waits",
    witness="the share of requests whose answer was stopped",
)
