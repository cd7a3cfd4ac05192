"""The control API, literally: methods, paths, status codes, bodies, content types."""

from __future__ import annotations

import json
import socket

import pytest

JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
OPTIONS = {"http": False, "mirror_refusal": False, "tls": False}


def error(message: str, status: int) -> str:
    return json.dumps({"error": message, "status": status}, separators=(",", ":")) + "\n"


def test_a_proxy_is_made_shown_listed_and_deleted(api):
    answer = api.call("POST", "/proxies", {"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"})
    assert (answer.status, answer.headers["Content-Type"]) == (201, JSON)
    made = json.loads(answer.text)
    port = int(made["listen"].removeprefix("127.0.0.1:"))
    assert port > 0
    assert made == {
        "name": "a",
        "listen": f"127.0.0.1:{port}",
        "upstream": "127.0.0.1:1",
        "enabled": True,
        "blackstart": OPTIONS,
        "toxics": [],
    }
    assert api.json("GET", "/proxies/a") == made
    assert api.json("GET", "/proxies") == {"a": made}
    answer = api.call("DELETE", "/proxies/a")
    assert (answer.status, answer.text, answer.headers.get("Content-Type")) == (204, "", None)
    assert api.json("GET", "/proxies") == {}


def test_a_disabled_proxy_keeps_the_address_it_was_given(api):
    body = {"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": False}
    made = api.json("POST", "/proxies", body)
    assert (made["enabled"], made["listen"]) == (False, "127.0.0.1:0")


def test_defaults_of_a_proxy(api):
    made = api.json("POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:1"})
    assert made["enabled"] is True
    assert made["listen"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/proxies", b"", 400, error("bad request body: EOF", 400)),
        ("POST", "/proxies", {"upstream": "x:1"}, 400, error("missing required field: name", 400)),
        ("POST", "/proxies", {"name": "b"}, 400, error("missing required field: upstream", 400)),
        ("POST", "/proxies", {"name": "a", "upstream": "x:1"}, 409, error("proxy already exists", 409)),
        ("POST", "/proxies", b"null", 400, error("missing required field: name", 400)),
        ("GET", "/proxies/b", None, 404, error("proxy not found", 404)),
        ("PATCH", "/proxies/b", {}, 404, error("proxy not found", 404)),
        ("DELETE", "/proxies/b", None, 404, error("proxy not found", 404)),
        ("GET", "/proxies/b/toxics", None, 404, error("proxy not found", 404)),
        ("POST", "/proxies/b/toxics", {"type": "latency"}, 404, error("proxy not found", 404)),
        ("DELETE", "/proxies/b/toxics/x", None, 404, error("proxy not found", 404)),
        ("GET", "/proxies/a/toxics/x", None, 404, error("toxic not found", 404)),
        ("PATCH", "/proxies/a/toxics/x", {}, 404, error("toxic not found", 404)),
        ("DELETE", "/proxies/a/toxics/x", None, 404, error("toxic not found", 404)),
        ("POST", "/proxies/a/toxics", {"type": "nope"}, 400, error("invalid toxic type", 400)),
        ("POST", "/proxies/a/toxics", {}, 400, error("invalid toxic type", 400)),
        ("POST", "/proxies/a/toxics", {"type": "http-error"}, 400, error("invalid toxic type", 400)),
        (
            "POST",
            "/proxies/a/toxics",
            {"type": "latency", "stream": "both"},
            400,
            error("stream was invalid, can be either upstream or downstream", 400),
        ),
        ("GET", "/metrics", None, 404, "404 page not found\n"),
        ("GET", "/", None, 404, "404 page not found\n"),
        ("GET", "/proxies/", None, 404, "404 page not found\n"),
        ("GET", "/proxies/a/nothing", None, 404, "404 page not found\n"),
    ],
)
def test_errors(api, method, path, body, status, text):
    api.proxy("a", "127.0.0.1:1")
    answer = api.call(method, path, body)
    assert (answer.status, answer.text) == (status, text)
    assert answer.headers["Content-Type"] == PLAIN
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"a"',
        {"name": 1, "upstream": "x:1"},
        {"name": "b", "upstream": "x:1", "enabled": "yes"},
        {"name": "b", "upstream": 5},
        {"name": "b", "upstream": "x:1", "blackstart": {"http": 1}},
    ],
)
def test_wrong_types_in_a_proxy_are_refused(api, body):
    answer = api.call("POST", "/proxies", body)
    assert answer.status == 400
    assert json.loads(answer.text)["error"].startswith("bad request body: ")
    assert api.json("GET", "/proxies") == {}


