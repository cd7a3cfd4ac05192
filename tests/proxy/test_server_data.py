"""What clients see through the proxy, with real sockets: each toxic, live edits, endings, back-pressure, counters."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.ports import free_port

pytestmark = pytest.mark.live


def silent(sock: socket.socket, for_s: float = 0.15) -> bool:
    """Whether nothing arrives for a while: no bytes, no end."""
    return not select.select([sock], [], [], for_s)[0]


def ended(sock: socket.socket, limit_s: float = 10) -> str:
    """How the stream ended: "eof" or "reset"."""
    sock.settimeout(limit_s)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "eof"


# --- plain


def test_bytes_pass_both_ways_and_half_close_is_passed_on(api, upstream, dial, tools):
    def shout_at_the_end(sock):
        got = b""
        while data := sock.recv(65536):
            got += data
        sock.sendall(got.upper())
        sock.shutdown(socket.SHUT_WR)

    sock = dial(api.proxy("a", upstream(shout_at_the_end).address))
    sock.sendall(b"hello")
    assert silent(sock, 0.05)
    sock.shutdown(socket.SHUT_WR)
    assert tools.read_exactly(sock, 100) == b"HELLO"
    tools.until(lambda: api.link("a")["connections"]["open"] == 0)


def test_an_upstream_that_speaks_first_is_heard(api, upstream, dial, tools):
    sock = dial(api.proxy("a", upstream(lambda sock: sock.sendall(b"220 ready")).address))
    assert tools.read_exactly(sock, 9) == b"220 ready"


def test_an_upstreams_reset_arrives_as_a_reset(api, upstream, dial):
    def reset(sock):
        sock.recv(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    sock = dial(api.proxy("a", upstream(reset).address))
    sock.sendall(b"x")
    assert ended(sock) == "reset"


@pytest.mark.slow
def test_ten_megabytes_arrive_whole_at_a_slow_reader_and_the_proxy_holds_little(api, upstream, dial, tools):
    blob = os.urandom(10_000_000)
    digest = hashlib.sha256(blob).digest()
    sock = dial(api.proxy("a", upstream(lambda sock: sock.sendall(blob)).address))
    received = hashlib.sha256()

    def steady():
        """The bytes that the proxy read, once nothing moves any more."""
        before = api.link("a")["received_bytes"]["downstream"]
        time.sleep(0.1)
        return api.link("a")["received_bytes"]["downstream"] == before and before

    assert tools.until(steady) < len(blob)  # nobody reads: the upstream is held up, not buffered without end
    count = 0
    while count < len(blob):
        data = sock.recv(65536)
        assert data
        count += len(data)
        received.update(data)
        if count < 300_000:
            time.sleep(0.005)
    assert received.digest() == digest


@pytest.mark.slow
def test_two_hundred_connections_at_once(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    socks = [dial(port) for _ in range(200)]
    for index, sock in enumerate(socks):
        sock.sendall(b"%03d" % index * 100)
    for index, sock in enumerate(socks):
        assert tools.read_exactly(sock, 300) == b"%03d" % index * 100
    link = api.link("a")
    assert link["connections"] == {"open": 200, "total": 200}
    assert link["received_bytes"] == link["sent_bytes"] == {"upstream": 60_000, "downstream": 60_000}


def test_disabling_resets_open_connections_and_refuses_new_ones(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    sock = dial(port)
    tools.ping(sock)
    api.json("PATCH", "/proxies/a", {"enabled": False})
    assert ended(sock) == "reset"
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    api.json("PATCH", "/proxies/a", {"enabled": True})
    tools.ping(dial(port))


def test_deleting_frees_the_port(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    sock = dial(port)
    tools.ping(sock)
    assert api.call("DELETE", "/proxies/a").status == 204
    assert ended(sock) == "reset"
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_reset_link_resets_what_is_open(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    sock = dial(port)
    tools.ping(sock)
    assert api.json("POST", "/blackstart/links/a/reset") == {"reset": 1}
    assert ended(sock) == "reset"
    tools.ping(dial(port))
    assert api.call("POST", "/blackstart/links/b/reset").status == 404


VICTIM = """
import signal, socket, sys
signal.alarm(60)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
kept = []
while True:
    sock, _ = server.accept()
    sock.sendall(sock.recv(5))
    kept.append(sock)
