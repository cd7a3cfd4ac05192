"""Documents about containers, with the real catalog: what the files alone decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError, UnsafeError
from tests.spec.small import planned_on

STACK = """
version: 1
kind: stack
name: s
instances:
  web: {host: {container: {label: [tier=web]}}, ports: {http: 8080}}
  db: {host: {compose: db, project: shop}, ports: PORTS}
  edge: {host: {process: [edge]}, ports: [http]}
links: {web-db: {from: web, to: "db:http"}}
drillable: [web, db, edge, "link:*"]
entry: "http://${addr:edge.http}"
"""


def planned(folder: Path, fault: str, ports: str = "{http: 8080}"):
    return planned_on(folder, STACK.replace("PORTS", ports), fault)


def refused(folder: Path, fault: str, **more: str) -> str:
    with pytest.raises((SpecError, UnsafeError)) as told:
        planned(folder, fault, **more)
    return str(told.value)


def test_two_containers_may_serve_on_the_same_port(tmp_path: Path) -> None:
    plan = planned(tmp_path, "{fault: kill, via: pid, on: {instance: [web, db]}, for: 8s}")
    assert [(target.name, target.host) for target in plan.faults[0].targets] == [
        ("web", "container"),
        ("db", "compose"),
    ]


def test_the_ports_of_a_container_are_its_own(tmp_path: Path) -> None:
    text = refused(tmp_path, "{fault: kill, on: {instance: web}, for: 8s}", ports="[http]")
    assert "instances.db.ports: the ports of a container are its own: they cannot be chosen here" in text
    assert "give their numbers, as in {http: 8080}" in text


def test_an_engine_kills_containers_only(tmp_path: Path) -> None:
    text = refused(tmp_path, "{fault: kill, via: engine, on: {instance: edge}, for: 8s}")
    assert "kill does not work on edge, whose host is process" in text
    assert "kill via: engine works on: compose, container" in text


def test_one_container_may_be_cut_off_alone(tmp_path: Path) -> None:
    plan = planned(tmp_path, "{fault: partition, via: disconnect, on: {instance: db}, for: 8s}")
    assert [(target.kind, target.name) for target in plan.faults[0].targets] == [("instance", "db")]
    assert plan.faults[0].what == "take instance db off its networks"


def test_a_container_may_be_cut_off_or_made_lossy_by_rules(tmp_path: Path) -> None:
    plan = planned(tmp_path, "{fault: partition, via: nftables, direction: in, on: {instance: db}, for: 8s}")
    assert [(target.kind, target.name) for target in plan.faults[0].targets] == [("instance", "db")]
    assert plan.faults[0].what == "let nothing in or out of instance db"
    plan = planned(tmp_path, "{fault: loss, ratio: 5%, on: {instance: db}, for: 8s}")
    assert plan.faults[0].what == "lose 5% of the packets of instance db"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            "{fault: loss, ratio: 5%, on: {instance: edge}, for: 8s}",
            "loss does not work on edge, whose host is process",
        ),
        (
            "{fault: partition, via: nftables, networks: [x], on: {instance: db}, for: 8s}",
            "leave `networks` out, or say via: disconnect",
        ),
        ("{fault: partition, on: {instance: db}, for: 8s}", "partition cuts between two sides, got one"),
        (
            "{fault: partition, via: disconnect, on: {link: web-db}, for: 8s}",
            "partition with `via: disconnect` works on instances, not on a link",
        ),
        (
            "{fault: partition, via: disconnect, on: {instance: edge}, for: 8s}",
            "partition does not work on edge, whose host is process",
        ),
        (
            "{fault: partition, via: disconnect, direction: in, style: reject, on: {instance: db}, for: 8s}",
            "via: disconnect cuts everything, both ways: leave `direction` and `style` out",
        ),
        (
            "{fault: partition, via: disconnect, between: [{instance: edge}, {instance: db}], for: 8s}",
            "cut one container off with `via: disconnect` and `on:`",
        ),
        (
            "{fault: bandwidth, rate: 1MB/s, on: {instance: edge}, for: 8s}",
            "bandwidth does not work on edge, whose host is",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(tmp_path: Path, fault: str, text: str) -> None:
    assert text in refused(tmp_path, fault)
