"""prometheus: literal answers of its HTTP API, and a real server that scrapes itself."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from harness.model.ports import ProbeSample
from harness.model.wiring import Wiring
from harness.probe.prometheus import KIND, PrometheusProbe
from tests.ports import free_port
from tests.probe.probe_server import answering, ok, serving

SECOND_NS = 1_000_000_000


def data(kind: str, result: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


def series(value: str) -> dict[str, object]:
    return {"metric": {"job": "db"}, "value": [1764100000.1, value]}


async def ask(body: bytes, head: bytes = b"200 OK") -> tuple[ProbeSample, bytes]:
    seen: list[bytes] = []
    async with serving(answering(ok(body, head), seen)) as port:
        params = {"prometheus": f"http://127.0.0.1:{port}/", "query": 'max(lag{job="db"})'}
        return await PrometheusProbe(params, Wiring()).sample(5 * SECOND_NS), seen[0]


@pytest.mark.parametrize(
    ("body", "value"), [(data("vector", [series("2.5")]), 2.5), (data("scalar", [1764100000.1, "3"]), 3.0)]
)
async def test_one_number(body: bytes, value: float) -> None:
    sample, request = await ask(body)
    assert (sample.ok, sample.value) == (True, value)
    assert request.startswith(b"GET /api/v1/query?query=" + quote_plus('max(lag{job="db"})').encode() + b" ")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (data("vector", []), "0 series, expected one: aggregate them"),
        (data("vector", [series("1"), series("2")]), "2 series, expected one"),
        (data("matrix", []), "a matrix, expected one number"),
        (data("vector", [series("NaN")]), "the value is nan"),
        (b'{"status": "error", "errorType": "bad_data", "error": "parse error"}', "bad_data: parse error"),
        (b"<html>", "expected a query's answer, got '<html>'"),
        (b'{"status": "success"}', "expected a query's answer"),
    ],
)
async def test_anything_else_is_no_sample(body: bytes, why: str) -> None:
    sample, _ = await ask(body, b"400 Bad Request" if b"error" in body else b"200 OK")
    assert (sample.ok, sample.value) == (False, None)
    assert why in (sample.error or "")


@pytest.mark.live
@pytest.mark.slow
async def test_a_real_server_answers(tmp_path: Path) -> None:
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus on PATH: install Debian's package prometheus")
    port = free_port()
    config = tmp_path / "prometheus.yml"
    job = f"[{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]"
    config.write_text(f"global: {{scrape_interval: 200ms}}\nscrape_configs: {job}\n")
    server = await asyncio.create_subprocess_exec(
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        probe = KIND.load()({"prometheus": f"http://127.0.0.1:{port}", "query": "sum(up)"}, Wiring())
        async with asyncio.timeout(60):
            while not (sample := await probe.sample(SECOND_NS)).ok:
                await asyncio.sleep(0.1)
        assert sample.value == 1.0
        wrong = await KIND.load()({"prometheus": f"http://127.0.0.1:{port}", "query": "sum("}, Wiring()).sample(
            SECOND_NS
        )
        assert "bad_data" in (wrong.error or "")
    finally:
        server.terminate()
        await server.wait()
