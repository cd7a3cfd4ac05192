"""Whole runs of the reference stack through the command line: the record, the outputs, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import InjectError
from harness.history.history import History
from harness.proxy.client import revive_links
from harness.run.journal import JournalView
from harness.run.process import is_alive

pytestmark = [pytest.mark.live, pytest.mark.slow]

BLACKSTART = Path(sys.executable).with_name("blackstart")
GENAI = Path(__file__).parents[2] / "experiments" / "stacks" / "genai.yaml"

QUIET = """
version: 1
kind: experiment
name: {name}
title: {name}
hypothesis: it holds
stack: genai
seed: 3
load:
  profile: chat
  arrival: {{rate: 20/s, shape: even}}
  timeout: 2s
  with: {{sessions: 60, stream: true}}
steady_state: {{for: 5s, require: ["good >= 95%"]}}
blast_radius: {{regions: 2, share: 50%}}
recovered_when: "good >= 95% for 3s"
observe: 6s
settle: 30s
final: {{within: 15s}}
timeline:
{timeline}
objectives: [data_loss = 0]
checks: [durable, exactly-once]
"""


def written(tmp_path: Path, name: str, *timeline: str) -> Path:
    path = tmp_path / f"{name}.yaml"
    path.write_text(QUIET.format(name=name, timeline="\n".join(f"  - {entry}" for entry in timeline)))
    return path


def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"BLACKSTART_STATE": str(tmp_path / "home"), "NO_COLOR": "1"}


def only_run(tmp_path: Path) -> Path:
    (run,) = (tmp_path / "reports").glob("2*Z-*")
    return run


def left_of(journal: JournalView) -> list[int]:
    return [spawned.pid for spawned in journal.spawned if is_alive(spawned.pid, spawned.ticks)]


@pytest.mark.timeout(240)
def test_a_killed_region_is_measured_judged_and_put_back(tmp_path: Path) -> None:
    experiment = written(tmp_path, "kill", "{id: down, at: 0s, fault: kill, on: {region: eu-west}, for: 8s}")
    done = subprocess.run(
        [BLACKSTART, "run", experiment, "--reports", tmp_path / "reports", "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    run = only_run(tmp_path)
    result = json.loads((run / "result.json").read_text())
    assert json.loads(done.stdout) == result, done.stderr
    # A machine too busy to pace the load proves nothing, and must say so; it must never say FAIL of a healthy stack.
    assert result["verdict"] in ("PASS", "INCONCLUSIVE"), (result["sentence"], done.stderr)
    assert done.returncode == result["exit_code"]
    assert result["measures"]["loss"]["lost"] == 0
    assert {fault["verified"] for fault in result["faults"]} == {True}
    assert result["measures"]["recovery"]["state"] == "recovered", result["measures"]["recovery"]
    for name in ("plan.json", "events.jsonl", "undo.jsonl", "report.html", "junit.xml", "summary.md", "manifest.json"):
        assert (run / name).stat().st_size > 0, name
    history = History.read(run)
    warmup, first = history.phase("warmup"), history.ops.where(history.ops.is_("phase", "load")).ints("intended_ns")[0]
    assert warmup is not None and 0 <= first - warmup[0] < 500_000_000, "the load is there from the warm-up on"
    journal = JournalView.read(run / "undo.jsonl")
    assert journal.closed
    assert left_of(journal) == []
    before = {name: (run / name).read_bytes() for name in ("result.json", "junit.xml", "summary.md")}
    again = subprocess.run(
        [BLACKSTART, "report", run], cwd=tmp_path, env=environment(tmp_path), capture_output=True, timeout=100
    )
    assert again.returncode == result["exit_code"]
    assert {name: (run / name).read_bytes() for name in before} == before, "the same history gives the same bytes"


@pytest.mark.timeout(240)
def test_a_link_is_refused_through_shopifys_server(tmp_path: Path) -> None:
    if shutil.which("toxiproxy-server") is None:
        pytest.skip("needs Shopify's toxiproxy-server on PATH")
    stack = tmp_path / "genai.yaml"
    stack.write_text(f"version: 1\nkind: stack\nname: genai\nextends: {GENAI}\nfault_proxy: toxiproxy\n")
    experiment = written(tmp_path, "shopify", "{id: sick, at: 0s, fault: refuse, on: {link: provider-eu}, for: 8s}")
    experiment.write_text(experiment.read_text().replace("stack: genai", f"stack: {stack}"))
    done = subprocess.run(
        [BLACKSTART, "run", experiment, "--reports", tmp_path / "reports", "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    result = json.loads(done.stdout)
    # A machine too busy to pace the load proves nothing, and says so.
    assert result["verdict"] in ("PASS", "INCONCLUSIVE"), (result["sentence"], done.stderr)
    (fault,) = result["faults"]
    assert fault["witnessed"] and fault["verified"], fault
    assert result["measures"]["recovery"]["state"] == "recovered", result["measures"]["recovery"]
    assert result["measures"]["counts"]["bad"] > 0
    journal = JournalView.read(only_run(tmp_path) / "undo.jsonl")
    assert journal.closed
    assert left_of(journal) == []


@pytest.mark.timeout(120)
def test_a_killed_conductor_leaves_no_paused_region_and_no_cut_link(tmp_path: Path) -> None:
    experiment = written(
        tmp_path,
        "killed",
        "{id: frozen, at: 0s, fault: pause, on: {region: eu-west}, for: 60s}",
        "{id: cut, at: 0s, fault: partition, on: {link: repl-us-eu}, for: 60s}",
    )
    command = [BLACKSTART, "run", experiment, "--reports", tmp_path / "reports"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            witnessed = 0
            said = []
            for line in process.stderr:
                said.append(line)
                witnessed += bool(re.search(r": witnessed", line))
                if witnessed == 4:
                    break
            assert witnessed == 4, "".join(said)
            journal_path = only_run(tmp_path) / "undo.jsonl"
            view = JournalView.read(journal_path)
            assert view.opened is not None
            frozen = [intent.state["pid"] for intent in view.intents if intent.kind == "pause"]
            assert {state_of(pid) for pid in frozen} == {"T"}
            process.kill()
            begun = time.monotonic()
            while any(state_of(pid) == "T" for pid in frozen) or is_cut(view):
                assert time.monotonic() - begun < 2, "a fault still stands 2 s after the conductor died"
                time.sleep(0.01)
            deadline = time.monotonic() + 20
            while not JournalView.read(journal_path).closed and time.monotonic() < deadline:
                time.sleep(0.05)
            final = JournalView.read(journal_path)
            assert final.closed
            assert final.unresolved == ()
            assert not any(is_alive(pid, None) and state_of(pid) == "T" for pid in frozen)
        finally:
            process.send_signal(signal.SIGKILL)


def state_of(pid: int) -> str | None:
    """The process's state letter; T is stopped. None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def is_cut(view: JournalView) -> bool:
    assert view.opened is not None
    assert view.opened.links is not None
    links = revive_links(view.opened.links)

    async def look() -> bool:
        try:
            return bool((await links.get("repl-us-eu")).toxics)
        except InjectError:
            return False  # the fault proxy has ended, and its cut with it

    return asyncio.run(look())