@pytest.mark.parametrize(
    "body",
    [
        {"type": "latency", "attributes": {"latency": "100"}},
        {"type": "latency", "attributes": {"latency": 1.5}},
        {"type": "latency", "attributes": {"latency": True}},
        {"type": "latency", "attributes": [1]},
        {"type": "latency", "toxicity": "1"},
        {"type": "latency", "stream": 1},
        {"type": ["latency"]},
        b'{"type": "latency", "toxicity": 1e999}',
        b'{"type": "latency", "attributes": {"latency": NaN}}',
    ],
)
def test_wrong_types_in_a_toxic_are_refused(api, body):
    api.proxy("a", "127.0.0.1:1")
    answer = api.call("POST", "/proxies/a/toxics", body)
    assert answer.status == 400
    assert json.loads(answer.text)["error"].startswith("bad request body: ")
    assert api.json("GET", "/proxies/a/toxics") == []


def test_a_port_in_use_is_500_and_leaves_no_proxy(api):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        answer = api.call("POST", "/proxies", {"name": "a", "listen": address, "upstream": "127.0.0.1:1"})
    assert answer.status == 500
    assert json.loads(answer.text)["error"] == f"listen tcp {address}: bind: address already in use"
    assert api.json("GET", "/proxies") == {}


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "a:b:c"])
def test_a_malformed_listen_is_500(api, listen):
    assert api.call("POST", "/proxies", {"name": "a", "listen": listen, "upstream": "127.0.0.1:1"}).status == 500
    api.proxy("a", "127.0.0.1:1")
    assert api.call("PATCH", "/proxies/a", {"listen": listen}).status == 500
    assert api.json("GET", "/proxies/a")["enabled"] is True


def test_unknown_attributes_and_other_spellings(api):
    api.proxy("a", "127.0.0.1:1")
    body = {"TYPE": "latency", "Attributes": None, "attributes": {"Latency": 5, "color": "red"}, "color": 1}
    assert api.json("POST", "/proxies/a/toxics", {**body, "stream": "UPSTREAM"}) == {
        "attributes": {"latency": 5, "jitter": 0},
        "name": "latency_UPSTREAM",
        "type": "latency",
        "stream": "UPSTREAM",
        "toxicity": 1,
    }


def test_a_toxic_is_made_shown_listed_updated_and_deleted(api):
    api.proxy("a", "127.0.0.1:1")
    answer = api.call("POST", "/proxies/a/toxics", {"type": "latency", "attributes": {"latency": 100, "jitter": 7}})
    assert (answer.status, answer.headers["Content-Type"]) == (200, JSON)
    made = {
        "attributes": {"latency": 100, "jitter": 7},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1,
    }
    assert json.loads(answer.text) == made
    assert api.json("GET", "/proxies/a/toxics/latency_downstream") == made
    assert api.call("POST", "/proxies/a/toxics", {"type": "latency"}).text == error("toxic already exists", 409)
    for method, latency in (("PATCH", 5), ("POST", 6)):
        body = {"attributes": {"latency": latency}, "toxicity": 0.3, "name": "x", "type": "y", "stream": "upstream"}
        changed = {**made, "attributes": {"latency": latency, "jitter": 7}, "toxicity": 0.3}
        assert api.json(method, "/proxies/a/toxics/latency_downstream", body) == changed
        assert api.json("GET", "/proxies/a")["toxics"] == [changed]
    assert api.call("DELETE", "/proxies/a/toxics/latency_downstream").status == 204
    assert api.json("GET", "/proxies/a/toxics") == []


def test_a_bad_update_changes_nothing(api):
    api.proxy("a", "127.0.0.1:1")
    before = api.toxic("a", "latency", latency=100, jitter=7)
    for body in ({"attributes": {"latency": 1, "jitter": "x"}}, {"attributes": {"latency": 1}, "toxicity": "x"}):
        assert api.call("PATCH", "/proxies/a/toxics/latency_downstream", body).status == 400
    assert api.json("GET", "/proxies/a/toxics") == [before]


