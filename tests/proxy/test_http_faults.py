"""HTTP toxics on a real server: one keep-alive client, a streaming upstream, and what each request really got."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

pytestmark = pytest.mark.live

HTTP = {"http": True}
PLAIN = b"a plain answer, whole"


def read_head(stream) -> list[bytes]:
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line.rstrip(b"\r\n"))
    return lines


def provider(sock: socket.socket) -> None:
    """Keep-alive HTTP: /stream is five chunked events, /echo the body back, all else a plain answer."""
    with sock.makefile("rb") as stream:
        while head := read_head(stream):
            path = head[0].split()[1]
            fields = dict(line.lower().split(b": ", 1) for line in head[1:])
            body = stream.read(int(fields.get(b"content-length", 0)))
            if path == b"/stream":
                sock.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                for number in range(5):
                    event = b'data: {"n":%d}\n\n' % number
                    sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                sock.sendall(b"0\r\n\r\n")
            else:
                answer = {b"/echo": body, b"/host": fields.get(b"host", b"")}.get(path, PLAIN)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


EVENTS = [b'data: {"n":%d}\n\n' % number for number in range(5)]


@pytest.fixture
def link(api, upstream):
    """The port of an HTTP proxy named a, before a provider."""
    return api.proxy("a", upstream(provider).address, blackstart=HTTP)


@contextlib.contextmanager
def connected(port: int, timeout: float = 5) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection, path="/plain", method="GET", body=None):
    """Status, fields and body of one request."""
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def affected(api, name="a"):
    return [(toxic["affected"], toxic["requests"]) for toxic in api.link(name)["toxics"]]


def test_an_error_is_answered_in_the_providers_place_and_the_connection_lives_on(api, link):
    with connected(link) as connection:
        assert ask(connection)[2] == PLAIN
        toxic = api.toxic("a", "http_error", status=429, retry_after=1500)
        status, fields, body = ask(connection, "/echo", "POST", b"never seen")
        assert status == 429
        assert (fields["Retry-After"], fields["Retry-After-Ms"]) == ("2", "1500")
        assert json.loads(body)["error"]["type"] == "rate_limit_exceeded"
        status, fields, body = ask(connection, method="HEAD")
        assert (status, body) == (429, b"")
        before = api.link("a")["sent_bytes"]["upstream"]
        api.untoxic("a", toxic["name"])
        assert ask(connection, "/echo", "POST", b"seen again")[2] == b"seen again"
        assert api.link("a")["sent_bytes"]["upstream"] - before < 200, "what was answered here never went there"
        assert api.link("a")["connections"]["total"] == 1


def test_when_to_try_again_may_be_a_date(api, link):
    with connected(link) as connection:
        api.toxic("a", "http_error", status=429, retry_after=5000, as_date=1)
        before = time.time()
        _, fields, _ = ask(connection)
        at = parsedate_to_datetime(fields["Retry-After"]).timestamp()
        assert before + 5 <= at <= time.time() + 6, "never earlier than asked for; a date has whole seconds"
        assert "Retry-After-Ms" not in fields


@pytest.mark.parametrize(
    ("status", "kind"), [(503, "server_error"), (529, "overloaded_error"), (402, "invalid_request_error")]
)
def test_errors_look_like_a_providers(api, link, status, kind):
    api.toxic("a", "http_error", status=status)
    with connected(link) as connection:
        got, fields, body = ask(connection)
    assert (got, json.loads(body)["error"]["code"]) == (status, kind)
    assert "Retry-After" not in fields


@pytest.mark.slow
def test_a_share_of_requests_is_drawn_from_the_seed_whatever_the_toxics_name(upstream, tools):
    seen = []
    for name in ("blackstart-1", "blackstart-2"):
        with tools.running_server("--seed", "7") as running:
            port = running.api.proxy("a", upstream(provider).address, blackstart=HTTP)
            running.api.toxic("a", "http_error", toxicity=0.3, name=name)
            with connected(port) as connection:
                seen.append([ask(connection)[0] for _ in range(100)])
            ((felt, drawn),) = affected(running.api)
            assert (felt, drawn) == (seen[-1].count(503), 100)
    assert seen[0] == seen[1]
    assert 15 < seen[0].count(503) < 45


def test_pipelined_answers_keep_their_order(api, link, dial, tools):
    api.toxic("a", "http_error", toxicity=0.5)
    sock = dial(link)
    sock.sendall(b"".join(b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\n%02d" % number for number in range(20)))
    answers = []
    with sock.makefile("rb") as stream:
        for _ in range(20):
            head = read_head(stream)
            fields = dict(line.lower().split(b": ", 1) for line in head[1:])
            answers.append((head[0].split()[1], stream.read(int(fields[b"content-length"]))))
    assert {status for status, _ in answers} == {b"200", b"503"}
    assert all(body == b"%02d" % number for number, (status, body) in enumerate(answers) if status == b"200")


def test_who_waits_for_leave_to_send_a_body_is_not_left_waiting(api, link, dial):
    api.toxic("a", "http_error")
    sock = dial(link)
    sock.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    with sock.makefile("rb") as stream:
        head = read_head(stream)
        assert head[0].startswith(b"HTTP/1.1 503")
        assert b"Connection: close" in head
        assert json.loads(stream.read())["error"]


def test_an_empty_reply_is_200_and_nothing(api, link):
    api.toxic("a", "empty_reply")
    with connected(link) as connection:
        status, fields, body = ask(connection, "/stream")
        assert (status, fields["Content-Length"], body) == (200, "0", b"")
        assert ask(connection)[0] == 200


def test_a_slow_first_byte_delays_the_beginning_and_no_more(api, link):
    api.toxic("a", "slow_first_byte", delay=200)
    with connected(link) as connection:
        began = time.monotonic()
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        assert time.monotonic() - began >= 0.2
        assert answer.read() == b"".join(EVENTS)
        assert affected(api) == [(1, 1)]


def test_removing_a_slow_first_byte_lets_the_answer_go(api, link, tools):
    toxic = api.toxic("a", "slow_first_byte", delay=60_000)
    with connected(link) as connection:
        connection.request("GET", "/stream")
        tools.until(lambda: affected(api) == [(1, 1)])
        api.untoxic("a", toxic["name"])
        assert connection.getresponse().read() == b"".join(EVENTS)


def test_a_stalled_stream_gives_its_first_chunks_and_goes_on_when_healed(api, link, tools):
    toxic = api.toxic("a", "stall_stream", after_chunks=2)
    with connected(link) as connection:
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        assert answer.read(len(EVENTS[0]) * 2) == EVENTS[0] + EVENTS[1]
        assert affected(api) == [(1, 1)]
        connection.sock.settimeout(0.15)
        with pytest.raises(TimeoutError):
            connection.sock.recv(1, socket.MSG_PEEK)
        connection.sock.settimeout(5)
        api.untoxic("a", toxic["name"])
        assert answer.read() == b"".join(EVENTS[2:])
        assert ask(connection)[2] == PLAIN


@pytest.mark.slow
def test_a_plain_answer_stalls_before_its_body(api, link, tools):
    api.toxic("a", "stall_stream")
    with connected(link, timeout=0.3) as connection:
        connection.request("GET", "/plain")
        answer = connection.getresponse()
        with pytest.raises(TimeoutError):
            answer.read()


def test_a_cut_stream_has_no_terminator(api, link):
    api.toxic("a", "cut_stream", after_chunks=3)
    with connected(link) as connection:
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        assert caught.value.partial == b"".join(EVENTS[:3])


def test_a_truncated_stream_ends_properly_and_the_connection_lives_on(api, link):
    toxic = api.toxic("a", "truncate_stream", after_chunks=3)
    with connected(link) as connection:
        assert ask(connection, "/stream")[2] == b"".join(EVENTS[:3])
        api.untoxic("a", toxic["name"])
        assert ask(connection, "/stream")[2] == b"".join(EVENTS)
        api.toxic("a", "truncate_stream")
        connection.request("GET", "/plain")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()


def test_a_stream_shorter_than_the_limit_is_left_alone(api, link):
    api.toxic("a", "truncate_stream", after_chunks=5)
    with connected(link) as connection:
        assert ask(connection, "/stream")[2] == b"".join(EVENTS)
    assert affected(api) == [(0, 1)]


def test_an_in_band_error_is_an_event_of_a_proper_stream(api, link):
    api.toxic("a", "in_band_error", after_chunks=1)
    with connected(link) as connection:
        body = ask(connection, "/stream")[2]
        assert body.startswith(EVENTS[0] + b"event: error\ndata: ")
        assert json.loads(body.split(b"data: ")[-1])["error"]["code"] == "server_error"
        assert ask(connection, "/plain")[2] == PLAIN, "an answer of a stated length has no events"
        assert ask(connection, "/stream")[2] == body


def test_garbled_answers_keep_their_length_and_framing(api, link):
    api.toxic("a", "garble", bytes=3)
    with connected(link) as connection:
        _, _, body = ask(connection, "/plain")
        assert len(body) == len(PLAIN)
        assert 1 <= sum(one != other for one, other in zip(body, PLAIN, strict=True)) <= 3
        streamed = ask(connection, "/stream")[2]
        assert streamed != b"".join(EVENTS)
        assert len(streamed) == len(b"".join(EVENTS))


def test_effects_add_up_in_their_order(api, link):
    api.toxic("a", "slow_first_byte", delay=100)
    api.toxic("a", "truncate_stream", after_chunks=2)
    api.toxic("a", "latency", latency=50)
    with connected(link) as connection:
        began = time.monotonic()
        assert ask(connection, "/stream")[2] == b"".join(EVENTS[:2])
        assert time.monotonic() - began >= 0.15


def test_requests_that_began_before_are_left_alone(api, link, tools):
    with connected(link) as connection:
        connection.putrequest("POST", "/echo")
        connection.putheader("Content-Length", "5")
        connection.endheaders()
        tools.until(lambda: api.link("a")["received_bytes"]["upstream"] > 0)
        api.toxic("a", "http_error")
        connection.send(b"hello")
        assert connection.getresponse().read() == b"hello"
        assert ask(connection)[0] == 503


def test_another_protocol_on_an_http_link_still_passes(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address, blackstart=HTTP)
    api.toxic("a", "http_error")
    sock = dial(port)
    assert tools.ping(sock, b"\x00binary, no line end") > 0


def test_a_paused_reader_holds_up_the_provider_not_the_proxy(api, upstream, dial, tools):
    """Backpressure of a stalled stream: the proxy keeps little of an endless answer."""

    def endless(sock):
        read_head(sock.makefile("rb"))
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(400):
            sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        sock.sendall(b"0\r\n\r\n")

    port = api.proxy("a", upstream(endless).address, blackstart=HTTP)
    toxic = api.toxic("a", "stall_stream", after_chunks=1)
    with connected(port) as connection:
        connection.request("GET", "/")
        answer = connection.getresponse()
        tools.until(lambda: api.link("a")["held_bytes"]["downstream"] > 0)
        assert api.link("a")["held_bytes"]["downstream"] < 512 * 1024
        api.untoxic("a", toxic["name"])
        assert len(answer.read()) == 400 * 65536


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A server context for "localhost" that this test's proxies trust."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


@pytest.mark.slow
def test_the_upstream_may_speak_tls_while_clients_do_not(certificate, upstream, tools):
    def secure(sock):
        with certificate.wrap_socket(sock, server_side=True) as wrapped:
            provider(wrapped)

    there = upstream(secure)
    with tools.running_server("--seed", "7") as running:
        port = running.api.proxy("a", f"localhost:{there.port}", blackstart={"http": True, "tls": True})
        with connected(port) as connection:
            assert ask(connection, "/host")[2] == b"localhost:%d" % there.port
            assert ask(connection, "/stream")[2] == b"".join(EVENTS)
            assert ask(connection, "/echo", "POST", b"x" * 300_000)[2] == b"x" * 300_000
            running.api.toxic("a", "stall_stream", after_chunks=1)
            connection.request("GET", "/stream")
            assert connection.getresponse().read(len(EVENTS[0])) == EVENTS[0]
        tools.until(lambda: running.api.link("a")["connections"]["open"] == 0)


@pytest.mark.slow
def test_an_upstream_that_is_not_who_it_should_be_is_not_spoken_to(certificate, upstream, tools):
    def secure(sock):
        with certificate.wrap_socket(sock, server_side=True) as wrapped:
            provider(wrapped)

    there = upstream(secure)
    with tools.running_server() as running:
        port = running.api.proxy("a", f"127.0.0.1:{there.port}", blackstart={"http": True, "tls": True})
        with connected(port) as connection, pytest.raises(ConnectionError):
            ask(connection)
        assert running.api.link("a")["dial_failed"] == 1
