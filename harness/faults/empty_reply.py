"""empty-reply: the link answers a share of requests with 200 and nothing."""

from __future__ import annotations

from collections.abc import Mapping

from harness.faults.http_link import HttpFault, HttpParams
from harness.model.catalog import FaultKind

__all__ = ["KIND", "EmptyReply", "EmptyReplyParams"]


class EmptyReplyParams(HttpParams):
    """`ratio` of the requests."""


class EmptyReply(HttpFault):
    """An `empty_reply` toxic. A hit request is not passed on."""

    kind = "empty-reply"
    params: EmptyReplyParams

    def __init__(self, params: EmptyReplyParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "empty_reply", {}


KIND = FaultKind(
    name="empty-reply",
    doc="a provider that says 200 and nothing else",
    params=EmptyReplyParams,
    code="harness.faults.empty_reply:EmptyReply",
    example="{fault: empty-reply, ratio: 20%, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="answer {ratio} of the requests on {target} with 200 and no body",
    clients_see="a hit request gets 200 and an empty body, and never reaches the server",
    on_revert="the toxic is removed; the next request reaches the server",
    witness="the share of requests that were answered so",
)