def test_toxics_are_listed_upstream_first_then_in_order_of_creation(api):
    api.proxy("a", "127.0.0.1:1")
    for name, stream in (("1", "downstream"), ("2", "upstream"), ("3", "downstream"), ("4", "upstream")):
        api.toxic("a", "noop", stream=stream, name=name)
    assert [toxic["name"] for toxic in api.json("GET", "/proxies/a/toxics")] == ["2", "4", "1", "3"]


@pytest.mark.parametrize(
    ("type_name", "attributes"),
    [
        ("bandwidth", {"rate": 0}),
        ("latency", {"latency": 0, "jitter": 0}),
        ("limit_data", {"bytes": 0}),
        ("noop", {}),
        ("partition", {"hold": 400}),
        ("reset_peer", {"timeout": 0}),
        ("slicer", {"average_size": 0, "size_variation": 0, "delay": 0}),
        ("slow_close", {"delay": 0}),
        ("timeout", {"timeout": 0}),
    ],
)
def test_every_type_and_its_defaults(api, type_name, attributes):
    api.proxy("a", "127.0.0.1:1")
    made = api.json("POST", "/proxies/a/toxics", {"type": type_name})
    assert (made["name"], made["attributes"]) == (f"{type_name}_downstream", attributes)


def test_toxics_in_a_create_body_are_ignored(api):
    body = {"name": "a", "upstream": "127.0.0.1:1", "toxics": [{"type": "latency"}]}
    assert api.json("POST", "/proxies", body)["toxics"] == []


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_update_keeps_what_it_does_not_name_and_keeps_toxics(api, method):
    port = api.proxy("a", "127.0.0.1:1")
    api.toxic("a", "latency")
    changed = api.json(method, "/proxies/a", {"upstream": "127.0.0.1:2", "name": "b"})
    assert (changed["name"], changed["listen"]) == ("a", f"127.0.0.1:{port}")
    assert (changed["upstream"], changed["enabled"], len(changed["toxics"])) == ("127.0.0.1:2", True, 1)
    assert api.json(method, "/proxies/a", {"enabled": False})["enabled"] is False
    moved = api.json(method, "/proxies/a", {"listen": "127.0.0.1:0", "enabled": True})
    assert moved["enabled"] is True
    assert moved["listen"] not in ("127.0.0.1:0", f"127.0.0.1:{port}")


