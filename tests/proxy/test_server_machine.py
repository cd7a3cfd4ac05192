"""Random API commands against a small model, with traffic after each: the server answers, agrees, and never hangs."""

from __future__ import annotations

import socket
import time
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

pytestmark = [pytest.mark.live, pytest.mark.slow]

NAMES = st.sampled_from(["a", "b c"])
TOXIC_NAMES = st.sampled_from(["", "t1", "t2"])
STREAMS = st.sampled_from(["upstream", "downstream"])
TOXICITY = st.sampled_from([0, 0.5, 1])
ATTRIBUTES = {
    "bandwidth": {"rate": 0},
    "latency": {"latency": 0, "jitter": 0},
    "limit_data": {"bytes": 0},
    "noop": {},
    "partition": {"hold": 400},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 0, "size_variation": 0, "delay": 0},
    "slow_close": {"delay": 0},
    "timeout": {"timeout": 0},
}
NUMBERS = st.sampled_from([-1, 0, 1, 5, 300])


class Commands(RuleBasedStateMachine):
    """The model: name -> what GET should show, with the toxics of each direction in order."""

    api = None
    upstream = None

    def __init__(self):
        super().__init__()
        self.model = {}
        self.socks = {}

    def teardown(self):
        for sock in self.socks.values():
            sock.close()
        for name in self.model:
            self.api.call("DELETE", f"/proxies/{quote(name)}")

    def send(self, method, path, body=None):
        began = time.monotonic()
        answer = self.api.call(method, path, body)
        assert time.monotonic() - began < 3
        assert answer.status != 503
        return answer

    @rule(name=NAMES, enabled=st.booleans(), mirror=st.booleans())
    def create(self, name, enabled, mirror):
        body = {"name": name, "listen": "127.0.0.1:0", "upstream": self.upstream, "enabled": enabled}
        answer = self.send("POST", "/proxies", {**body, "blackstart": {"mirror_refusal": mirror}})
        if name in self.model:
            assert answer.status == 409
        else:
            assert answer.status == 201
            self.model[name] = {"enabled": enabled, "mirror": mirror, "upstream": [], "downstream": []}

    @rule(name=NAMES)
    def delete(self, name):
        answer = self.send("DELETE", f"/proxies/{quote(name)}")
        assert answer.status == (204 if self.model.pop(name, None) else 404)

    @rule(name=NAMES, enabled=st.booleans(), method=st.sampled_from(["POST", "PATCH"]))
    def switch(self, name, enabled, method):
        answer = self.send(method, f"/proxies/{quote(name)}", {"enabled": enabled})
        assert answer.status == (200 if name in self.model else 404)
        if name in self.model:
            self.model[name]["enabled"] = enabled

    @rule(name=NAMES, type_name=st.sampled_from(sorted(ATTRIBUTES)), stream=STREAMS, toxic=TOXIC_NAMES, share=TOXICITY,
          value=NUMBERS)  # fmt: skip
    def add(self, name, type_name, stream, toxic, share, value):
        attributes = dict.fromkeys(ATTRIBUTES[type_name], value)
        body = {"name": toxic, "type": type_name, "stream": stream, "toxicity": share, "attributes": attributes}
        answer = self.send("POST", f"/proxies/{quote(name)}/toxics", body)
        called = toxic or f"{type_name}_{stream}"
        if name not in self.model:
            assert answer.status == 404
        elif any(one["name"] == called for one in self.toxics(name)):
            assert answer.status == 409
        else:
            assert answer.status == 200
            self.model[name][stream].append({**body, "name": called})

    def toxics(self, name):
        return self.model[name]["upstream"] + self.model[name]["downstream"]

    @precondition(lambda self: any(self.toxics(name) for name in self.model))
    @rule(data=st.data(), share=TOXICITY, value=NUMBERS)
    def edit(self, data, share, value):
        name = data.draw(st.sampled_from([name for name in self.model if self.toxics(name)]))
        toxic = data.draw(st.sampled_from(self.toxics(name)))
        attributes = dict.fromkeys(list(toxic["attributes"])[:1], value)
        path = f"/proxies/{quote(name)}/toxics/{toxic['name']}"
        assert self.send("PATCH", path, {"toxicity": share, "attributes": attributes}).status == 200
        toxic["toxicity"] = share
        toxic["attributes"] = {**toxic["attributes"], **attributes}

    @precondition(lambda self: any(self.toxics(name) for name in self.model))
    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from([name for name in self.model if self.toxics(name)]))
        toxic = data.draw(st.sampled_from(self.toxics(name)))
        assert self.send("DELETE", f"/proxies/{quote(name)}/toxics/{toxic['name']}").status == 204
        self.model[name][toxic["stream"]].remove(toxic)

    @rule()
    def reset(self):
        assert self.send("POST", "/reset").status == 204
        for model in self.model.values():
            model.update(enabled=True, upstream=[], downstream=[])

    @rule(name=NAMES)
    def traffic(self, name):
        """Leave bytes and a connection behind, whatever comes of it."""
        shown = self.send("GET", f"/proxies/{quote(name)}")
        if shown.status != 200 or not self.model[name]["enabled"]:
            return
        port = int(self.api.json("GET", f"/proxies/{quote(name)}")["listen"].rpartition(":")[2])
        sock = self.socks.pop(name, None)
        try:
            if sock is None:
                sock = socket.create_connection(("127.0.0.1", port), timeout=0.05)
            sock.sendall(b"x" * 2000)
        except OSError:
            if sock is not None:
                sock.close()
        else:
            self.socks[name] = sock

    @rule()
    def after_a_reset_traffic_flows(self):
        self.reset()
        for name in self.model:
            port = int(self.api.json("GET", f"/proxies/{quote(name)}")["listen"].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                sock.sendall(b"hello")
                got = b""
                while len(got) < 5:
                    more = sock.recv(5)
                    assert more
                    got += more
                assert got == b"hello"

    @invariant()
    def agrees(self):
        shown = self.api.json("GET", "/proxies")
        assert shown.keys() == self.model.keys()
        for name, proxy in shown.items():
            assert proxy["enabled"] == self.model[name]["enabled"]
            assert proxy["toxics"] == self.toxics(name)
            assert proxy["blackstart"]["mirror_refusal"] == self.model[name]["mirror"]
        links = self.api.json("GET", "/blackstart/links")["links"]
        for link in links.values():
            for stream in ("upstream", "downstream"):
                assert link["sent_bytes"][stream] + link["held_bytes"][stream] <= link["received_bytes"][stream]


def test_random_commands(api, upstream):
    Commands.api = api
    Commands.upstream = upstream().address
    run_state_machine_as_test(
        Commands,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), derandomize=True,
        ),
    )  # fmt: skip
