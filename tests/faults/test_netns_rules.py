"""What the tables inside network namespaces say, and the program that connects from there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from harness.errors import UnsafeError
from harness.faults import loss, netns_reach, partition
from harness.faults.netns_rules import BoxCut, alone_table, box_table
from harness.faults.nft import Table
from harness.model.catalog import FaultKind
from harness.model.fields import JsonObject
from harness.model.plan import Target


def rules(table: Table) -> dict[str, tuple[str, ...]]:
    """Hook -> rules, of the base chains."""
    return {chain.hook: chain.rules for chain in table.chains if chain.hook is not None}


def test_what_arrives_from_the_other_side_is_stopped_and_nothing_else() -> None:
    cut = BoxCut(is_first=True, peers=("198.18.1.9", "fd00::9", "198.18.1.8"))
    table = box_table("blackstart_t", cut)
    assert table.counters == ("packets_in",)
    assert rules(table) == {
        "input": (
            "ip saddr { 198.18.1.8, 198.18.1.9 } goto hit_packets_in",
            "ip6 saddr { fd00::9 } goto hit_packets_in",
        )
    }


@pytest.mark.parametrize(
    ("is_first", "direction", "met"), [(True, "in", 1), (True, "out", 0), (False, "out", 1), (False, "in", 0)]
)
def test_a_direction_counts_from_the_first_side(is_first: bool, direction: str, met: int) -> None:
    cut = BoxCut(is_first=is_first, peers=("198.18.1.9",), direction=direction)  # type: ignore[arg-type]
    assert len(rules(box_table("blackstart_t", cut))["input"]) == met


def test_named_ports_are_met_towards_my_servers_and_from_theirs() -> None:
    table = box_table("blackstart_t", BoxCut(is_first=False, peers=("198.18.1.9",), mine=(80,), theirs=(5432, 53)))
    assert rules(table)["input"] == (
        "ip saddr { 198.18.1.9 } meta l4proto { tcp, udp } th dport { 80 } goto hit_packets_out",
        "ip saddr { 198.18.1.9 } meta l4proto { tcp, udp } th sport { 53, 5432 } goto hit_packets_out",
    )


def test_alone_everything_but_the_loopback_is_met_each_way() -> None:
    both = alone_table("blackstart_t", BoxCut(is_first=True, ratio=0.05))
    assert rules(both) == {
        "input": ('iifname != "lo" goto hit_packets_in',),
        "output": ('oifname != "lo" goto hit_packets_out',),
    }
    assert both.counters == ("packets_in", "met_in", "packets_out", "met_out")
    lot = next(chain.rules for chain in both.chains if chain.name == "hit_packets_in")
    assert lot[1] == "numgen random mod 10000 < 500 counter name packets_in drop"
    assert list(rules(alone_table("blackstart_t", BoxCut(is_first=True, direction="out")))) == ["output"]
    one = alone_table("blackstart_t", BoxCut(is_first=True, mine=(8080,), direction="in"))
    assert rules(one)["input"] == ('iifname != "lo" meta l4proto { tcp, udp } th dport { 8080 } goto hit_packets_in',)


@pytest.mark.parametrize(
    ("kind", "params", "needs"),
    [
        (partition.KIND, {"via": "nftables"}, "kernel rules need root"),
        (partition.KIND, {"via": "disconnect"}, None),
        (loss.KIND, {"ratio": 0.1}, "kernel rules need root"),
    ],
)
def test_a_container_that_rules_break_needs_root_when_planned(
    monkeypatch: pytest.MonkeyPatch, kind: FaultKind, params: JsonObject, needs: str | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert kind.able is not None
    for target in (Target(kind="instance", name="db"), Target(kind="role", name="leader")):
        if needs is None:
            kind.able(target, params)
            continue
        with pytest.raises(UnsafeError, match=needs):
            kind.able(target, params)


def test_the_program_tells_what_became_of_each_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ways = [["127.0.0.1", one.getsockname()[1], datagrams] for one, datagrams in ((server, 0), (closed, 2))]
        told = subprocess.run(
            [sys.executable, "-I", "-S", netns_reach.__file__],
            input=json.dumps({"ways": ways, "limit_s": 5}), capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    assert json.loads(told.stdout) == ["accepted", "refused"]
