"""Four ways in which data goes wrong on small real servers, and the four verdicts: none may be PASS, and each names its own cause.

What the servers say that they kept, threw away and executed is the truth that the verdicts are held against.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.history.table import OpTable
from tests.run.small import Small, processes_of

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(150)]

HERE = Path(__file__).parent
PAIR = f"""\
version: 1
kind: stack
name: pair
environment: test
regions:
  east: {{serves: primary, entry: "http://${{addr:a.http}}"}}
  west: {{serves: standby, entry: "http://${{addr:b.http}}"}}
instances:
  a:
    region: east
    host: {{process: [{sys.executable}, -I, {HERE / "replica.py"}, a, "${{port:http}}", first, "${{link:ab}}"]}}
    ports: [http]
  b:
    region: west
    host: {{process: [{sys.executable}, -I, {HERE / "replica.py"}, b, "${{port:http}}", second MUTE]}}
    ports: [http]
links:
  ab: {{from: a, to: "b:http"}}
drillable: [a, "link:*"]
entry: "http://${{addr:a.http}}"
"""
EXPERIMENT = """\
version: 1
kind: experiment
name: NAME
title: NAME
hypothesis: nothing that was acknowledged is lost
stack: stack.yaml
load:
  profile: profile.py:Buyer
  arrival: {rate: 80/s, shape: even}
  timeout: 2s
  warmup: 500ms
  users: 40
  with: {other: "http://${addr:b.http}"}
steady_state: {for: 3s, require: ["good >= 95%"], after: false}
recovered_when: "good >= 99% for 1s"
blast_radius: {regions: 2, share: 100%}
timeline:
TIMELINE
observe: 1500ms
settle: 10s
final: {within: 2s, regions: [west]}
objectives: [data_loss = 0]
checks: [durable, single-writer]
"""
BUYER = """\
from harness.load import HttpUser


class Buyer(HttpUser):
    model = "set"
    other: str = ""

    async def run(self):
        entry = self.entry
        if self.group != "sticky":
            async with self.client.get(self.other + "/leads") as reply:
                entry = self.other if await reply.json() else entry
        async with self.op("add", value=self.unique()) as op:
            async with self.client.post(entry + "/add", params={"item": op.value}) as reply:
                op.served_by, op.epoch = reply.headers.get("x-instance"), int(reply.headers.get("x-epoch", 0))
                reply.raise_for_status()

    async def final(self):
        async with self.op("read") as op:
            async with self.client.get(self.entry + "/items") as reply:
                reply.raise_for_status()
                op.result = await reply.json()
"""


WORKERS = f"""\
version: 1
kind: stack
name: workers
environment: test
regions:
  here: {{serves: primary, entry: "http://${{addr:proxy.http}}"}}
instances:
  w:
    count: 2
    region: here
    host: {{process: [{sys.executable}, -I, {HERE / "worker.py"}, "w-${{i}}", "${{port:http}}"]}}
    ports: [http]
    ready: {{tcp: "${{addr:w-${{i}}.http}}", within: 20s}}
  proxy:
    region: here
    needs: [w-1, w-2]
    host:
      process:
        - bash
        - -c
        - >-
          sed -e s/LISTEN/${{addr:proxy.http}}/ -e s/ONE/${{addr:w-1.http}}/ -e s/TWO/${{addr:w-2.http}}/ CONF >${{dir}}/nginx.conf
          && exec nginx -e stderr -p ${{dir}} -c nginx.conf
    ports: [http]
    ready: {{tcp: "${{addr:proxy.http}}", within: 20s}}
drillable: [w-1]
entry: "http://${{addr:proxy.http}}"
signals:
  effects:
    - {{log: w-1, match: "executed (?P<idem>\\\\S+)"}}
    - {{log: w-2, match: "executed (?P<idem>\\\\S+)"}}
