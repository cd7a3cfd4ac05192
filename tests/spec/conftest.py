"""A catalog of our own kinds, documents that are right, and a folder to write them to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from harness.model.catalog import Catalog, CheckKind, FaultKind, HostKind, Kind, ProbeKind, Role
from harness.model.fields import Duration, Params, Rate, Size


class ProcessParams(Params):
    process: list[str] = Field(min_length=1)
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)


class PythonParams(Params):
    python: str
    args: list[str] = Field(default_factory=list)
    preload: list[str] = Field(default_factory=list)
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)


class PidFile(Params):
    file: str


class PidParams(Params):
    pid: int | PidFile
    start: list[str] | None = None


class ExternalParams(Params):
    external: str


class HttpParams(Params):
    http: str
    expect: int = 200
    json_path: str | None = Field(default=None, alias="json")


class TcpParams(Params):
    tcp: str


class ExecParams(Params):
    exec: list[str] = Field(min_length=1)
    json_path: str | None = Field(default=None, alias="json")


class KillParams(Params):
    mode: Literal["process", "power"] = "process"


class RestartParams(Params):
    down: Duration = 500_000_000


class LatencyParams(Params):
    delay: Duration
    spread: Duration = 0


class BandwidthParams(Params):
    rate: Size | Rate


class PartitionParams(Params):
    direction: Literal["both", "in", "out"] = "both"


class NoParams(Params):
    pass


class WithinParams(Params):
    within: Duration = 1_000_000_000


class ExecCheckParams(Params):
    exec: list[str]


PROCESSES = frozenset({"process", "python", "pid"})


def fault(name: str, params: type[Params], **facts: object) -> FaultKind:
    words = {"what": "{target}", "clients_see": "", "on_revert": "", "witness": ""}
    return FaultKind(name=name, doc=name, params=params, code="none:none", **words, **facts)  # type: ignore[arg-type]


def make_catalog() -> Catalog:
    on_instances = {"targets": frozenset({"instance"}), "hosts": PROCESSES}
    on_links = {"targets": frozenset({"link"})}
    kinds: dict[Role, list[Kind]] = {
        "fault": [
            fault("kill", KillParams, needs_start=True, **on_instances),
            fault("pause", NoParams, **on_instances),
            fault("restart", RestartParams, instant=True, **on_instances),
            fault("latency", LatencyParams, **on_links),
            fault("bandwidth", BandwidthParams, **on_links),
            fault("partition", PartitionParams, two_sided=True, **on_links),
        ],
        "host": [
            HostKind(name="process", doc="", params=ProcessParams, code="none:none", started_by_run=True),
            HostKind(name="python", doc="", params=PythonParams, code="none:none", started_by_run=True),
            HostKind(name="pid", doc="", params=PidParams, code="none:none", started_by_run=False),
            HostKind(name="external", doc="", params=ExternalParams, code="none:none", started_by_run=False),
        ],
        "probe": [
            ProbeKind(name="http", doc="", params=HttpParams, code="none:none"),
            ProbeKind(name="tcp", doc="", params=TcpParams, code="none:none"),
            ProbeKind(name="exec", doc="", params=ExecParams, code="none:none"),
        ],
        "check": [
            CheckKind(name="durable", doc="", params=NoParams, code="none:none", counts=("lost",)),
            CheckKind(name="exactly-once", doc="", params=NoParams, code="none:none", counts=("duplicates",)),
            CheckKind(name="session-order", doc="", params=NoParams, code="none:none"),
            CheckKind(name="converged", doc="", params=NoParams, code="none:none"),
            CheckKind(name="fresh", doc="", params=WithinParams, code="none:none"),
            CheckKind(name="exec", doc="", params=ExecCheckParams, code="none:none"),
        ],
    }
    paths = {role: {kind.name: "none:none" for kind in many} for role, many in kinds.items()}
    loaded = {(str(role), kind.name): kind for role, many in kinds.items() for kind in many}
    return Catalog(paths=paths, _loaded=loaded)


STACK = """\
version: 1
kind: stack
name: shop
environment: staging
params: {sync: "on"}
regions:
  eu: {serves: primary, entry: "http://${addr:gw-eu.http}"}
  us: {serves: standby, entry: "http://${addr:gw-us.http}"}
