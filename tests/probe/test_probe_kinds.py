"""http, tcp and exec against real servers and commands: what is a sample, what is none, and that none can hang."""

from __future__ import annotations

import asyncio
import stat
import time
from pathlib import Path

import pytest

from harness.model.wiring import Wiring
from harness.probe.exec import KIND as EXEC
from harness.probe.exec import ExecProbe
from harness.probe.http import KIND as HTTP
from harness.probe.http import HttpProbe
from harness.probe.tcp import KIND as TCP
from harness.probe.tcp import TcpProbe
from harness.probe.text import from_json, pick
from tests.probe.probe_server import answering, ok, serving

SECOND_NS = 1_000_000_000


async def get(answer: bytes, **params):
    async with serving(answering(answer)) as port:
        return await HttpProbe({"http": f"http://127.0.0.1:{port}/x", **params}, Wiring()).sample(5 * SECOND_NS)


async def test_http_asks_once_on_a_connection_of_its_own() -> None:
    seen: list[bytes] = []
    async with serving(answering(ok(b"ready\n"), seen)) as port:
        wiring = Wiring(addresses={"edge": "127.0.0.1"}, ports={"edge": {"http": port}})
        probe = HttpProbe({"http": "http://${addr:edge.http}/readyz?deep=1"}, wiring)
        samples = [await probe.sample(5 * SECOND_NS) for _ in range(2)]
    assert [(one.ok, one.value, one.text) for one in samples] == [(True, 1.0, "ready")] * 2
    assert len(seen) == 2
    assert seen[0].startswith(b"GET /readyz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)
    assert b"\r\nConnection: close\r\n" in seen[0]


async def test_http_sees_its_own_instances_port() -> None:
    async with serving(answering(ok(b""))) as port:
        wiring = Wiring(ports={"edge": {"http": port}})
        probe = HttpProbe({"http": "http://127.0.0.1:${port:http}/"}, wiring, ".", "edge")
        assert (await probe.sample(5 * SECOND_NS)).ok


@pytest.mark.parametrize(
    ("expect", "status", "fine"),
    [(None, 204, True), (None, 302, False), (302, 302, True), ([200, 503], 503, True), (200, 503, False)],
)
async def test_http_expects_a_status(expect, status, fine) -> None:
    params = {} if expect is None else {"expect": expect}
    body = b"" if status == 204 else b"why\x1b[0m"
    sample = await get(ok(body, b"%d X" % status), **params)
    assert sample.ok is fine
    if not fine:
        wanted = "2xx" if expect is None else "200"
        assert f"status {status}, expected {wanted}: why [0m" in sample.error


@pytest.mark.parametrize(
    ("body", "path", "value", "text"),
    [
        (b'{"a": {"b": [3, 4.5]}}', ".a.b[1]", 4.5, "4.5"),
        (b'{"up": true}', ".up", 1.0, "true"),
        (b'{"up": false}', ".up", 0.0, "false"),
        (b'{"leader": "gateway-eu"}', ".leader", None, "gateway-eu"),
        (b"[[7]]", "[0][0]", 7.0, "7"),
        (b'{"epoch-now": 0}', ".epoch-now", 0.0, "0"),
    ],
)
async def test_json_values(body, path, value, text) -> None:
    sample = await get(ok(body), json=path)
    assert (sample.ok, sample.value, sample.text, sample.error) == (True, value, text, None)


@pytest.mark.parametrize(
    ("body", "path", "error"),
    [
        (b'{"a": 1}', ".b", "the answer has no '.b'"),
        (b'{"a": [1]}', ".a[1]", "the answer has no '[1]'"),
        (b'{"a": null}', ".a", "expected a number, a boolean or a text, got null"),
        (b'{"a": {}}', ".a", "expected a number, a boolean or a text, got {}"),
        (b'{"a": NaN}', ".a", "expected a number, a boolean or a text, got NaN"),
        (b"<html>", ".a", "expected JSON, got '<html>'"),
    ],
)
def test_json_without_a_value_is_no_sample(body, path, error) -> None:
    sample = from_json(body, path)
    assert not sample.ok
    assert sample.value is None
    assert error in sample.error


def test_pick_walks_the_path() -> None:
    assert pick({"a": [{"b": 5}]}, ".a[0].b") == 5


async def test_http_reads_chunks_and_answers_without_a_length() -> None:
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n3;x=y\r\n 9}\r\n0\r\n\r\n'
    assert (await get(chunked, json=".a")).value == 9
    assert (await get(b'HTTP/1.0 200 OK\r\n\r\n{"a": 8}', json=".a")).value == 8
    assert (await get(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b'{"a": 7}'), json=".a")).value == 7


async def test_http_reads_a_bounded_answer() -> None:
    large = b'{"a": "' + b"x" * 200_000 + b'"}'
    assert "longer than 65536 bytes" in (await get(ok(large), json=".a")).error
    sample = await get(ok(large))
    assert sample.ok
    assert len(sample.text) == 1000


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
async def test_a_broken_answer_is_no_sample(answer) -> None:
    sample = await get(answer)
    assert not sample.ok
    assert "broken answer" in sample.error


