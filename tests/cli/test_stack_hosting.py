"""`stack up|down|status` as a user meets it: a small stack of ordinary processes, hosted between runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from harness.run.process import is_alive
from tests.pacing import paced

pytestmark = [pytest.mark.live, pytest.mark.slow]

COMMAND = [str(Path(sys.executable).with_name("blackstart"))]

STACK = """
version: 1
kind: stack
name: echo
params: {greeting: hello}
regions:
  one: {entry: "http://${addr:web.http}"}
instances:
  web:
    region: one
    host: {process: [python, serve.py, "${port:http}", "http://${link:back}/", "${param:greeting}"]}
    ports: [http]
    needs: [back]
  back:
    host: {process: [python, serve.py, "${port:http}", "", "${param:greeting}"]}
    ports: [http]
links: {back: {from: web, to: "back:http"}}
drillable: [web, back, "link:*"]
entry: "http://${addr:web.http}"
"""

SERVE = """
import sys, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
port, upstream, greeting = sys.argv[1:]

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = greeting.encode()
        if upstream:
            with urllib.request.urlopen(upstream, timeout=2) as answer:
                body += b" " + answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        print("asked", flush=True)

ThreadingHTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
"""

EXPERIMENT = """
version: 1
kind: experiment
name: slow-back
title: The back end is slow to reach
hypothesis: nobody sees an error
stack: echo
load:
  profile: http
  arrival: {rate: 20/s}
  timeout: 2s
steady_state: {for: 3s, require: ["good >= 90%"]}
recovered_when: "good >= 90% for 1s"
blast_radius: {share: 100%}
observe: 6s
settle: 20s
timeline:
  - {id: slow, at: 0s, fault: latency, delay: 20ms, on: {link: back}, for: 2s}
objectives: [availability >= 90%]
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "experiments" / "stacks").mkdir(parents=True)
    (tmp_path / "experiments" / "stacks" / "echo.yaml").write_text(STACK)
    (tmp_path / "experiments" / "stacks" / "serve.py").write_text(SERVE)
    (tmp_path / "experiments" / "slow-back.yaml").write_text(EXPERIMENT)
    yield tmp_path
    blackstart(tmp_path, "stack", "down", "echo")


def environment(project):
    return os.environ | {"BLACKSTART_STATE": str(project / "state")}


def blackstart(project, *args):
    return subprocess.run(
        [*COMMAND, *args], cwd=project, env=environment(project), capture_output=True, text=True, timeout=110
    )


def status(project):
    return json.loads(blackstart(project, "stack", "status", "echo", "--json").stdout)


def instances(seen):
    return {part["name"]: part["pid"] for part in seen["parts"] if part["kind"] == "instance"}


def until(what, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit_s} s: {what}")


def test_a_hosted_stack_outlives_the_runs_that_attach_to_it(project):
    up = blackstart(project, "stack", "up", "echo", "--json")
    assert up.returncode == 0, up.stderr
    facts = json.loads(up.stdout)
    assert sorted(facts["started"]) == ["back", "web"]
    with urllib.request.urlopen(facts["addresses"]["entry"], timeout=5) as answer:
        assert answer.read() == b"hello hello"
    before = status(project)
    assert before["state"] == "up"

    again = blackstart(project, "stack", "up", "echo")
    assert again.returncode == 4
    assert "is up already" in again.stderr and "stack down echo" in again.stderr

    other = blackstart(project, "run", "slow-back", "--set", "stack.params.greeting=ahoy")
    assert other.returncode == 4
    assert "another version of its document, or with other params" in other.stdout + other.stderr

    result, run = paced(lambda: blackstart(project, "run", "slow-back", "--json"))
    assert result["verdict"] == "PASS", (result["reasons"], run.stderr)
    assert [fault["verified"] for fault in result["faults"]] == [True]
    events = next((project / "reports").glob("2*Z-slow-back-*" + result["run"]["run_id"][-4:])) / "events.jsonl"
    found = re.findall(r'"t":"instance".*?"instance":"(\w+)","what":"(\w+)"', events.read_text())
    assert {name for name, what in found if what == "found"} == {"back", "web"}
    assert not [name for name, what in found if what in ("started", "stopped")]
    assert (events.parent / "logs" / "web.log").read_text().count("asked") > 20

    after = status(project)
    assert after == before, "the same processes, links and fault proxy"

    down = blackstart(project, "stack", "down", "echo", "--json")
    assert down.returncode == 0, down.stderr
    assert sorted(json.loads(down.stdout)["ended"]) == ["back", "fault proxy", "web"]
    assert not any(is_alive(pid, None) for pid in instances(before).values())
    assert status(project) == {"stack": "echo", "state": "down"}
    assert blackstart(project, "stack", "down", "echo").returncode == 0


def test_a_killed_conductor_leaves_a_hosted_stack_whole(project):
    experiment = (project / "experiments" / "slow-back.yaml").read_text()
    paused = experiment.replace(
        "fault: latency, delay: 20ms, on: {link: back}, for: 2s", "fault: pause, on: {instance: back}, for: 60s"
    )
    (project / "experiments" / "slow-back.yaml").write_text(paused)
    assert blackstart(project, "stack", "up", "experiments/stacks/echo.yaml").returncode == 0
    before = status(project)
    run = subprocess.Popen(
        [*COMMAND, "run", "slow-back"], cwd=project, env=environment(project), stderr=subprocess.PIPE, text=True
    )
    try:
        assert run.stderr is not None
        assert any("slow on back: witnessed" in line for line in run.stderr)
        run.send_signal(signal.SIGKILL)
        journal = next((project / "reports").glob("*/undo.jsonl"))
        until(lambda: '"t":"closed"' in journal.read_text())
        assert status(project) == before
    finally:
        run.kill()
        run.wait()
        run.stderr.close()


def test_a_dead_instance_is_shown(project):
    assert blackstart(project, "stack", "up", "echo").returncode == 0
    os.kill(instances(status(project))["back"], signal.SIGKILL)
    shown = blackstart(project, "stack", "status", "echo")
    assert shown.returncode == 4
    assert re.search(r"echo\s+back\s+gone", shown.stdout)


def test_what_does_not_come_up_leaves_nothing(project):
    (project / "experiments" / "stacks" / "serve.py").write_text("raise SystemExit('no')")
    up = blackstart(project, "stack", "up", "echo")
    assert up.returncode == 4
    assert "instance back: ended before it was ready" in up.stderr and "no" in up.stderr
    assert blackstart(project, "stack", "status").stderr == "no stack is up\n"
    assert list((project / "state" / "stacks").iterdir()) == []


def test_a_name_that_nothing_has(project):
    for command in ("up", "down", "status"):
        done = blackstart(project, "stack", command, "ecko")
        assert done.returncode == 2
        assert "did you mean 'echo'?" in done.stderr


def test_a_run_does_not_end_its_fault_proxy_under_an_attached_client(project):
    stack = project / "experiments" / "stacks" / "echo.yaml"
    web = re.search(r"    host: \{process: \[python, serve.py, .*link:back.*\n", STACK)
    assert web is not None
    stack.write_text(STACK.replace(web[0], f"    host: {{pid: {os.getpid()}}}\n"))
    run = blackstart(project, "run", "slow-back")
    assert run.returncode == 4
    assert "link back: its client web runs already" in run.stderr and "stack up echo" in run.stderr
