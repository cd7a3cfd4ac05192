"""The same random commands to both servers, ours and Shopify's: the same answers, and the same fate of the same traffic.

Kept out: what docs/fault-proxy.md lists as different, and what crashes or hangs Toxiproxy. Every example ends with each
open link being talked to; connections are closed before the next command, since removing a toxic under a live
connection is what Toxiproxy can hang on.
"""

from __future__ import annotations

import json
import re
import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.live, pytest.mark.slow]

NAMES = st.sampled_from(["a", "b"])
TOXICS = st.sampled_from(["t", "u", ""])
STREAMS = st.sampled_from(["upstream", "downstream", "downstream", "Upstream", "sideways"])
TOXICITY = st.sampled_from([0, 1, 1, 1])
BAD_ATTRIBUTES = st.sampled_from([{"latency": "x"}, {"latency": 1.5}, {"unknown": 1}, None, [], {"latency": None}])
ATTRIBUTES = st.one_of(
    st.tuples(st.just("latency"), st.fixed_dictionaries({}, optional={"latency": st.sampled_from([0, 10]), "jitter": st.just(0)})),
    st.tuples(st.just("bandwidth"), st.fixed_dictionaries({"rate": st.sampled_from([0, 1000])})),
    st.tuples(st.just("slow_close"), st.fixed_dictionaries({}, optional={"delay": st.sampled_from([0, 10])})),
    st.tuples(st.just("timeout"), st.fixed_dictionaries({"timeout": st.sampled_from([0, 30])})),
    st.tuples(st.just("slicer"), st.fixed_dictionaries({"average_size": st.sampled_from([50, 500]), "delay": st.just(1)})),
    st.tuples(st.just("limit_data"), st.fixed_dictionaries({"bytes": st.sampled_from([0, 100, 5000])})),
    st.tuples(st.just("reset_peer"), st.fixed_dictionaries({"timeout": st.sampled_from([0, 10])})),
    st.tuples(st.just("latency"), BAD_ATTRIBUTES),
    st.tuples(st.sampled_from(["nonsense", "", "noop"]), st.just({})),
)  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"{", b"[]", b"null", b"3", b"{}", b'{"name": 3}', b'{"enabled": "yes"}', b'{"toxicity": "x"}', b'"x"']
)


def proxy(name, enabled):
    return {"name": name, "listen": "127.0.0.1:0", "upstream": "UPSTREAM", "enabled": enabled}


def call(method, *parts, body=None):
    path = st.tuples(*(part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts))
    return st.tuples(st.just(method), path, st.none() if body is None else body)


ENTRY = st.one_of(
    st.builds(proxy, NAMES, st.booleans()),
    st.builds(lambda name: {**proxy(name, True), "listen": "SAME"}, NAMES),
    st.sampled_from([{"name": "a"}, {"upstream": "x:1"}, 3]),
)
NEW_TOXIC = st.builds(
    lambda name, kind, stream, share: {"name": name, "type": kind[0], "attributes": kind[1], "stream": stream, "toxicity": share},
    TOXICS, ATTRIBUTES, STREAMS, TOXICITY,
)  # fmt: skip
COMMANDS = st.one_of(
    call("POST", "proxies", body=st.builds(proxy, NAMES, st.booleans())),
    call("POST", "proxies", body=st.sampled_from(["a", "b"]).map(lambda name: proxy(name, True))),
    call("POST", "proxies", NAMES, "toxics", body=NEW_TOXIC),
    call("POST", "proxies", NAMES, "toxics", body=NEW_TOXIC),
    call("POST", "proxies", NAMES, "toxics", body=NEW_TOXIC),
    call("PATCH", "proxies", NAMES, "toxics", TOXICS, body=st.builds(lambda share: {"toxicity": share}, TOXICITY)),
    call("DELETE", "proxies", NAMES, "toxics", TOXICS),
    call("PATCH", "proxies", NAMES, body=st.builds(lambda on: {"enabled": on}, st.booleans())),
    call("POST", "proxies", NAMES, body=st.just({"enabled": True})),
    call("DELETE", "proxies", NAMES),
    call("GET", "proxies", NAMES),
    call("GET", "proxies", NAMES, "toxics"),
    call("GET", "proxies", NAMES, "toxics", TOXICS),
    call("POST", "populate", body=st.lists(ENTRY, max_size=3)),
    call("POST", "reset"),
    call("POST", "proxies", body=BODIES),
    call("POST", "populate", body=BODIES),
    call("PATCH", "proxies", NAMES, body=BODIES),
    call("POST", "proxies", NAMES, "toxics", body=BODIES),
    call("PUT", "proxies", NAMES),
    call("GET", "proxies", "c d", "x"),
)