"""
NGINX = """\
daemon off;
pid nginx.pid;
worker_processes 1;
events {}
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  upstream workers { server ONE max_fails=0; server TWO max_fails=0; keepalive 8; }
  server {
    listen LISTEN;
    location / {
      proxy_pass http://workers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 300ms;
      proxy_next_upstream error timeout non_idempotent;
    }
  }
}
"""
JOBS = """\
from harness.load import HttpUser


class Buyer(HttpUser):
    model = "jobs"

    async def run(self):
        job = self.unique()
        async with self.op("submit", value=job, idem=job) as op:
            async with self.client.post("/run", params={"job": job}) as reply:
                op.served_by = reply.headers.get("x-instance")
                reply.raise_for_status()
"""


def pair(folder: Path, name: str, *timeline: str, mute: bool = False) -> Small:
    """Two replicas, a and b, and a load that writes to whoever leads."""
    stack = PAIR.replace(" MUTE", ", --mute" if mute else "")
    lines = "\n".join(f"  - {entry}" for entry in timeline)
    return Small(folder, stack, EXPERIMENT.replace("NAME", name).replace("TIMELINE", lines), BUYER)


def split(folder: Path) -> Small:
    """The two cannot meet for a while, and each half of the users stays with one of them."""
    small = pair(folder, "split", "{id: cut, at: 0s, fault: refuse, on: {link: ab}, for: 2500ms}")
    small.experiment = small.experiment.replace("  users: 40\n", "  users: 40\n  groups: {sticky: 50%, follow: 50%}\n")
    return small


def twice(folder: Path) -> Small:
    """A worker freezes; its proxy tries its jobs again elsewhere; it thaws, and runs them too."""
    folder.mkdir()
    (folder / "nginx.conf").write_text(NGINX)
    timeline = "  - {id: frozen, at: 0s, fault: pause, on: {instance: w-1}, for: 1500ms}"
    experiment = EXPERIMENT.replace("NAME", "twice").replace("TIMELINE", timeline)
    experiment = experiment.replace('  with: {other: "http://${addr:b.http}"}\n', "").replace(", regions: [west]", "")
    experiment = experiment.replace("[data_loss = 0]", "[data_loss = 0, exactly-once.duplicates = 0]")
    experiment = experiment.replace("[durable, single-writer]", "[durable, exactly-once]")
    return Small(folder, WORKERS.replace("CONF", str(folder / "nginx.conf")), experiment, JOBS)


def lost(folder: Path) -> Small:
    """Replication is cut, and then the one that acknowledges dies."""
    kill = "{id: down, at: cut.start + 600ms, fault: kill, on: {instance: a}}"
    return pair(folder, "lost-on-failover", "{id: cut, at: 0s, fault: refuse, on: {link: ab}}", kill)


def unread(folder: Path) -> Small:
    """Who took over answers no read."""
    return pair(folder, "unread", "{id: down, at: 0s, fault: kill, on: {instance: a}}", mute=True)


Ran = tuple[Small, dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Every run by its name: its folder, its result, its checks by name. Two at a time: what they show rests on no pace."""
    cases = [lost, unread, split, *([twice] if shutil.which("nginx") else [])]
    found = {}
    for both in (cases[:2], cases[2:]):
        begun = []
        for case in both:
            small = case(tmp_path_factory.mktemp("four") / "run")
            begun.append((case, small, small.start()))
        for case, small, process in begun:
            try:
                _, talk = process.communicate(timeout=90)
            finally:
                process.kill()
            assert len(small.runs) == 1, talk
            result = small.result()
            assert process.returncode == result["exit_code"], talk
            assert all(fault["witnessed"] and fault["verified"] for fault in result["faults"]), (result["faults"], talk)
            assert processes_of(small.folder) == []
            found[case.__name__] = (small, result, {check["name"]: check for check in result["checks"]})
    return found


def said(small: Small, instance: str, what: str) -> list[str]:
    """What an instance's own log says, line by line; it stays the same over a restart."""
    return re.findall(what, "".join(path.read_text() for path in (small.runs[0] / "logs").glob(f"{instance}*")))


