"""Documents with isolated regions: what cannot work from inside a network namespace is said; what can, is planned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import SpecError, UnsafeError
from harness.model.plan import CutEnd
from harness.registry import catalog
from harness.run.able import require_able
from tests.spec.small import planned_on

STACK = """
version: 1
kind: stack
name: s
regions:
  east: {serves: primary, isolation: netns, entry: "http://${addr:web.http}"}
  west: {serves: standby, isolation: netns}
instances:
  web: {region: east, host: {process: [web, "${link:web-db}", "${addr:cache.tcp}", "${addr:llm}"]}, ports: {http: 8080}}
  cache: {region: east, service: side, host: {python: "shop:cache"}, ports: {tcp: 6379}}
  db: {region: west, host: {process: [db]}, ports: {http: 8080}}
  edge: {host: {process: [edge, "${addr:web.http}"]}, ports: [http]}
  llm: {host: {external: "http://192.0.2.1:80"}}
links: {web-db: {from: web, to: "db:http"}}
drillable: ["region:*", "link:*"]
entry: "http://${addr:edge.http}"
"""
CUT = "{fault: partition, between: [{region: east}, {region: west}], via: namespace, for: 8s}"


def planned(folder: Path, old: str = "", new: str = "", fault: str = CUT):
    assert old in STACK
    return planned_on(folder, STACK.replace(old, new, 1) if old else STACK, fault)


def test_a_cut_between_regions_is_of_their_namespaces_and_the_links_between(tmp_path: Path) -> None:
    (fault,) = planned(tmp_path).faults
    assert [(target.kind, target.name) for target in fault.targets] == [("link", "web-db"), ("cut", "web, cache | db")]
    first, second = fault.targets[1].sides
    assert first == (CutEnd(instance="web", netns="east"), CutEnd(instance="cache", netns="east"))
    assert second == (CutEnd(instance="db", netns="west"),)
    assert fault.what == "stop what passes between link web-db, web, cache and db"
    assert fault.clients_see.startswith("clients of either side: nothing; across, packets vanish")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("{python: \"shop:cache\"}", "{pid: {file: x.pid}}", "instances.cache.host: region east has `isolation: netns`"),
        ("service: side", "address: 127.0.1.1", "instances.cache.address: the address is that of region east"),
        ("${addr:cache.tcp}", "${addr:edge.http}", "does not reach edge at 127.0.0.1\n"),
        ('to: "db:http"', 'to: "db:http", listen: "127.0.0.1:15432"', "links.web-db.listen: web lives in a network namespace"),
        ("tcp: 6379", "tcp: 8080", "the network namespace of east:8080 is already taken by web.http"),
        ("isolation: netns}\ninstances", "isolation: vm}\ninstances", "regions.west.isolation: "),
    ],
)  # fmt: skip
def test_what_cannot_work_inside_a_namespace_is_said(tmp_path: Path, old: str, new: str, text: str) -> None:
    with pytest.raises(SpecError) as told:
        planned(tmp_path, old, new)
    assert text in str(told.value)


def test_alerts_cannot_be_sent_from_inside_yet(tmp_path: Path) -> None:
    alerts = 'signals: {alerts: webhook}\nentry: "http'
    stack = (
        STACK.replace('entry: "http', alerts).replace("${addr:cache.tcp}", "${run:alerts}")
        .replace('entry: "http://${addr:web.http}"', "").replace(alerts.partition(":")[0] + ", ", "")
    )  # fmt: skip
    with pytest.raises(SpecError, match="from which alerts cannot be sent yet"):
        planned_on(tmp_path, stack, CUT)


def test_without_root_it_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, fault="{fault: kill, on: {region: west}, for: 8s}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnsafeError, match="region east, west: `isolation: netns` needs root"):
        require_able(plan, catalog())


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            CUT.replace("{region: east}", "{instance: cache}"),
            "one host in its network namespace, and web would be cut off too",
        ),
        (CUT.replace("{region: west}", "{instance: edge}"), "`via: namespace` does not work between"),
        (
            "{fault: bandwidth, rate: 1MB/s, on: {region: west}, for: 8s}",
            "bandwidth does not work on db, whose host is process",
        ),
    ],
)
def test_what_rules_inside_namespaces_cannot_do_is_refused(tmp_path: Path, fault: str, text: str) -> None:
    with pytest.raises((SpecError, UnsafeError)) as told:
        planned(tmp_path, fault=fault, old='drillable: ["region:*"', new='drillable: ["region:*", edge')
    assert text in str(told.value)
