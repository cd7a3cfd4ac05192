"""Networks of isolated regions, as they are chosen: names, addresses, where links listen. Real ones: `faults/test_netns_cut.py`."""

from __future__ import annotations

import ipaddress
import os
from typing import Any

import pytest

from harness.errors import UnsafeError
from harness.model.stack import HostSpec, Instance, Link, Region, Stack
from harness.stacks import netns
from harness.stacks.wire import allocate


def one(name: str, region: str | None, **more: Any) -> Instance:
    return Instance(name=name, region=region, host=HostSpec(kind="process", params={}), ports={"http": None}, **more)


STACK = Stack(
    name="s",
    base_dir="/",
    regions={"east": Region(name="east", isolation="netns"), "west": Region(name="west", isolation="netns")},
    instances={
        name: one(name, region) for name, region in (("a", "east"), ("b", "west"), ("c", "east"), ("edge", None))
    },
    links={
        "inner": Link(name="inner", source="a", to="b", to_port="http"),
        "outer": Link(name="outer", source="edge", to="a", to_port="http"),
    },
)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(netns.shutil, "which", lambda name, path=None: f"/usr/sbin/{name}")


def test_each_region_has_an_address_and_what_lives_there_shares_it(as_root: None) -> None:
    wiring = allocate(STACK, "/nowhere")
    networks = wiring.networks
    assert networks is not None
    subnet = ipaddress.ip_network(f"{networks.gateway}/{networks.length}", strict=False)
    assert [ipaddress.ip_address(address) in subnet for address in networks.regions.values()] == [True, True]
    assert wiring.addresses == {
        "a": networks.regions["east"],
        "b": networks.regions["west"],
        "c": networks.regions["east"],
        "edge": "127.0.0.1",
    }
    assert wiring.namespace("c") == f"{networks.mark}-east"
    assert wiring.namespace("edge") is None
    assert networks.mark.startswith("blackstart-")
    assert len(networks.interface) <= 15
    assert wiring.links["inner"].startswith(f"{networks.gateway}:"), "where a client in a namespace reaches it"
    assert wiring.links["outer"].startswith("127.0.0.1:")
    other = allocate(STACK, "/nowhere").networks
    assert other is not None
    assert (other.mark, other.interface) != (networks.mark, networks.interface)


def test_a_subnet_that_is_routed_is_not_chosen(as_root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [ipaddress.IPv4Network("10.128.0.0/9")]
    monkeypatch.setattr(netns, "_routed", lambda: taken)
    with pytest.raises(UnsafeError, match=r"no free subnet for network namespaces in 10\.128\.0\.0"):
        netns.choose_networks(STACK)
    taken[:] = [ipaddress.IPv4Network("10.128.0.0/10"), ipaddress.IPv4Network("192.0.2.0/24")]
    assert (networks := netns.choose_networks(STACK)) is not None
    assert int(networks.gateway.split(".")[1]) >= 192


def test_without_root_or_tools_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert netns.choose_networks(Stack(name="s", base_dir="/", instances={"edge": one("edge", None)})) is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        UnsafeError, match="`isolation: netns` needs root: only root can make network namespaces; run as root"
    ):
        netns.choose_networks(STACK)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(netns.shutil, "which", lambda name, path=None: None)
    with pytest.raises(UnsafeError, match="needs the program ip; install the package iproute2"):
        netns.choose_networks(STACK)