def acknowledged(small: Small) -> set[str]:
    """What clients were told is done."""
    ops = OpTable.read(small.runs[0] / "ops")
    rows = ops.rows(range(len(ops)))
    return {str(op.value) for op in rows if op.outcome == "ok" and op.f in ("add", "submit") and op.phase == "load"}


def test_a_replica_set_that_loses_what_it_acknowledged_fails_as_lost_with_the_window(ran: dict[str, Ran]) -> None:
    small, result, checks = ran["lost"]
    assert (result["verdict"], result["exit_code"]) == ("FAIL", 1), result["reasons"]
    gone = acknowledged(small) & set(said(small, "a", r"kept (\S+)")) - set(said(small, "b", r"(?:took|kept) (\S+)"))
    durable, loss = checks["durable"], result["measures"]["loss"]
    assert durable["verdict"] == "invalid"
    assert durable["counts"]["lost"] == loss["lost"] == len(gone) > 10
    # From the cut to the kill 0.6 s later: lost acknowledgements span most of that, and none came after the kill.
    down = next(fault for fault in result["faults"] if fault["id"] == "down")
    cut = next(fault for fault in result["faults"] if fault["id"] == "cut")
    assert 0.3e9 <= loss["span_ns"] <= down["effect"]["hi_ns"] - cut["effect"]["lo_ns"] + 0.2e9, loss
    assert 0 < loss["until_ns"] <= down["effect"]["hi_ns"] - cut["effect"]["lo_ns"]
    assert (
        "are missing in west: first acknowledged" in durable["sentence"] and " the effect of cut" in durable["sentence"]
    )
    assert len(durable["evidence"]) == 12 and all("missing in west" in row["text"] for row in durable["evidence"])
    assert checks["single-writer"]["verdict"] == "valid", checks["single-writer"]


def test_a_split_brain_without_one_client_error_fails_as_lost_with_full_availability(ran: dict[str, Ran]) -> None:
    small, result, checks = ran["split"]
    assert (result["verdict"], result["exit_code"]) == ("FAIL", 1), result["reasons"]
    assert result["measures"]["counts"]["bad"] == 0, result["measures"]["counts"]
    assert result["measures"]["availability"]["hi_ratio"] == 1.0
    durable = checks["durable"]
    assert durable["verdict"] == "invalid"
    thrown = acknowledged(small) & set(said(small, "a", r"threw away (\S+)"))
    assert durable["counts"]["lost"] == result["measures"]["loss"]["lost"] == len(thrown) > 20
    assert checks["single-writer"]["verdict"] == "invalid" and "two writers" in checks["single-writer"]["sentence"]


def test_a_final_state_that_cannot_be_read_is_inconclusive(ran: dict[str, Ran]) -> None:
    _, result, checks = ran["unread"]
    assert (result["verdict"], result["exit_code"]) == ("INCONCLUSIVE", 3), result["reasons"]
    assert (checks["durable"]["verdict"], checks["durable"]["counts"]) == ("unknown", {})
    assert "final read" in checks["durable"]["why_unknown"]
    assert result["measures"]["loss"]["known"] is False


def test_a_double_execution_behind_a_proxy_that_tries_again_fails_as_twice(ran: dict[str, Ran]) -> None:
    if "twice" not in ran:
        pytest.skip("needs nginx")
    small, result, checks = ran["twice"]
    assert (result["verdict"], result["exit_code"]) == ("FAIL", 1), result["reasons"]
    executed = Counter(said(small, "w-", r"executed (\S+)"))
    doubled = {job for job, times in executed.items() if times > 1}
    once = checks["exactly-once"]
    assert once["verdict"] == "invalid", once
    assert once["counts"]["duplicates"] == len(doubled) > 20
    assert "the sink saw 2 effects" in once["evidence"][0]["text"]
    assert checks["durable"]["verdict"] == "valid", (checks["durable"], "every job ran: none is lost")
    assert result["measures"]["loss"]["lost"] == 0 and result["measures"]["loss"]["known"]
    assert doubled <= acknowledged(small), "the clients saw each of them answered once"
