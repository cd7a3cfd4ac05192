"""http-error: the link answers a share of requests with an error, as a provider in trouble does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from harness.faults.http_link import HttpFault, HttpParams
from harness.model.catalog import FaultKind
from harness.model.fields import Duration

__all__ = ["KIND", "HttpError", "HttpErrorParams"]


class HttpErrorParams(HttpParams):
    """`status` 400 to 599; `retry_after` goes into the header of that name, absent when 0; `ratio` of the requests.

    `retry_after_as`: in seconds, or as a date, which has whole seconds.
    """

    status: int = Field(default=503, ge=400, le=599)
    retry_after: Duration = Field(default=0)
    retry_after_as: Literal["seconds", "date"] = "seconds"

    @model_validator(mode="after")
    def _a_date_of_something(self) -> HttpErrorParams:
        if self.retry_after_as == "date" and not self.retry_after:
            raise ValueError("retry_after_as: expected retry_after beside it, such as '2s'")
        return self


class HttpError(HttpFault):
    """An `http_error` toxic. A hit request is not passed on."""

    kind = "http-error"
    params: HttpErrorParams

    def __init__(self, params: HttpErrorParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "http_error", {
            "status": self.params.status,
            "retry_after": self.params.retry_after // 1_000_000,
            "as_date": int(self.params.retry_after_as == "date"),
        }


KIND = FaultKind(
    name="http-error",
    doc="a sick provider: a share of requests is answered with an error, and never reaches it",
    params=HttpErrorParams,
    code="harness.faults.http_error:HttpError",
    example="{fault: http-error, status: 429, ratio: 30%, retry_after: 1s, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="answer {ratio} of the requests on {target} with {status}",
    clients_see="connections stay open; a hit request gets the status, an OpenAI-style error, and Retry-After when stated",
    on_revert="the toxic is removed; connections go on, the next request reaches the server",
    witness="the share of requests that were answered so",
)