def sent(api, command, upstream):
    """What the server answered, with what may differ made the same."""
    method, parts, body = command
    if body is not None and not isinstance(body, bytes):
        shown = api.json("GET", "/proxies")
        text = json.dumps(body).replace("UPSTREAM", upstream)
        if "SAME" in text:
            known = re.findall(r'"name": "(\w)"', text)
            text = text.replace("SAME", next((shown[name]["listen"] for name in known if name in shown), "127.0.0.1:0"))
        body = text.encode()
    answer = api.call(method, "/" + "/".join(part.replace(" ", "%20") for part in parts), body)
    return answer.status, answer.headers.get("Content-Type"), same(answer.text)


def same(text):
    try:
        value = plain(json.loads(text))
    except ValueError:
        return text
    if isinstance(value, dict) and str(value.get("error")).startswith("bad request body: "):
        value["error"] = "bad request body: "
    return value


def plain(value):
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in ("Logger", "blackstart")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return re.sub(r"127\.0\.0\.1:[1-9]\d*", "127.0.0.1:PORT", value) if isinstance(value, str) else value


PAYLOAD = bytes(range(256)) * 8


def fate(listen, quiet_s, counted):
    """What became of a payload sent through a link: how much came back, and whether that was the end."""
    host, _, port = listen.rpartition(":")
    got, end = b"", "quiet"
    try:
        with socket.create_connection((host, int(port)), timeout=5) as sock:
            sock.sendall(PAYLOAD)
            sock.settimeout(quiet_s)
            while len(got) < len(PAYLOAD):
                more = sock.recv(65536)
                if not more:
                    end = "ended"
                    break
                got += more
            else:
                end = "whole"
    except TimeoutError:
        pass
    except ConnectionRefusedError:
        end = "refused"
    except ConnectionError:
        end = "ended"
    assert PAYLOAD.startswith(got)
    return end, len(got) if counted else None


def countable(shown):
    """Whether how much comes back is certain: an end on the way up races with the echo of what passed before."""
    ending = {"limit_data", "timeout", "reset_peer"}
    return not any(toxic["type"] in ending and toxic["stream"].lower() == "upstream" for toxic in shown["toxics"])


def test_the_same_commands_get_the_same_answers_and_the_same_traffic(both, upstream):
    ours, theirs = both["embedded"], both["toxiproxy"]
    there = upstream().address
    counted = {"commands": 0, "links": 0}

    @settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(COMMANDS, min_size=5, max_size=14))
    def run(commands):
        for api in (ours, theirs):
            for name in api.json("GET", "/proxies"):
                api.call("DELETE", f"/proxies/{name}")
        for command in commands:
            assert sent(ours, command, there) == sent(theirs, command, there), command
            counted["commands"] += 1
        links = {api: api.json("GET", "/proxies") for api in (ours, theirs)}
        assert plain(links[ours]) == plain(links[theirs])
        for name, shown in links[theirs].items():
            if not shown["enabled"]:
                continue
            seen = None
            for quiet_s in (0.1, 0.5, 3):  # a busy machine may need longer: what differs then, differs
                fates = [fate(links[api][name]["listen"], quiet_s, countable(shown)) for api in (ours, theirs)]
                seen = fates
                if fates[0] == fates[1]:
                    break
            assert seen[0] == seen[1], (name, shown["toxics"])
            counted["links"] += 1

    began = time.monotonic()
    run()
    assert counted["commands"] > 500
    assert counted["links"] > 20
    assert time.monotonic() - began < 100