instances:
  edge:
    host: {process: [./bin/edge, --port, "${port:http}"], cwd: ., env: {LOG: info}}
    ports: [http]
    ready: {http: "http://${addr:edge.http}/readyz", within: 20s}
  gw-eu:
    region: eu
    service: gateway
    host: {python: "shop.gw:main", args: [--db, "${link:db}", --sync, "${param:sync}"], preload: [json]}
    ports: [http]
    needs: [db-eu]
  gw-us:
    region: us
    service: gateway
    host: {pid: {file: /run/gw.pid}, start: [./bin/start-gw]}
    ports: {http: 8081}
  db-eu:
    region: eu
    service: db
    host: {process: [db, --dir, "${dir}"]}
    ports: {pg: 5432}
    files: [db.conf]
    prepare: [[./bin/initdb, "${dir}"]]
  llm: {host: {external: "https://llm.internal:8443"}}
links:
  db: {from: gw-eu, to: "db-eu:pg", listen: "127.0.0.1:15432"}
  llm: {from: gw-eu, to: llm, http: true}
drillable: [gw-eu, gw-us, "service:db", "link:*"]
roles: {leader: {exec: [./ops/who-leads]}}
entry: "http://${addr:edge.http}"
probes:
  lag: {exec: [./ops/lag], every: 500ms}
  up: {http: "http://${addr:gw-us.http}/readyz", expect: 204}
signals:
  events: [{log: gw-eu, match: "promoted epoch=(?P<epoch>\\\\d+)", event: promoted}]
  effects: [{log: gw-eu, match: "executed (?P<idem>\\\\S+)"}]
  journals: [{name: eu, http: "http://${addr:gw-eu.http}/journal"}, {name: us, exec: [./ops/export, us]}]
"""

EXPERIMENT = """\
version: 1
kind: experiment
name: region-kill
title: The primary region dies
hypothesis: us answers within 5 s
stack: shop
load:
  profile: chat
  arrival: {rate: 60/s, shape: poisson}
  timeout: 2s
timeline:
  - id: eu-down
    fault: kill
    for: 20s
    at: 0s
    jitter: 1s
    on: {region: eu}
  - {id: slow, at: eu-down.start + 2s, fault: latency, delay: 100ms, on: {link: db}, for: 3s}
  - {at: slow.end + 1s, do: {exec: [./ops/promote, us]}, within: 5s}
slo:
  - {name: availability, target: 99.9%, window: 30d}
  - {name: ttft, target: 95%, under: 800ms, on: {f: turn}}
recovered_when: "good >= 99% for 3s"
abort_when: ["good < 10% for 15s", "budget.availability > 1%"]
settled_when: ["probe.lag.max = 0"]
objectives:
  - recovery_time <= 5s
  - data_loss = 0
  - exactly-once.duplicates = 0
checks: [durable, exactly-once, {converged: {within: 10s}}, {exec: [./verify.py], name: residency}]
"""


class Project:
    """A folder with a stack and an experiment that are right, which tests then make wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "stacks").mkdir(parents=True)
        self.write("stacks/shop.yaml", STACK)
        self.write("region-kill.yaml", EXPERIMENT)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return make_catalog()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path / "experiments")


@pytest.fixture(scope="session")
def good_texts() -> tuple[str, str]:
    """The stack and the experiment that are right."""
    return STACK, EXPERIMENT


@pytest.fixture
def new_project(tmp_path: Path) -> Callable[[str], Project]:
    """Makes further project folders."""
    return lambda name: Project(tmp_path / name)