def test_populate_creates_keeps_and_replaces(api):
    port = api.proxy("kept", "127.0.0.1:1")
    api.toxic("kept", "latency")
    api.json("PATCH", "/proxies/kept", {"enabled": False})
    api.proxy("moved", "127.0.0.1:1")
    api.toxic("moved", "latency")
    body = [
        {"name": "kept", "listen": f"127.0.0.1:{port}", "upstream": "127.0.0.1:1"},
        {"name": "moved", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:2"},
        {"name": "new", "upstream": "127.0.0.1:3", "enabled": False},
    ]
    answer = api.call("POST", "/populate", body)
    assert (answer.status, answer.headers["Content-Type"]) == (201, JSON)
    kept, moved, new = json.loads(answer.text)["proxies"]
    assert (kept["name"], kept["enabled"], len(kept["toxics"])) == ("kept", False, 1)
    assert (moved["name"], moved["upstream"], moved["toxics"], moved["enabled"]) == ("moved", "127.0.0.1:2", [], True)
    assert (new["name"], new["enabled"]) == ("new", False)


def test_populate_stops_at_the_first_failure_and_says_what_it_did(api):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        body = [
            {"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"},
            {"name": "b", "listen": busy, "upstream": "127.0.0.1:1"},
            {"name": "c", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"},
        ]
        answer = api.call("POST", "/populate", body)
    assert (answer.status, answer.headers["Content-Type"]) == (500, JSON)
    found = json.loads(answer.text)
    assert (found["status"], [proxy["name"] for proxy in found["proxies"]]) == (500, ["a"])
    assert found["error"] == f"listen tcp {busy}: bind: address already in use"
    assert list(api.json("GET", "/proxies")) == ["a"]


def test_populate_checks_all_entries_first(api):
    body = [{"name": "a", "upstream": "127.0.0.1:1"}, {"name": "b"}]
    answer = api.call("POST", "/populate", body)
    assert (answer.status, json.loads(answer.text)) == (
        400,
        {"error": "missing required field: upstream at proxy 2", "status": 400, "proxies": None},
    )
    assert api.json("GET", "/proxies") == {}
    assert json.loads(api.call("POST", "/populate", []).text) == {"proxies": None}
    assert api.call("POST", "/populate", {"name": "a"}).status == 400


def test_reset_starts_every_proxy_and_removes_every_toxic_even_past_a_failure(api):
    busy_port = api.proxy("busy", "127.0.0.1:1")
    api.json("PATCH", "/proxies/busy", {"enabled": False})
    api.proxy("fine", "127.0.0.1:1", enabled=False)
    api.toxic("busy", "latency")
    api.toxic("fine", "latency")
    with socket.create_server(("127.0.0.1", busy_port)):
        answer = api.call("POST", "/reset")
    assert answer.status == 500
    proxies = api.json("GET", "/proxies")
    assert {name: (proxy["enabled"], proxy["toxics"]) for name, proxy in proxies.items()} == {
        "busy": (False, []),
        "fine": (True, []),
    }
    answer = api.call("POST", "/reset")
    assert (answer.status, answer.text) == (204, "")
    assert api.json("GET", "/proxies/busy")["enabled"] is True


def test_a_disabled_proxys_port_is_not_given_to_a_stranger(api):
    port = api.proxy("a", "127.0.0.1:1")
    api.json("PATCH", "/proxies/a", {"enabled": False})
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    assert api.json("PATCH", "/proxies/a", {"enabled": True})["listen"] == f"127.0.0.1:{port}"


def test_version_tells_ours_from_toxiproxy(api):
    answer = api.call("GET", "/version")
    assert (answer.status, answer.text) == (200, '{"version": "2.12.0-blackstart"}\n')
    assert answer.headers["Content-Type"] == "application/json;charset=utf-8"


def test_browsers_are_refused(api):
    answer = api.call("GET", "/proxies", headers={"User-Agent": "Mozilla/5.0"})
    assert (answer.status, answer.text) == (403, "User agent not allowed\n")
    assert answer.headers["Content-Type"] == PLAIN


@pytest.mark.parametrize(("method", "path"), [("PUT", "/proxies"), ("DELETE", "/proxies"), ("GET", "/reset")])
def test_other_methods_are_405(api, method, path):
    answer = api.call(method, path)
    assert (answer.status, answer.text) == (405, "")


def test_every_answer_has_an_id_of_its_own(api):
    ids = {api.call("GET", "/version").headers["X-Toxiproxy-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


def test_names_are_percent_decoded(api):
    api.proxy("a b/ü", "127.0.0.1:1")
    assert api.json("GET", "/proxies/a%20b%2F%C3%BC")["name"] == "a b/ü"


def test_options_beyond_toxiproxy(api):
    api.proxy("a", "127.0.0.1:1", blackstart={"http": True})
    assert api.json("GET", "/proxies/a")["blackstart"] == {"http": True, "mirror_refusal": False, "tls": False}
    changed = api.json("PATCH", "/proxies/a", {"blackstart": {"mirror_refusal": True}})
    assert changed["blackstart"] == {"http": True, "mirror_refusal": True, "tls": False}
    answer = api.call("POST", "/proxies/a/toxics", {"type": "http_error", "stream": "upstream"})
    assert answer.text == error("http_error acts on answers: its stream can only be downstream", 400)
    assert api.toxic("a", "http_error")["attributes"] == {"status": 503, "retry_after": 0, "as_date": 0}
    api.proxy("b", "127.0.0.1:1")
    answer = api.call("POST", "/proxies/b/toxics", {"type": "http_error"})
    assert answer.text == error("http_error acts on HTTP, and this proxy was made without the option http", 400)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET /version HTTP/1.0\r\n\r\n", 200),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /version HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /version HTTP/1.1\r\nX: " + b"y" * 70_000, 431),
        (b"POST /populate HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1;x=y\r\n]\r\n0\r\n\r\n", 201),
    ],
)
def test_framing(api, dial, raw, status):
    sock = dial(api.port)
    for start in range(0, len(raw), 30_000):
        sock.sendall(raw[start : start + 30_000])
    answer = b""
    while data := sock.recv(65536):
        answer += data
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_pipelined_requests_are_answered_in_order(api, dial):
    sock = dial(api.port)
    sock.sendall(
        b"GET /version HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    answer = b""
    while data := sock.recv(65536):
        answer += data
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"]
