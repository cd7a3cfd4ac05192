"""A real fault proxy process, a client for its API, and upstreams that echo, stream, or sit there."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tests.ports import free_port

LIMIT_S = 10.0


class Api:
    """The control API of one server, one connection a call."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.url = f"http://{host}:{port}"

    def call(self, method, path, body=None, headers=None):
        """Status, headers and text."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return SimpleNamespace(
                status=response.status, headers=dict(response.getheaders()), text=response.read().decode()
            )
        finally:
            connection.close()

    def json(self, method, path, body=None, expect=(200, 201)):
        answer = self.call(method, path, body)
        assert answer.status in expect, (answer.status, answer.text)
        return json.loads(answer.text)

    def proxy(self, name, upstream, **more):
        """Port of a new proxy."""
        made = self.json("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream, **more})
        return int(made["listen"].rpartition(":")[2])

    def toxic(self, proxy, type_name, stream="downstream", toxicity=1.0, name=None, **attributes):
        body = {"type": type_name, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        return self.json("POST", f"/proxies/{proxy}/toxics", body if name is None else {**body, "name": name})

    def untoxic(self, proxy, name):
        answer = self.call("DELETE", f"/proxies/{proxy}/toxics/{name}")
        assert answer.status == 204, answer.text

    def link(self, name):
        return self.json("GET", "/blackstart/links")["links"][name]


def until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> object:
    """The first true answer of `condition`; fails after the limit."""
    end = time.monotonic() + limit_s
    while not (answer := condition()):
        assert time.monotonic() < end, "condition never held"
        time.sleep(0.005)
    return answer


@contextlib.contextmanager
def running_server(*arguments: str) -> Iterator[SimpleNamespace]:
    """A server process that ends with its standard input."""
    command = [sys.executable, "-m", "harness.proxy.server", "--port", "0", "--exit-on-stdin-close", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            ready = json.loads(process.stdout.readline())
            yield SimpleNamespace(process=process, ready=ready, api=Api(ready["host"], ready["port"]))
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                code = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            errors = process.stderr.read().decode()
    assert code == 0, errors
    assert errors == "", errors


@contextlib.contextmanager
def running_toxiproxy() -> Iterator[SimpleNamespace]:
    """Shopify's server; the test is skipped where there is none."""
    binary = shutil.which("toxiproxy-server")
    if binary is None:
        pytest.skip("needs Shopify's toxiproxy-server on PATH")
    port = free_port()
    command = [binary, "-host", "127.0.0.1", "-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            api = Api("127.0.0.1", port)
            until(lambda: answers(api))
            yield SimpleNamespace(process=process, api=api)
        finally:
            process.kill()


def answers(api: Api) -> bool:
    """Whether the control API is there."""
    try:
        return api.call("GET", "/version").status == 200
    except OSError:
        return False


def forget_proxies(api: Api) -> None:
    """Delete whatever a test made."""
    for name in api.json("GET", "/proxies"):
        api.call("DELETE", f"/proxies/{quote(name, safe='')}")


@pytest.fixture(scope="module")
def pair() -> Iterator[dict[str, Api]]:
    """The API of both servers: embedded (seed 7), toxiproxy."""
    with running_server("--seed", "7") as ours, running_toxiproxy() as theirs:
        yield {"embedded": ours.api, "toxiproxy": theirs.api}


@pytest.fixture(params=["embedded", "toxiproxy"])
def either(request: pytest.FixtureRequest, pair: dict[str, Api]) -> Iterator[Api]:
    """One after the other, the API of both servers; every proxy that a test made is deleted after it."""
    yield pair[request.param]
    forget_proxies(pair[request.param])


@pytest.fixture
def both(pair: dict[str, Api]) -> Iterator[dict[str, Api]]:
    """Both APIs at once, by name; every proxy that a test made is deleted after it."""
    yield pair
    for api in pair.values():
        forget_proxies(api)


@pytest.fixture(scope="module")
def server() -> Iterator[SimpleNamespace]:
    """One server for a test module, seed 7, hold 400 ms."""
    with running_server("--seed", "7", "--hold", "400ms") as running:
        yield running


@pytest.fixture
def api(server: SimpleNamespace) -> Iterator[Api]:
    """The server's API; every proxy that a test made is deleted after it."""
    yield server.api
    forget_proxies(server.api)


class Upstream:
    """A TCP server on loopback; `handle(sock)` runs in a thread for each connection."""

    def __init__(self, handle: Callable[[socket.socket], None], port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.accepted: list[socket.socket] = []
        self.handle = handle
        self.threads: list[threading.Thread] = []
        self.wake, self.woken = socket.socketpair()
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self.listener, self.woken], [], [])
            if self.woken in ready:
                return
            sock, _ = self.listener.accept()
            self.accepted.append(sock)
            thread = threading.Thread(target=self._run, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.handle(sock)

    def close(self) -> None:
        """Stop accepting; close every connection."""
        self.wake.send(b"x")
        self.accepting.join(LIMIT_S)
        for sock in self.accepted:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(LIMIT_S)
        for sock in (self.listener, self.wake, self.woken, *self.accepted):
            sock.close()


def echo(sock: socket.socket) -> None:
    """Send back what comes, and the end of it."""
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


@pytest.fixture
def upstream() -> Iterator[Callable[..., Upstream]]:
    """Makes upstreams, echoing unless told otherwise; all are closed after the test."""
    made: list[Upstream] = []

    def make(handle: Callable[[socket.socket], None] = echo, port: int = 0) -> Upstream:
        made.append(Upstream(handle, port))
        return made[-1]

    yield make
    for one in made:
        if one.listener.fileno() >= 0:
            one.close()


@pytest.fixture
def dial() -> Iterator[Callable[..., socket.socket]]:
    """Connects to a loopback port; all sockets are closed after the test."""
    made: list[socket.socket] = []

    def connect(port: int, timeout: float = LIMIT_S, source_port: int | None = None) -> socket.socket:
        sock = socket.socket()
        made.append(sock)
        sock.settimeout(timeout)
        if source_port is not None:
            sock.bind(("127.0.0.1", source_port))
        sock.connect(("127.0.0.1", port))
        return sock

    yield connect
    for sock in made:
        sock.close()


@pytest.fixture
def tools() -> SimpleNamespace:
    """Small helpers: `until`, `running_server`, `ping`, `read_exactly`."""

    def read_exactly(sock: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = sock.recv(count - len(data))
            if not more:
                break
            data += more
        return data

    def ping(sock: socket.socket, data: bytes = b"ping") -> float:
        """Seconds that an echo takes."""
        began = time.monotonic()
        sock.sendall(data)
        assert read_exactly(sock, len(data)) == data
        return time.monotonic() - began

    return SimpleNamespace(until=until, running_server=running_server, ping=ping, read_exactly=read_exactly)
