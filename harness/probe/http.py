"""Probe `http`: a GET, its status, and a number in its answer."""

from __future__ import annotations

import asyncio

from pydantic import Field, field_validator

from harness.model.catalog import ProbeKind
from harness.model.fields import Duration, JsonObject, Params
from harness.model.ports import ProbeSample
from harness.model.wiring import Wiring
from harness.probe.http_get import HttpError, get
from harness.probe.text import ANSWER_LIMIT, JSON_PATH, clean, from_json

__all__ = ["KIND", "HttpParams", "HttpProbe"]


class HttpParams(Params):
    """The URL (`http`); `expect`, a status or several (default: any 2xx); `json`, the path of the value in the answer
    (without it the value is 1); `timeout`, when shorter than the asker's.
    """

    http: str
    expect: tuple[int, ...] = ()
    json_path: str | None = Field(default=None, alias="json", pattern=JSON_PATH)
    timeout: Duration | None = None

    @field_validator("expect", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, int) else value


class HttpProbe:
    """Every sample is one GET on a new connection. A status that is not expected is a failed sample, and says so."""

    def __init__(
        self, params: HttpParams | JsonObject, wiring: Wiring, base_dir: str = ".", instance: str | None = None
    ) -> None:
        self._params = HttpParams.model_validate(params)
        self._url = wiring.text(self._params.http, instance=instance)

    async def sample(self, timeout_ns: int) -> ProbeSample:
        params = self._params
        limit_ns = min(timeout_ns, params.timeout or timeout_ns)
        try:
            answer = await get(self._url, limit_ns / 1e9)
        except HttpError as exc:
            return ProbeSample(ok=False, error=f"{self._url}: {exc}")
        wanted = answer.status in params.expect if params.expect else 200 <= answer.status < 300
        if not wanted:
            expected = " or ".join(map(str, params.expect)) or "2xx"
            said = clean(answer.body[:200].decode(errors="replace"))
            return ProbeSample(ok=False, error=f"{self._url}: status {answer.status}, expected {expected}: {said}")
        if params.json_path is None:
            return ProbeSample(ok=True, value=1.0, text=clean(answer.body.decode(errors="replace")))
        if answer.cut:
            return ProbeSample(ok=False, error=f"{self._url}: the answer is longer than {ANSWER_LIMIT} bytes")
        # A large document takes milliseconds to parse: off the loop that paces everything else.
        return await asyncio.to_thread(from_json, answer.body, params.json_path)


KIND = ProbeKind(
    name="http",
    doc="a GET: its status, and with `json:` a value in its answer",
    params=HttpParams,
    code="harness.probe.http:HttpProbe",
    example='{http: "http://${addr:edge.http}/readyz", expect: 200}',
)
