"""One whole run in which faults overlap, nest, flap and follow one another, over a link, an instance, the load and the stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.faults import clock_skew
from harness.faults.strained import helpers
from harness.history.events import FaultEvent, of_type, read_events
from harness.run.journal import JournalView
from harness.run.process import is_alive

pytestmark = [pytest.mark.live, pytest.mark.slow]

BLACKSTART = Path(sys.executable).with_name("blackstart")
MS = 1_000_000

SERVER = """
import os, sys
from aiohttp import web

async def answer(request):
    return web.Response(text="ok", headers={"x-instance": "toy"})

app = web.Application()
app.router.add_get("/", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""

STACK = """
version: 1
kind: stack
name: toy
environment: test
regions:
  here: {serves: primary, entry: "http://${link:front}"}
instances:
  toy:
    region: here
    host: {process: [PYTHON, server.py, "${port:http}"], cwd: .}
    ports: [http]
    ready: {http: "http://${addr:toy.http}/", within: 30s}
  edge: {region: here, host: {external: "http://127.0.0.1:9"}}
links:
  front: {from: edge, to: "toy:http"}
drillable: [toy, "link:*"]
entry: "http://${link:front}"
"""

EXPERIMENT = """
version: 1
kind: experiment
name: composition
title: composition
hypothesis: everything comes back
stack: stack.yaml
seed: 11
load:
  profile: http
  arrival: {rate: 40/s, shape: even}
  timeout: 1s
steady_state: {for: 4s, require: ["good >= 90%"]}
blast_radius: {share: 100%}
recovered_when: "good >= 90% for 2s"
observe: 4s
settle: 20s
final: {within: 2s}
timeline:
  - {id: crowd, at: 0s, fault: load-surge, factor: 2, for: 6s}
  - {id: slow, at: 0s, fault: latency, delay: 20ms, on: {link: front}, for: 7s}
  - {id: thin, at: slow.start + 500ms, fault: bandwidth, rate: 500KB/s, on: {link: front}, for: 2s}
  - {id: flap, at: 1s, jitter: 300ms, fault: pause, on: {instance: toy}, for: 1500ms, repeat: {every: 3s, times: 2}}
  - {id: nested, at: flap.start + 700ms, fault: pause, on: {instance: toy}, for: 1500ms}
  - {id: hot, at: 0s, fault: cpu, load: 20%, workers: 1, on: {instance: toy}, for: 6s}
  - id: own
    at: 200ms
    fault: exec
    apply: [touch, flag]
    revert: [rm, -f, flag]
    witness: [test, -e, flag]
    for: 5s
  - {id: shut, at: slow.end + 300ms, fault: refuse, on: {link: front}, for: 1s}
SKEW
objectives: [availability >= 1%]
"""


KILLED = """
  - {id: crowd, at: 0s, fault: load-surge, factor: 2, for: 60s}
  - {id: slow, at: 0s, fault: latency, delay: 20ms, on: {link: front}, for: 60s}
  - {id: hot, at: 0s, fault: cpu, load: 20%, workers: 1, on: {instance: toy}, for: 60s}
  - {id: full, at: 0s, fault: disk-fill, size: 1MiB, on: {instance: toy}, for: 60s}
  - {id: own, at: 0s, fault: exec, apply: [touch, flag], revert: [rm, -f, flag], witness: [test, -e, flag], for: 60s}
  - {id: hang, at: 500ms, fault: pause, on: {instance: toy}, for: 60s}
  - {id: nested, at: 1s, fault: pause, on: {instance: toy}, for: 1s}
"""


@pytest.mark.timeout(240)
def test_a_killed_conductor_leaves_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "stack.yaml").write_text(STACK.replace("PYTHON", sys.executable))
    head = EXPERIMENT[: EXPERIMENT.index("timeline:")]
    experiment = tmp_path / "composition.yaml"
    experiment.write_text(f"{head}timeline:{KILLED}objectives: [availability >= 1%]\n")
    process = subprocess.Popen(
        [BLACKSTART, "run", experiment, "--reports", tmp_path / "reports"],
        cwd=tmp_path,
        env=os.environ | {"BLACKSTART_STATE": str(tmp_path / "home"), "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        journal = _until(lambda: _ended(tmp_path, "nested"), 120)
        flagged = (tmp_path / "flag").exists()
    finally:
        process.kill()
        process.wait()
    assert {intent.fault for intent in journal.unresolved} == {"crowd", "slow", "hot", "full", "own", "hang"}
    assert flagged, "the reaper may have been quick since"
    tokens = [intent.state["token"] for intent in journal.intents if intent.fault in ("hot", "full")]
    begun = time.monotonic()
    (run,) = (tmp_path / "reports").glob("2*Z-*")
    whole = _until(lambda: (view := JournalView.read(run / "undo.jsonl")).closed and view, 30)
    assert whole.unresolved == (), f"after {time.monotonic() - begun:.1f} s"
    assert {done.by for done in whole.reverted if done.id.split("@")[0] != "nested"} == {"reaper"}
    assert not (tmp_path / "flag").exists()
    assert [helpers(token) for token in tokens] == [(), ()]
    assert [
        spawned for spawned in whole.spawned if spawned.what != "reaper" and is_alive(spawned.pid, spawned.ticks)
    ] == []


def _ended(folder: Path, fault: str) -> JournalView | None:
    """The journal, once that fault has been reverted in it."""
    for path in (folder / "reports").glob("2*Z-*/undo.jsonl"):
        view = JournalView.read(path)
        if any(done.id.startswith(f"{fault}@") and done.verified for done in view.reverted):
            return view
    return None


def _until(ask: Callable[[], JournalView | bool | None], limit_s: float) -> JournalView:
    """What `ask` answers once it answers a journal."""
    deadline = time.monotonic() + limit_s
    while not isinstance(answer := ask(), JournalView):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return answer


@pytest.mark.timeout(240)
def test_everything_at_once_comes_back(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "stack.yaml").write_text(STACK.replace("PYTHON", sys.executable))
    skew = '  - {id: late, at: 0s, fault: clock-skew, offset: "-1h", on: {instance: toy}, for: 8s}'
    has_skew = clock_skew._library() is not None
    experiment = tmp_path / "composition.yaml"
    experiment.write_text(EXPERIMENT.replace("SKEW", skew if has_skew else ""))
    done = subprocess.run(
        [BLACKSTART, "run", experiment, "--reports", tmp_path / "reports", "--json"],
        cwd=tmp_path,
        env=os.environ | {"BLACKSTART_STATE": str(tmp_path / "home"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    faults = {fault["id"]: fault for fault in result["faults"]}
    wanted = {"crowd", "slow", "thin", "flap#1", "flap#2", "nested", "hot", "own", "shut"} | (
        {"late"} if has_skew else set()
    )
    assert set(faults) == wanted, (result["sentence"], done.stderr)
    assert {name for name, fault in faults.items() if not fault["witnessed"]} == set(), result["sentence"]
    assert {name for name, fault in faults.items() if fault["held"] is False} == set(), result["sentence"]
    assert {name for name, fault in faults.items() if not fault["verified"]} == set(), result["sentence"]
    (run,) = (tmp_path / "reports").glob("2*Z-*")
    _order(run)
    journal = JournalView.read(run / "undo.jsonl")
    assert journal.closed and journal.unresolved == ()
    assert [spawned for spawned in journal.spawned if is_alive(spawned.pid, spawned.ticks)] == []
    (hot,) = (intent for intent in journal.intents if intent.fault == "hot")
    assert helpers(hot.state["token"]) == ()
    assert not (tmp_path / "flag").exists()
    assert hot.deadline_ns == hot.state["deadline_ns"], "the helper ends when the journal says"


def _order(run: Path) -> None:
    """The nested pause outlasts the one it began in; the second flap comes after both; what follows an end follows it."""
    at: dict[tuple[str, str], int] = {}
    said: dict[tuple[str, str], str] = {}
    for event in of_type(read_events(run / "events.jsonl"), FaultEvent):
        at[event.id, event.stage] = event.at_ns
        said[event.id, event.stage] = event.what
    assert said["flap#1", "verified"] == "left to nested, which stands on the same original"
    assert "runs again" in said["nested", "verified"]
    assert at["flap#1", "applying"] < at["nested", "applying"] < at["flap#1", "verified"] < at["nested", "verified"]
    assert at["nested", "verified"] < at["flap#2", "applying"] + 1500 * MS
    assert at["slow", "applying"] < at["thin", "applying"] < at["thin", "verified"] < at["slow", "verified"]
    assert at["shut", "applying"] > at["slow", "reverting"]
