"""Addresses: free, distinct, outside the range of outgoing connections; where links lead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UnsafeError
from harness.model.stack import HostSpec, Instance, Link, Stack
from harness.stacks.claims import Claims
from harness.stacks.wire import allocate, upstream

SPEC = HostSpec(kind="process", params={"process": ["x"]})


def stack(**more) -> Stack:
    instances = {
        "edge": Instance(name="edge", host=SPEC, ports={"http": None, "admin": None}),
        "db": Instance(name="db", host=SPEC, ports={"pg": 5432}, address="127.0.1.1"),
        "llm": Instance(name="llm", host=HostSpec(kind="external", params={"external": "https://llm.internal:8443"})),
    }
    links = {
        "db": Link(name="db", source="edge", to="db", to_port="pg", listen="127.0.0.1:15432"),
        "llm": Link(name="llm", source="edge", to="llm"),
    }
    return Stack(**{"name": "s", "base_dir": "/", "instances": instances, "links": links, **more})


def test_gives_free_ports_and_keeps_fixed_ones(tmp_path: Path) -> None:
    wiring = allocate(stack(), str(tmp_path))
    assert wiring.ports["db"] == {"pg": 5432}
    assert wiring.address("db", "pg") == "127.0.1.1:5432"
    assert wiring.addresses == {"edge": "127.0.0.1", "db": "127.0.1.1", "llm": "llm.internal"}
    assert wiring.links["db"] == "127.0.0.1:15432"
    given = [*wiring.ports["edge"].values(), int(wiring.links["llm"].rpartition(":")[2])]
    assert len(set(given)) == 3
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    for port in given:
        assert not int(low) <= port <= int(high)
        with socket.create_server(("127.0.0.1", port)):
            pass  # free: it was held only while the others were chosen
    assert wiring.text("${dir}", instance="edge") == str(tmp_path / "dirs" / "edge")
    assert os.listdir(tmp_path) == [], "folders are made when an instance starts"


def test_many_ports_are_all_different(tmp_path: Path) -> None:
    names = {f"p{number}": None for number in range(300)}
    instances = {
        "a": Instance(name="a", host=SPEC, ports=names),
        "b": Instance(name="b", host=SPEC, ports=names, address="127.0.1.2"),
    }
    wiring = allocate(stack(instances=instances, links={}), str(tmp_path))
    given = [port for ports in wiring.ports.values() for port in ports.values()]
    assert len(set(given)) == 600


def test_a_port_that_another_run_has_been_given_is_not_given_again(tmp_path: Path) -> None:
    one = {"a": Instance(name="a", host=SPEC, ports={"http": None})}
    first, second = Claims(), Claims()
    given = allocate(stack(instances=one, links={}), str(tmp_path), first).ports["a"]["http"]
    assert given is not None
    code = (
        f"from harness.stacks.claims import Claims; print([Claims().claim({given}), Claims().claim({given} + 100_000)])"
    )

    def elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    assert not second.claim(given)
    assert elsewhere() == "[False, True]"
    first.close()
    assert elsewhere() == "[True, True]", "free again; what the process claimed went with it"
    assert second.claim(given)
    second.close()


def test_the_choice_passes_over_what_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    few = [port for port in range(20_000, 20_400) if not int(low) <= port <= int(high)][:40]
    monkeypatch.setattr("harness.stacks.wire._LOWEST", few[0])
    monkeypatch.setattr("harness.stacks.wire._HIGHEST", few[-1])
    one = {"a": Instance(name="a", host=SPEC, ports={"http": None})}
    others, own = Claims(), Claims()
    kept = [port for port in few[:-4] if others.claim(port)]
    assert allocate(stack(instances=one, links={}), str(tmp_path), own).ports["a"]["http"] not in kept
    others.close()
    own.close()


def test_where_links_lead(tmp_path: Path) -> None:
    whole = stack()
    wiring = allocate(whole, str(tmp_path))
    assert upstream(whole, wiring, whole.links["db"]) == "127.0.1.1:5432"
    assert upstream(whole, wiring, whole.links["llm"]) == "llm.internal:8443"


def test_an_address_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    away = {"a": Instance(name="a", host=SPEC, ports={"http": None}, address="192.0.2.1")}
    with pytest.raises(UnsafeError, match=r"instance a: port http: address 192\.0\.2\.1 cannot be used"):
        allocate(stack(instances=away, links={}), str(tmp_path))


def test_nothing_to_choose(tmp_path: Path) -> None:
    wiring = allocate(Stack(name="s", base_dir="/", instances={}), str(tmp_path))
    assert (wiring.ports, wiring.links, wiring.addresses) == ({}, {}, {})
