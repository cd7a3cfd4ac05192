"""One suite for both servers, ours and Shopify's: what the API answers and what toxics do to bytes."""

from __future__ import annotations

import json
import socket
import time

import pytest

pytestmark = [pytest.mark.live, pytest.mark.slow]

JSON = "application/json"
UPSTREAM = "127.0.0.1:1"


def plain(value):
    """An answer without what only one of the servers adds."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in ("Logger", "blackstart")}
    return [plain(one) for one in value] if isinstance(value, list) else value


def made(api, name="a", upstream=UPSTREAM, **more):
    return plain(api.json("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream, **more}))


def got(api, path):
    return plain(api.json("GET", path))


def test_a_proxys_life(either):
    body = {"name": "a", "listen": "127.0.0.1:0", "upstream": UPSTREAM, "toxics": [{"type": "latency"}]}
    answer = either.call("POST", "/proxies", body)
    assert (answer.status, answer.headers["Content-Type"]) == (201, JSON)
    first = plain(json.loads(answer.text))
    port = int(first["listen"].removeprefix("127.0.0.1:"))
    assert first == {"name": "a", "listen": f"127.0.0.1:{port}", "upstream": UPSTREAM, "enabled": True, "toxics": []}
    assert got(either, "/proxies") == {"a": first}
    for method in ("POST", "PATCH"):
        changed = plain(either.json(method, "/proxies/a", {"enabled": False}))
        assert changed == {**first, "enabled": False}
        assert plain(either.json(method, "/proxies/a", {"enabled": True})) == first
    assert plain(either.json("PATCH", "/proxies/a", {"upstream": "127.0.0.1:2"}))["upstream"] == "127.0.0.1:2"
    answer = either.call("DELETE", "/proxies/a")
    assert (answer.status, answer.text) == (204, "")
    assert got(either, "/proxies") == {}


ERRORS = [
    ("POST", "/proxies", {"upstream": UPSTREAM}, 400, "missing required field: name"),
    ("POST", "/proxies", {"name": "b"}, 400, "missing required field: upstream"),
    ("POST", "/proxies", b"", 400, "bad request body: "),
    ("POST", "/proxies", b"[]", 400, "bad request body: "),
    ("POST", "/proxies", {"name": 3, "upstream": UPSTREAM}, 400, "bad request body: "),
    ("POST", "/proxies", {"name": "a", "upstream": UPSTREAM}, 409, "proxy already exists"),
    ("GET", "/proxies/b", None, 404, "proxy not found"),
    ("PATCH", "/proxies/b", {}, 404, "proxy not found"),
    ("PATCH", "/proxies/a", {"enabled": "no"}, 400, "bad request body: "),
    ("DELETE", "/proxies/b", None, 404, "proxy not found"),
    ("GET", "/proxies/b/toxics", None, 404, "proxy not found"),
    ("POST", "/proxies/b/toxics", {"type": "latency"}, 404, "proxy not found"),
    ("POST", "/proxies/a/toxics", b"{", 400, "bad request body: "),
    ("POST", "/proxies/a/toxics", {}, 400, "invalid toxic type"),
    ("POST", "/proxies/a/toxics", {"type": "nonsense"}, 400, "invalid toxic type"),
    ("POST", "/proxies/a/toxics", {"type": "latency", "stream": "sideways"}, 400,
     "stream was invalid, can be either upstream or downstream"),
    ("POST", "/proxies/a/toxics", {"type": "latency", "attributes": {"latency": "x"}}, 400, "bad request body: "),
    ("POST", "/proxies/a/toxics", {"type": "latency", "attributes": {"latency": 1.5}}, 400, "bad request body: "),
    ("POST", "/proxies/a/toxics", {"type": "latency", "name": "t"}, 409, "toxic already exists"),
    ("POST", "/proxies/a/toxics", {"type": "timeout", "name": "t", "stream": "upstream"}, 409, "toxic already exists"),
    ("GET", "/proxies/a/toxics/u", None, 404, "toxic not found"),
    ("PATCH", "/proxies/a/toxics/u", {}, 404, "toxic not found"),
    ("PATCH", "/proxies/a/toxics/t", {"toxicity": "x"}, 400, "bad request body: "),
    ("DELETE", "/proxies/a/toxics/u", None, 404, "toxic not found"),
    ("DELETE", "/proxies/b/toxics/u", None, 404, "proxy not found"),
    ("POST", "/populate", b"{}", 400, None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), ERRORS)
def test_errors(either, method, path, body, status, message):
    made(either)
    either.toxic("a", "latency", name="t", latency=1)
    answer = either.call(method, path, body)
    assert answer.status == status, answer.text
    if message is not None:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        said = json.loads(answer.text)
        assert said["status"] == status
        assert said["error"].startswith(message) if message.endswith(": ") else said["error"] == message
    assert list(got(either, "/proxies")) == ["a"]


def test_a_port_in_use_is_500(either):
    taken = made(either)["listen"]
    answer = either.call("POST", "/proxies", {"name": "b", "listen": taken, "upstream": UPSTREAM})
    assert (answer.status, json.loads(answer.text)["error"]) == (
        500,
        f"listen tcp {taken}: bind: address already in use",
    )
    assert "b" not in got(either, "/proxies")


def test_version_ids_and_browsers(either):
    answer = either.call("GET", "/version")
    assert answer.headers["Content-Type"] == "application/json;charset=utf-8"
    assert json.loads(answer.text)["version"]  # "git" where Go installed it
    ids = {either.call("GET", "/proxies").headers["X-Toxiproxy-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    assert either.call("GET", "/proxies", headers={"User-Agent": "Mozilla/5.0"}).status == 403
    assert either.call("PUT", "/proxies").status == 405
    assert either.call("GET", "/nothing").status == 404


TYPES = {
    "bandwidth": {"rate": 0},
    "latency": {"latency": 0, "jitter": 0},
    "limit_data": {"bytes": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 0, "size_variation": 0, "delay": 0},
    "slow_close": {"delay": 0},
    "timeout": {"timeout": 0},
}


@pytest.mark.parametrize("type_name", TYPES)
def test_every_toxics_life(either, type_name):
    made(either)
    answer = either.call("POST", "/proxies/a/toxics", {"type": type_name})
    assert (answer.status, answer.headers["Content-Type"]) == (200, JSON)
    name = f"{type_name}_downstream"
    first = json.loads(answer.text)
    assert first == {
        "name": name, "type": type_name, "stream": "downstream", "toxicity": 1, "attributes": TYPES[type_name]
    }  # fmt: skip
    values = {key: 100 + number for number, key in enumerate(TYPES[type_name])}
    one = dict(list(values.items())[:1])
    body = {"attributes": one, "toxicity": 0.25, "name": "x", "type": "y", "stream": "upstream"}
    for method in ("PATCH", "POST"):
        changed = either.json(method, f"/proxies/a/toxics/{name}", body)
        assert changed == {**first, "toxicity": 0.25, "attributes": {**TYPES[type_name], **one}}
    either.toxic("a", type_name, "upstream", name="second", **values)
    assert [toxic["name"] for toxic in got(either, "/proxies/a/toxics")] == ["second", name], "upstream comes first"
    assert got(either, "/proxies/a")["toxics"] == got(either, "/proxies/a/toxics")
    either.untoxic("a", "second")
    assert got(either, f"/proxies/a/toxics/{name}") == changed
    assert either.call("POST", "/reset").status == 204
    assert got(either, "/proxies/a/toxics") == []


def test_populate(either):
    first = made(either, "kept")
    either.toxic("kept", "latency", latency=1)
    either.json("PATCH", "/proxies/kept", {"enabled": False})
    moved = made(either, "moved")
    either.toxic("moved", "latency", latency=1)
    entries = [
        {"name": "kept", "listen": first["listen"], "upstream": UPSTREAM},
        {"name": "moved", "listen": moved["listen"], "upstream": "127.0.0.1:2"},
        {"name": "new", "listen": "127.0.0.1:0", "upstream": UPSTREAM, "enabled": False},
    ]
    answer = either.call("POST", "/populate", entries)
    assert answer.status == 201
    seen = plain(json.loads(answer.text)["proxies"])
    assert [(one["name"], one["enabled"], len(one["toxics"])) for one in seen] == [
        ("kept", False, 1),
        ("moved", True, 0),
        ("new", False, 0),
    ]
    bad = [{"name": "fine", "listen": "127.0.0.1:0", "upstream": UPSTREAM}, {"name": "bad"}]
    answer = either.call("POST", "/populate", bad)
    said = json.loads(answer.text)
    assert (answer.status, said["error"], said["status"]) == (
        400,
        "missing required field: upstream at proxy 2",
        400,
    )
    taken = [
        {"name": "before", "listen": "127.0.0.1:0", "upstream": UPSTREAM},
        {"name": "taken", "listen": moved["listen"], "upstream": UPSTREAM},
        {"name": "after", "listen": "127.0.0.1:0", "upstream": UPSTREAM},
    ]
    answer = either.call("POST", "/populate", taken)
    said = json.loads(answer.text)
    assert (answer.status, [one["name"] for one in said["proxies"]]) == (500, ["before"])
    assert set(got(either, "/proxies")) == {"kept", "moved", "new", "before"}


# --- what they do to bytes


@pytest.fixture
def port(either, upstream):
    """A proxy named a before an echoing upstream."""
    return either.proxy("a", upstream().address)


def ended(sock) -> bytes:
    """Everything until the connection ends, however it does."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionError:
        pass
    return data


