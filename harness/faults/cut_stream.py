"""cut-stream: streams on the link break off: the connection is closed in the middle of an answer."""

from __future__ import annotations

from collections.abc import Mapping

from harness.faults.http_link import HttpFault, StreamParams
from harness.model.catalog import FaultKind

__all__ = ["KIND", "CutStream", "CutStreamParams"]


class CutStreamParams(StreamParams):
    """As in every fault on streams."""


class CutStream(HttpFault):
    """A `cut_stream` toxic."""

    kind = "cut-stream"
    params: CutStreamParams

    def __init__(self, params: CutStreamParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "cut_stream", {"after_chunks": self.params.after_chunks}


KIND = FaultKind(
    name="cut-stream",
    doc="a provider that dies in the middle of a stream",
    params=CutStreamParams,
    code="harness.faults.cut_stream:CutStream",
    example="{fault: cut-stream, after_chunks: 5, ratio: 20%, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="close the connection of {ratio} of the answers on {target} after {after_chunks} chunks",
    clients_see="a hit answer begins well, then its connection is closed without the terminator",
    on_revert="the toxic is removed; clients must connect anew where they were cut off",
    witness="the share of requests that were cut off",
)
