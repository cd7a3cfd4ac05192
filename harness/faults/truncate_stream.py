"""truncate-stream: streams on the link end too early, and as if that were all."""

from __future__ import annotations

from collections.abc import Mapping

from harness.faults.http_link import HttpFault, StreamParams
from harness.model.catalog import FaultKind

__all__ = ["KIND", "TruncateStream", "TruncateStreamParams"]


class TruncateStreamParams(StreamParams):
    """As in every fault on streams."""


class TruncateStream(HttpFault):
    """A `truncate_stream` toxic."""

    kind = "truncate-stream"
    params: TruncateStreamParams

    def __init__(self, params: TruncateStreamParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "truncate_stream", {"after_chunks": self.params.after_chunks}


KIND = FaultKind(
    name="truncate-stream",
    doc="a provider that stops early and calls it done",
    params=TruncateStreamParams,
    code="harness.faults.truncate_stream:TruncateStream",
    example="{fault: truncate-stream, after_chunks: 5, ratio: 20%, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="end {ratio} of the answers on {target} after {after_chunks} chunks",
    clients_see="a hit chunked answer is short and ends properly; one of a stated length is cut off",
    on_revert="the toxic is removed; connections go on, the next answer is whole",
    witness="the share of requests whose answer was cut short",
)