def quiet(sock, for_s=0.15) -> bool:
    sock.settimeout(for_s)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(10)
    return False


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_latency(either, port, dial, tools, stream):
    sock = dial(port)
    tools.ping(sock)
    either.toxic("a", "latency", stream, name="t", latency=150)
    assert tools.ping(sock) >= 0.15, "open connections too"
    assert tools.ping(dial(port)) >= 0.15
    either.untoxic("a", "t")
    assert min(tools.ping(sock) for _ in range(5)) < 0.15


def test_bandwidth(either, port, dial, tools):
    either.toxic("a", "bandwidth", name="t", rate=100)
    assert tools.ping(dial(port), b"x" * 30_000) >= 0.2


def test_bandwidth_zero_stalls(either, port, dial, tools):
    either.toxic("a", "bandwidth", name="t", rate=0)
    sock = dial(port)
    sock.sendall(b"hello")
    assert quiet(sock)


def test_slow_close(either, port, dial, tools):
    either.toxic("a", "slow_close", delay=200)
    sock = dial(port)
    tools.ping(sock)
    began = time.monotonic()
    sock.shutdown(socket.SHUT_WR)
    assert ended(sock) == b""
    assert time.monotonic() - began >= 0.2


def test_timeout_swallows_then_closes(either, port, dial):
    either.toxic("a", "timeout", timeout=150)
    sock = dial(port)
    began = time.monotonic()
    sock.sendall(b"hello")
    assert ended(sock) == b""
    assert time.monotonic() - began >= 0.1


