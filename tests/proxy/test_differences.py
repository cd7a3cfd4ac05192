"""The documented differences, each shown on both servers: docs/fault-proxy.md lists them by these numbers."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.live, pytest.mark.slow]

DOCS = Path(__file__).parent.parent.parent / "docs" / "fault-proxy.md"


@pytest.fixture
def ports(both, upstream):
    """Ports of a proxy named a on each server, before one echoing upstream."""
    there = upstream()
    return {name: api.proxy("a", there.address) for name, api in both.items()}


def how_it_ended(sock, first: bytes = b"") -> str:
    """fin, rst, or open when nothing happens for a while; `first` is sent before."""
    sock.settimeout(0.4)
    try:
        if first:
            sock.sendall(first)
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return "rst"
    except TimeoutError:
        return "open"
    return "fin"


def test_1_steady_traffic_does_not_keep_a_timeout_from_its_end(both, ports, dial):
    ends = {}
    for name, api in both.items():
        api.toxic("a", "timeout", "upstream", timeout=200)
        sock = dial(ports[name])
        sock.setblocking(False)
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            try:
                sock.send(b"x")
                if sock.recv(1) == b"":
                    break
            except BlockingIOError:
                time.sleep(0.02)
            except ConnectionError:
                break
        ends[name] = time.monotonic() < end
    assert ends == {"embedded": True, "toxiproxy": False}


def test_2_a_reset_reaches_open_connections(both, ports, dial, tools):
    ends = {}
    for name, api in both.items():
        sock = dial(ports[name])
        tools.ping(sock)
        api.toxic("a", "reset_peer", timeout=0)
        ends[name] = how_it_ended(sock, b"x")
    assert ends == {"embedded": "rst", "toxiproxy": "fin"}


def test_2_a_reset_that_hits_nobody_resets_nobody(both, ports, dial, tools):
    ends = {}
    for name, api in both.items():
        api.toxic("a", "reset_peer", toxicity=0, timeout=0)
        sock = dial(ports[name])
        tools.ping(sock)
        sock.shutdown(socket.SHUT_WR)
        ends[name] = how_it_ended(sock)
    assert ends["embedded"] == "fin"
    assert ends["toxiproxy"] == "rst"


def test_3_reset_goes_on_past_a_proxy_that_will_not_start(both, upstream):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        left = {}
        for name, api in both.items():
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            body = {"name": "stuck", "listen": listen, "upstream": "127.0.0.1:1", "enabled": False}
            api.json("POST", "/proxies", body)
            for number in range(12):
                api.proxy(f"p{number}", "127.0.0.1:1")
            left[name] = 0
            for _ in range(5):  # Toxiproxy goes through its proxies in random order: 1 in 13 the stuck one comes last
                for number in range(12):
                    api.call("POST", f"/proxies/p{number}/toxics", {"type": "latency"})
                assert api.call("POST", "/reset").status == 500
                left[name] += sum(len(one["toxics"]) for one in api.json("GET", "/proxies").values())
    assert left["embedded"] == 0
    assert left["toxiproxy"] > 0


def test_6_one_direction_may_end_before_the_other(both, upstream, dial):
    def answer_after_the_end(sock):
        while sock.recv(65536):
            pass
        time.sleep(0.1)  # Toxiproxy has closed by then
        sock.sendall(b"all heard")

    there = upstream(answer_after_the_end)
    heard = {}
    for name, api in both.items():
        sock = dial(api.proxy("half", there.address))
        sock.sendall(b"question")
        sock.shutdown(socket.SHUT_WR)
        try:
            heard[name] = sock.recv(100)
        except ConnectionError:
            heard[name] = b""
    assert heard == {"embedded": b"all heard", "toxiproxy": b""}


def test_8_a_disabled_proxys_port_stays_reserved(both, ports):
    free = {}
    for name, api in both.items():
        api.json("PATCH", "/proxies/a", {"enabled": False})
        with socket.socket() as stranger:
            try:
                stranger.bind(("127.0.0.1", ports[name]))
                free[name] = True
            except OSError:
                free[name] = False
    assert free == {"embedded": False, "toxiproxy": True}


def test_10_a_bad_update_changes_nothing(both, ports):
    seen = {}
    for name, api in both.items():
        api.toxic("a", "latency", name="t", latency=1, jitter=1)
        body = b'{"attributes": {"latency": 9, "jitter": "x"}}'
        assert api.call("PATCH", "/proxies/a/toxics/t", body).status == 400
        seen[name] = api.json("GET", "/proxies/a/toxics/t")["attributes"]["latency"]
    assert seen == {"embedded": 1, "toxiproxy": 9}


def test_14_no_logger_in_a_proxy(both, ports):
    assert {name: "Logger" in api.json("GET", "/proxies/a") for name, api in both.items()} == {
        "embedded": False,
        "toxiproxy": True,
    }


def test_the_list_marks_what_is_shown_here():
    marked = set(re.findall(r"^(\d+)\. \(shown\)", DOCS.read_text(), re.M))
    here = set(re.findall(r"^def test_(\d+)_", Path(__file__).read_text(), re.M))
    assert marked == here
