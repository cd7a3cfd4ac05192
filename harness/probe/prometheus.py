"""Probe `prometheus`: the value of an instant query, as the server evaluates it now."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import urlencode

from harness.model.catalog import ProbeKind
from harness.model.fields import Duration, JsonObject, Params
from harness.model.ports import ProbeSample
from harness.model.wiring import Wiring
from harness.probe.http_get import HttpError, get
from harness.probe.text import ANSWER_LIMIT, clean

__all__ = ["KIND", "PrometheusParams", "PrometheusProbe"]


class PrometheusParams(Params):
    """The server's URL (`prometheus`), an instant `query` that gives one number, and `timeout`, when shorter than the asker's."""

    prometheus: str
    query: str
    timeout: Duration | None = None


class PrometheusProbe:
    """Every sample is one query. Several series, or none, are a failed sample: `max()` or `sum()` makes them one."""

    def __init__(
        self, params: PrometheusParams | JsonObject, wiring: Wiring, base_dir: str = ".", instance: str | None = None
    ) -> None:
        self._params = PrometheusParams.model_validate(params)
        server = wiring.text(self._params.prometheus, instance=instance).rstrip("/")
        query = wiring.text(self._params.query, instance=instance)
        self._url = f"{server}/api/v1/query?{urlencode({'query': query})}"
        self._name = f"{server}: {query}"

    async def sample(self, timeout_ns: int) -> ProbeSample:
        limit_ns = min(timeout_ns, self._params.timeout or timeout_ns)
        try:
            answer = await get(self._url, limit_ns / 1e9)
        except HttpError as exc:
            return self._failed(str(exc))
        if answer.cut:
            return self._failed(f"the answer is longer than {ANSWER_LIMIT} bytes")
        try:
            return self._value(json.loads(answer.body))
        except (ValueError, KeyError, TypeError, IndexError):
            shown = clean(answer.body[:120].decode(errors="replace"))
            return self._failed(f"status {answer.status}, expected a query's answer, got {shown!r}")

    def _value(self, answer: Any) -> ProbeSample:
        if answer["status"] != "success":
            return self._failed(f"{answer.get('errorType', 'error')}: {clean(str(answer.get('error', '')))}")
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "vector" and len(result) != 1:
            return self._failed(f"{len(result)} series, expected one: aggregate them, with max() or sum()")
        if kind not in ("vector", "scalar"):
            return self._failed(f"a {kind}, expected one number")
        value = float(result[0]["value"][1] if kind == "vector" else result[1])
        if not math.isfinite(value):
            return self._failed(f"the value is {value}")
        return ProbeSample(ok=True, value=value, text=f"{value:g}")

    def _failed(self, why: str) -> ProbeSample:
        return ProbeSample(ok=False, error=f"{self._name}: {why}")


KIND = ProbeKind(
    name="prometheus",
    doc="the one number of an instant query",
    params=PrometheusParams,
    code="harness.probe.prometheus:PrometheusProbe",
    example='{prometheus: "http://127.0.0.1:9090", query: max(repl_lag), every: 1s}',
)