async def test_http_is_bounded_in_time_and_says_what_went_wrong() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port:
        sample = await HttpProbe({"http": f"http://127.0.0.1:{port}/"}, Wiring()).sample(50_000_000)
        assert sample.error == f"http://127.0.0.1:{port}/: no answer in 0.05 s"
        short = HttpProbe({"http": f"http://127.0.0.1:{port}/", "timeout": "20ms"}, Wiring())
        assert (await short.sample(60 * SECOND_NS)).error.endswith("no answer in 0.02 s")
    refused = await HttpProbe({"http": f"http://127.0.0.1:{port}/"}, Wiring()).sample(SECOND_NS)
    assert not refused.ok
    assert "refused" in refused.error.lower() or "connect" in refused.error.lower()
    assert "not an http URL" in (await HttpProbe({"http": "ftp://x/"}, Wiring()).sample(SECOND_NS)).error


async def test_tcp_connects() -> None:
    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")

    async with serving(banner) as port:
        wiring = Wiring(addresses={"db": "127.0.0.1"}, ports={"db": {"pg": port}})
        sample = await TcpProbe({"tcp": "${addr:db.pg}"}, wiring).sample(5 * SECOND_NS)
    assert (sample.ok, sample.value) == (True, 1.0)
    refused = await TcpProbe({"tcp": f"127.0.0.1:{port}"}, Wiring()).sample(5 * SECOND_NS)
    assert not refused.ok
    assert f"127.0.0.1:{port}: " in refused.error


def script(folder: Path, text: str) -> str:
    path = folder / "ask"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return "./ask"


async def run(folder: Path, text: str, timeout_ns: int = 20 * SECOND_NS, **params):
    return await ExecProbe({"exec": [script(folder, text)], **params}, Wiring(), str(folder)).sample(timeout_ns)


@pytest.mark.parametrize(
    ("text", "value", "line"),
    [
        ("echo 0.5; echo 7", 0.5, "0.5"),
        ("echo; echo 12", 12.0, "12"),
        ("echo gateway-us", None, "gateway-us"),
        ("echo nan", None, "nan"),
        ("true", None, ""),
        ("pwd | grep -c /; echo noise >&2", 1.0, "1"),
    ],
)
async def test_exec_takes_the_first_line(tmp_path, text, value, line) -> None:
    sample = await run(tmp_path, text)
    assert (sample.ok, sample.value, sample.text) == (True, value, line)


async def test_exec_with_json_and_arguments(tmp_path) -> None:
    (tmp_path / "ask").write_text('#!/bin/sh\necho "{\\"equal\\": $1}"\n')
    (tmp_path / "ask").chmod(0o755)
    wiring = Wiring(ports={"a": {"http": 5}})
    probe = ExecProbe({"exec": ["./ask", "${port:http}"], "json": ".equal"}, wiring, str(tmp_path), "a")
    assert (await probe.sample(20 * SECOND_NS)).value == 5.0


async def test_exec_failures_are_no_samples(tmp_path) -> None:
    failed = await run(tmp_path, "echo 1; echo no replica >&2; exit 3")
    assert (failed.ok, failed.value) == (False, None)
    assert failed.error.endswith("ask: ended with 3: no replica")
    absent = await ExecProbe({"exec": ["./nothing"]}, Wiring(), str(tmp_path)).sample(SECOND_NS)
    assert absent.error.endswith("nothing': No such file or directory")
    assert "longer than" in (await run(tmp_path, "head -c 200000 /dev/zero", json=".a")).error


@pytest.mark.slow
async def test_exec_kills_all_of_it_when_time_is_up(tmp_path) -> None:
    inner = "import os, time; os.setsid(); open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    began = time.monotonic()
    sample = await run(tmp_path, f'python3 -c "{inner}" & sleep 60', 3 * SECOND_NS)
    assert sample.error.endswith("ask: not done in 3 s")
    assert time.monotonic() - began < 30
    pid = int((tmp_path / "pid").read_text())
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() - began < 40, "the grandchild runs on"
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_exec_does_not_wait_for_what_a_command_left_behind(tmp_path) -> None:
    sample = await run(tmp_path, "sleep 30 & echo 5", SECOND_NS)
    assert sample.error.endswith("not done in 1 s"), "its output may go on: it is cut, and what it left is ended"


def test_kinds_refuse_what_they_cannot_mean() -> None:
    for kind, good in ((HTTP, {"http": "http://x/"}), (TCP, {"tcp": "x:1"}), (EXEC, {"exec": ["x"]})):
        kind.params.model_validate(good)
        assert callable(kind.load())
        with pytest.raises(ValueError, match="Extra inputs"):
            kind.params.model_validate({**good, "expected": 1})
    for params in ({"exec": []}, {"exec": ["x"], "json": "a.b"}):
        with pytest.raises(ValueError, match=r"exec|json"):
            EXEC.params.model_validate(params)
    with pytest.raises(ValueError, match="expected 'host:port', got 'localhost'"):
        TCP.params.model_validate({"tcp": "localhost"})