def test_timeout_zero_holds_the_connection_and_its_removal_ends_it(either, port, dial):
    either.toxic("a", "timeout", name="t", timeout=0)
    sock = dial(port)
    sock.sendall(b"hello")
    assert quiet(sock)
    either.untoxic("a", "t")
    assert ended(sock) == b""


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_reset_peer_resets_new_connections(either, port, dial, stream):
    either.toxic("a", "reset_peer", stream, timeout=20)
    sock = dial(port)
    sock.sendall(b"hello")
    with pytest.raises(ConnectionResetError):
        sock.recv(100)


def test_slicer_loses_nothing(either, port, dial, tools):
    either.toxic("a", "slicer", average_size=64, size_variation=32, delay=10)
    assert tools.ping(dial(port), bytes(range(256)) * 20) > 0


def test_limit_data_closes_after_its_bytes(either, port, dial):
    either.toxic("a", "limit_data", bytes=100)
    sock = dial(port)
    sock.sendall(b"x" * 250)
    assert ended(sock) == b"x" * 100


def test_toxicity_zero_hits_nobody(either, port, dial, tools):
    for type_name, attributes in (("latency", {"latency": 5000}), ("timeout", {}), ("limit_data", {"bytes": 1})):
        either.toxic("a", type_name, toxicity=0, **attributes)
    assert tools.ping(dial(port)) < 5


def test_disabling_ends_connections_and_refuses_new_ones(either, port, dial, tools):
    sock = dial(port)
    tools.ping(sock)
    either.json("PATCH", "/proxies/a", {"enabled": False})
    assert ended(sock) == b""
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    either.json("PATCH", "/proxies/a", {"enabled": True})
    tools.ping(dial(port))
    either.call("DELETE", "/proxies/a")
    with pytest.raises(ConnectionRefusedError):
        dial(port)


def test_a_dead_upstream_is_an_accepted_and_ended_connection(either, dial):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = either.proxy("dead", f"127.0.0.1:{free.getsockname()[1]}")
        try:
            sock = dial(port)
        except ConnectionResetError:  # as soon as that: before `connect` has returned
            return
        assert ended(sock) == b""