"""


@pytest.mark.parametrize(("unread", "end"), [(b"", "eof"), (b"a request in flight", "reset")])
def test_when_the_upstream_is_killed_clients_see_what_they_would_see_directly(api, dial, tools, unread, end):
    command = [sys.executable, "-c", VICTIM]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        try:
            target = int(victim.stdout.readline())
            port = api.proxy("a", f"127.0.0.1:{target}", blackstart={"mirror_refusal": True})
            direct, proxied = dial(target), dial(port)
            for sock in (direct, proxied):
                tools.ping(sock, b"hello")
                if unread:
                    sock.sendall(unread)
            tools.until(lambda: api.link("a")["sent_bytes"]["upstream"] == 5 + len(unread))
        finally:
            victim.kill()
    assert [ended(direct), ended(proxied)] == [end, end]
    with pytest.raises(ConnectionRefusedError):
        dial(target)
    with contextlib.suppress(ConnectionResetError):  # the one that finds out is reset, later ones are refused
        assert ended(dial(port)) == "reset"
    tools.until(lambda: not api.link("a")["listening"])
    with pytest.raises(ConnectionRefusedError):
        dial(port)


# --- latency


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_latency_delays_open_connections_and_its_removal_ends_that(api, upstream, dial, tools, stream):
    sock = dial(api.proxy("a", upstream().address))
    tools.ping(sock)
    api.toxic("a", "latency", stream=stream, latency=80)
    assert tools.ping(sock) >= 0.08
    api.json("PATCH", f"/proxies/a/toxics/latency_{stream}", {"attributes": {"latency": 160}})
    assert tools.ping(sock) >= 0.16
    api.untoxic("a", f"latency_{stream}")
    assert min(tools.ping(sock) for _ in range(20)) < 0.08


def test_latency_keeps_the_order_under_jitter(api, upstream, dial, tools):
    api_port = api.proxy("a", upstream().address)
    api.toxic("a", "latency", latency=15, jitter=15)
    sock = dial(api_port)
    sent = b"".join(b"%04d" % number for number in range(60))
    for number in range(60):
        sock.sendall(b"%04d" % number)
        time.sleep(0.001)
    assert tools.read_exactly(sock, len(sent)) == sent


def test_removing_latency_lets_what_waits_go_at_once(api, upstream, dial, tools):
    sock = dial(api.proxy("a", upstream().address))
    tools.ping(sock)
    api.toxic("a", "latency", latency=60_000)
    sock.sendall(b"late")
    tools.until(lambda: api.link("a")["held_bytes"]["downstream"] == 4)
    api.untoxic("a", "latency_downstream")
    assert tools.read_exactly(sock, 4) == b"late"


def test_an_edit_of_latency_moves_what_waits(api, upstream, dial, tools):
    sock = dial(api.proxy("a", upstream().address))
    tools.ping(sock)
    api.toxic("a", "latency", latency=60_000)
    sock.sendall(b"late")
    tools.until(lambda: api.link("a")["held_bytes"]["downstream"] == 4)
    api.json("PATCH", "/proxies/a/toxics/latency_downstream", {"attributes": {"latency": 1}})
    assert tools.read_exactly(sock, 4) == b"late"


def test_toxics_of_one_direction_add_up_in_a_chain(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    for name in ("one", "two", "three"):
        api.toxic("a", "latency", name=name, latency=40)
    sock = dial(port)
    assert tools.ping(sock) >= 0.12
    api.untoxic("a", "two")
    assert tools.ping(sock) >= 0.08
    assert api.call("POST", "/reset").status == 204
    assert min(tools.ping(sock) for _ in range(20)) < 0.08


# --- bandwidth, slicer


def test_bandwidth_limits_the_rate(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "bandwidth", rate=100)  # KB/s
    sock = dial(port)
    assert tools.ping(sock, b"x" * 30_000) >= 0.3


def test_bandwidth_zero_stalls_and_its_removal_delivers(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    for rate in (0, -5):
        api.toxic("a", "bandwidth", rate=rate)
        sock = dial(port)
        sock.sendall(b"stalled")
        assert silent(sock)
        api.untoxic("a", "bandwidth_downstream")
        assert tools.read_exactly(sock, 7) == b"stalled"


def test_bandwidth_raised_speeds_up_what_waits(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "bandwidth", rate=1)
    sock = dial(port)
    sock.sendall(b"x" * 50_000)  # 50 s at that rate
    tools.until(lambda: api.link("a")["held_bytes"]["downstream"] > 10_000)
    api.json("PATCH", "/proxies/a/toxics/bandwidth_downstream", {"attributes": {"rate": 1_000_000}})
    assert tools.read_exactly(sock, 50_000) == b"x" * 50_000


@pytest.mark.slow
def test_a_megabyte_through_every_delaying_toxic_arrives_whole(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    for stream in ("upstream", "downstream"):
        api.toxic("a", "latency", stream=stream, latency=5, jitter=5)
        api.toxic("a", "slicer", stream=stream, average_size=1000, size_variation=300, delay=5)
        api.toxic("a", "bandwidth", stream=stream, rate=20_000)
    blob = os.urandom(1_000_000)
    sock = dial(port, timeout=60)
    sender = threading.Thread(target=sock.sendall, args=(blob,))
    sender.start()
    assert tools.read_exactly(sock, len(blob)) == blob
    sender.join()


def test_slicer_spaces_pieces_out(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "slicer", average_size=10, size_variation=0, delay=20_000)
    sock = dial(port)
    pieces = []
    began = time.monotonic()
    sock.sendall(b"0123456789" * 8)
    while sum(map(len, pieces)) < 80:
        pieces.append(sock.recv(100))
    assert b"".join(pieces) == b"0123456789" * 8
    assert time.monotonic() - began >= 7 * 0.02
    assert len(pieces) > 1


def test_slicing_to_single_bytes_does_not_hold_up_the_control_api(api, upstream, dial):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "slicer", average_size=1, size_variation=5, delay=0)
    api.toxic("a", "slicer", name="none", average_size=0)
    sock = dial(port)
    sock.sendall(b"x" * 60_000)
    began = time.monotonic()
    for _ in range(5):
        api.link("a")
    assert time.monotonic() - began < 5
    got = 0
    while got < 60_000:
        got += len(sock.recv(65536))


# --- timeout, slow_close, limit_data


def test_timeout_zero_swallows_for_ever_and_its_removal_closes(api, upstream, dial, tools):
    sock = dial(api.proxy("a", upstream().address))
    tools.ping(sock)
    api.toxic("a", "timeout", timeout=0)
    sock.sendall(b"gone")
    assert silent(sock)
    api.untoxic("a", "timeout_downstream")
    assert ended(sock) == "eof"


def test_timeout_cuts_steady_traffic_at_its_deadline(api, upstream, dial, tools):
    """Toxiproxy re-arms the timer on each chunk and never cuts this."""
    sock = dial(api.proxy("a", upstream().address))
    tools.ping(sock)
    began = time.monotonic()
    api.toxic("a", "timeout", stream="upstream", timeout=200)
    with contextlib.suppress(OSError):
        while time.monotonic() - began < 10:
            sock.sendall(b"x")
            if select.select([sock], [], [], 0.01)[0]:
                break
    assert 0.2 <= time.monotonic() - began < 10
    assert ended(sock) in ("eof", "reset")  # a byte of ours may have met the closed socket


def test_slow_close_delays_the_end_only(api, upstream, dial, tools):
    port = api.proxy("a", upstream(lambda sock: sock.sendall(b"bye") or sock.shutdown(socket.SHUT_WR)).address)
    api.toxic("a", "slow_close", delay=200)
    began = time.monotonic()
    sock = dial(port)
    assert tools.read_exactly(sock, 3) == b"bye"
    assert ended(sock) == "eof"
    assert time.monotonic() - began >= 0.2


def test_removing_slow_close_ends_at_once(api, upstream, dial, tools):
    port = api.proxy("a", upstream(lambda sock: sock.sendall(b"bye") or sock.shutdown(socket.SHUT_WR)).address)
    api.toxic("a", "slow_close", delay=600_000)
    sock = dial(port)
    assert tools.read_exactly(sock, 3) == b"bye"
    tools.until(lambda: api.link("a")["toxics"][0]["affected"] == 1)
    api.untoxic("a", "slow_close_downstream")
    assert ended(sock) == "eof"


def test_limit_data_closes_after_its_bytes_and_counts_over_edits(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "limit_data", bytes=10)
    sock = dial(port)
    tools.ping(sock, b"abcd")
    api.json("PATCH", "/proxies/a/toxics/limit_data_downstream", {"attributes": {"bytes": 6}})
    sock.sendall(b"efgh")
    assert tools.read_exactly(sock, 100) == b"ef"
    api.json("PATCH", "/proxies/a/toxics/limit_data_downstream", {"attributes": {"bytes": 0}})
    sock = dial(port)
    sock.sendall(b"x")
    assert ended(sock) == "eof"


# --- reset_peer


def test_reset_peer_resets_open_connections_at_once(api, upstream, dial, tools):
    """Toxiproxy closes these with FIN, and only after their next chunk."""
    sock = dial(api.proxy("a", upstream().address))
    tools.ping(sock)
    api.toxic("a", "reset_peer", timeout=0)
    assert ended(sock) == "reset"
    assert api.link("a")["toxics"][0]["affected"] == 1


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_reset_peer_resets_new_connections_after_their_first_chunk(api, upstream, dial, stream):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "reset_peer", stream=stream, timeout=100)
    sock = dial(port)
    assert silent(sock)
    began = time.monotonic()
    sock.sendall(b"x")
    assert ended(sock) == "reset"
    assert time.monotonic() - began >= 0.1


def test_reset_peer_removed_in_time_loses_nothing(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "reset_peer", stream="upstream", timeout=60_000)
    sock = dial(port)
    sock.sendall(b"held")
    tools.until(lambda: api.link("a")["held_bytes"]["upstream"] == 4)
    api.untoxic("a", "reset_peer_upstream")
    assert tools.read_exactly(sock, 4) == b"held"


# --- toxicity


def hit(api, tools, dial, port, count):
    """Which of `count` new connections, opened one after the other, feel `timeout` upstream."""
    found = []
    for _ in range(count):
        sock = dial(port)
        sock.sendall(b"x")
        link_before = len(found)
        tools.until(lambda link_before=link_before: api.link("a")["connections"]["total"] > link_before)
        found.append(silent(sock, 0.1))
    return found


@pytest.mark.slow
def test_toxicity_is_drawn_per_connection_from_the_seed(upstream, dial, tools):
    seen = []
    for seed in ("1", "1", "2"):
        with tools.running_server("--seed", seed) as running:
            port = running.api.proxy("a", upstream().address)
            running.api.toxic("a", "timeout", stream="upstream", toxicity=0.5)
            seen.append(hit(running.api, tools, dial, port, 12))
            assert running.api.link("a")["toxics"][0]["affected"] == sum(seen[-1])
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    assert 0 < sum(seen[0]) < 12


def test_a_neighbours_edit_does_not_draw_again(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    api.toxic("a", "latency", stream="upstream", toxicity=0.5, latency=60_000)
    socks = [dial(port) for _ in range(12)]
    for sock in socks:
        sock.sendall(b"x")
    tools.until(lambda: sum(api.link("a")["received_bytes"].values()) >= 12)
    before = [silent(sock, 0.05) for sock in socks]
    assert 0 < sum(before) < 12
    for round_ in range(5):
        api.toxic("a", "noop", stream="upstream", name=f"n{round_}")
    api.untoxic("a", "n2")
    for sock in socks:
        sock.sendall(b"y")
    for sock, slow in zip(socks, before, strict=True):
        if slow:
            assert silent(sock, 0.02)
        else:
            assert tools.read_exactly(sock, 2) == b"xy"


def test_toxicity_changes_on_open_connections(api, upstream, dial, tools):
    sock = dial(api.proxy("a", upstream().address))
    api.toxic("a", "latency", toxicity=0, latency=60_000)
    tools.ping(sock)
    api.json("PATCH", "/proxies/a/toxics/latency_downstream", {"toxicity": 1})
    sock.sendall(b"late")
    tools.until(lambda: api.link("a")["held_bytes"]["downstream"] == 4)
    api.json("PATCH", "/proxies/a/toxics/latency_downstream", {"toxicity": 0})
    assert tools.read_exactly(sock, 4) == b"late"


# --- partition


def cut(api, stream):
    for one in ("upstream", "downstream"):
        if stream in (one, "both"):
            api.toxic("a", "partition", stream=one, hold=60_000)


def heal(api):
    for toxic in api.json("GET", "/proxies/a/toxics"):
        api.untoxic("a", toxic["name"])


@pytest.mark.parametrize("stream", ["both", "upstream", "downstream"])
def test_a_partition_silences_open_connections_and_heals_without_loss(api, upstream, dial, tools, stream):
    server = upstream()
    sock = dial(api.proxy("a", server.address))
    tools.ping(sock)
    cut(api, stream)
    sock.sendall(b"during the cut")
    assert silent(sock)
    heal(api)
    assert tools.read_exactly(sock, 14) == b"during the cut"
    tools.ping(sock)


def test_new_connects_during_a_partition_are_not_answered_and_are_served_after_it(api, upstream, dial, tools):
    server = upstream()
    port = api.proxy("a", server.address)
    cut(api, "both")
    first = dial(port)
    first.sendall(b"hello")
    with pytest.raises(TimeoutError):
        for _ in range(3):
            dial(port, timeout=0.2)
    assert server.accepted == []
    assert silent(first, 0.05)
    heal(api)
    assert tools.read_exactly(first, 5) == b"hello"
    tools.ping(dial(port))


def test_a_partition_older_than_hold_heals_with_a_reset(api, upstream, dial, tools):
    sock = dial(api.proxy("a", upstream().address))
    tools.ping(sock)
    api.toxic("a", "partition", stream="upstream")  # hold: the server's 400 ms
    since = time.monotonic()
    assert silent(sock, 0.45)
    tools.until(lambda: time.monotonic() - since > 0.45)
    api.untoxic("a", "partition_upstream")
    assert ended(sock) == "reset"


def test_neither_the_end_nor_the_reset_of_a_stream_crosses_a_partition(api, upstream, dial, tools):
    server = upstream()
    port = api.proxy("a", server.address)
    ending, dying = dial(port), dial(port)
    tools.ping(ending)
    tools.ping(dying)
    tools.until(lambda: len(server.accepted) == 2)
    cut(api, "upstream")
    ending.shutdown(socket.SHUT_WR)
    dying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    dying.close()
    assert silent(ending)
    assert api.link("a")["connections"]["open"] == 2
    heal(api)
    assert ended(ending) == "eof"
    tools.until(lambda: api.link("a")["connections"]["open"] == 0)


def test_a_one_way_partition_lets_the_other_way_pass(api, upstream, dial, tools):
    said = threading.Event()

    def speak(sock):
        said.wait(10)
        sock.sendall(b"news")
        sock.recv(10)

    sock = dial(api.proxy("a", upstream(speak).address))
    tools.until(lambda: api.link("a")["connections"]["open"] == 1)
    cut(api, "upstream")
    said.set()
    assert tools.read_exactly(sock, 4) == b"news"


# --- refusal


def test_without_mirroring_a_dead_upstream_accepts_and_ends(api, dial):
    port = api.proxy("a", f"127.0.0.1:{free_port()}")
    for _ in range(3):
        with contextlib.suppress(ConnectionResetError):  # the reset may be in before connect() has looked
            assert ended(dial(port)) in ("eof", "reset")
    assert api.link("a")["refused"] == 3


def test_mirrored_refusal_closes_the_listener_until_the_upstream_is_back(api, upstream, dial, tools):
    target = free_port()
    port = api.proxy("a", f"127.0.0.1:{target}", blackstart={"mirror_refusal": True})
    with contextlib.suppress(ConnectionResetError):
        assert ended(dial(port)) == "reset"
    tools.until(lambda: not api.link("a")["listening"])
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    shown = api.json("GET", "/proxies/a")
    assert (shown["enabled"], shown["listen"]) == (True, f"127.0.0.1:{port}")
    assert api.link("a")["refusing_since_ns"] is not None
    upstream(port=target)
    tools.until(lambda: api.link("a")["listening"])
    tools.ping(dial(port))
    assert api.link("a")["refusing_since_ns"] is None


def test_mirrored_refusal_ends_with_disable_and_with_the_option(api, dial, tools):
    port = api.proxy("a", f"127.0.0.1:{free_port()}", blackstart={"mirror_refusal": True})
    with contextlib.suppress(ConnectionResetError):
        ended(dial(port))
    tools.until(lambda: not api.link("a")["listening"])
    api.json("PATCH", "/proxies/a", {"enabled": False})
    api.json("PATCH", "/proxies/a", {"enabled": True})
    assert api.link("a")["listening"] is True
    with contextlib.suppress(ConnectionResetError):
        ended(dial(port))
    tools.until(lambda: not api.link("a")["listening"])
    api.json("PATCH", "/proxies/a", {"blackstart": {"mirror_refusal": False}})
    assert api.link("a")["listening"] is True


def test_one_upstream_that_never_answers_does_not_hold_up_another_client(api, upstream, dial, tools):
    with socket.socket() as deaf, socket.socket() as fills_the_backlog:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fills_the_backlog.connect(deaf.getsockname())
        port = api.proxy("a", f"127.0.0.1:{deaf.getsockname()[1]}")
        dial(port).sendall(b"x")
        api.json("PATCH", "/proxies/a", {})
        tools.until(lambda: api.link("a")["connections"]["open"] == 1)
        other = api.proxy("b", upstream().address)
        tools.ping(dial(other))
        dial(port)
        tools.until(lambda: api.link("a")["connections"]["total"] == 2)
        assert api.call("DELETE", "/proxies/a").status == 204  # and closes both


# --- counters


def test_witness_connections_count_apart(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    tools.ping(dial(port), b"12345")
    source = free_port()
    assert api.json("POST", "/blackstart/witness", {"source_port": source}) == {"source_port": source}
    tools.ping(dial(port, source_port=source), b"1234567")
    link = api.link("a")
    assert link["connections"] == {"open": 1, "total": 1}
    assert link["received_bytes"] == {"upstream": 5, "downstream": 5}
    assert link["witness"]["connections"] == {"open": 1, "total": 1}
    assert link["witness"]["sent_bytes"] == {"upstream": 7, "downstream": 7}
    for bad in (0, 70_000, "x"):
        assert api.call("POST", "/blackstart/witness", {"source_port": bad}).status == 400


def test_counters_are_live_and_outlive_connections(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    sock = dial(port)
    tools.ping(sock, b"12345")
    assert api.link("a")["received_bytes"]["upstream"] == 5
    sock.close()
    tools.until(lambda: api.link("a")["connections"] == {"open": 0, "total": 1})
    assert api.link("a")["sent_bytes"] == {"upstream": 5, "downstream": 5}


def test_toxics_carry_their_time_and_whom_they_touched(api, upstream, dial, tools):
    port = api.proxy("a", upstream().address)
    sock = dial(port)
    tools.ping(sock)
    before_ns = time.monotonic_ns()
    api.toxic("a", "latency", latency=1)
    after_ns = time.monotonic_ns()
    (toxic,) = api.link("a")["toxics"]
    assert before_ns <= toxic["since_ns"] <= after_ns
    assert (toxic["affected"], toxic["updated_ns"]) == (0, toxic["since_ns"])
    tools.ping(sock)
    tools.ping(sock)
    assert api.link("a")["toxics"][0]["affected"] == 1
    api.json("PATCH", "/proxies/a/toxics/latency_downstream", {"attributes": {"latency": 2}})
    (toxic,) = api.link("a")["toxics"]
    assert toxic["since_ns"] < toxic["updated_ns"]


# --- the process


def test_the_ready_line_the_pid_file_and_a_clean_end(tools, tmp_path):
    pid_file = tmp_path / "proxy.pid"
    with tools.running_server("--pid-file", str(pid_file), "--hold", "3s", "--seed", "5") as running:
        ready = running.ready
        assert (ready["host"], ready["version"], ready["hold_ms"], ready["seed"]) == (
            "127.0.0.1",
            "2.12.0-blackstart",
            3000,
            5,
        )
        assert int(pid_file.read_text()) == ready["pid"] == running.process.pid
        running.process.terminate()
        assert running.process.wait(10) == 0
    assert not pid_file.exists()


def test_a_closed_standard_input_ends_it_with_connections_open(upstream, dial, tools):
    with tools.running_server() as running:
        sock = dial(running.api.proxy("a", upstream().address))
        tools.ping(sock)
        running.process.stdin.close()
        assert running.process.wait(10) == 0
        assert ended(sock) == "reset"
