"""B23: what one, two and three signals do to a real run with a fault standing. Documented exit codes, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.run.journal import JournalView
from harness.run.process import is_alive
from tests.ports import free_port
from tests.run.ground import QUICK, state_of, wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(240)]

BLACKSTART = Path(sys.executable).with_name("blackstart")
LIMIT_S = 90


@pytest.fixture
def attached(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Two servers that run already, and an experiment that freezes one of them for a minute, under a little load."""
    ports = {name: free_port() for name in ("front", "back")}
    pids = {name: tmp_path / f"{name}.pid" for name in ports}
    quick = QUICK.split(", ")
    for name, port in ports.items():
        subprocess.run([*quick, str(port), pids[name]], check=True, timeout=30)
    instances = "\n".join(
        f"  {name}: {{region: {region}, host: {{pid: {{file: {pids[name]}}}}}, ports: {{http: {ports[name]}}}}}"
        for name, region in (("front", "eu"), ("back", "us"))
    )
    (tmp_path / "stack.yaml").write_text(
        f"version: 1\nkind: stack\nname: attached\nregions: {{eu: {{}}, us: {{}}}}\ninstances:\n{instances}\n"
        'drillable: ["region:us"]\nentry: "http://${addr:front.http}"\n'
    )
    (tmp_path / "frozen.yaml").write_text(
        "version: 1\nkind: experiment\nname: frozen\ntitle: t\nhypothesis: h\nstack: stack.yaml\n"
        "load: {profile: http, arrival: {rate: 20/s}, timeout: 1s, warmup: 100ms}\n"
        'steady_state: {for: 500ms, require: ["good >= 1%"]}\nrecovered_when: "good >= 1% for 3s"\n'
        "timeline: [{id: back, at: 0s, fault: pause, on: {instance: [back]}, for: 60s}]\n"
        "settle: 20s\nobjectives: [recovery_time <= 5s]\n"
    )
    env = os.environ | {"BLACKSTART_STATE": str(tmp_path / "state"), "NO_COLOR": "1"}
    yield SimpleNamespace(folder=tmp_path, pids=pids, env=env)
    for file in pids.values():
        os.kill(int(file.read_text()), signal.SIGKILL)


def start(attached: SimpleNamespace) -> subprocess.Popen[str]:
    """The run, with its fault standing."""
    run = subprocess.Popen(
        [BLACKSTART, "run", "frozen.yaml"], cwd=attached.folder, env=attached.env, stderr=subprocess.PIPE, text=True
    )
    assert wait_until(lambda: state_of(attached.pids["back"]) == "T" or run.poll() is not None, LIMIT_S) is not None
    assert run.poll() is None, run.communicate()[1]
    return run


def run_dir(attached: SimpleNamespace) -> Path:
    (found,) = (attached.folder / "reports").glob("2*Z-frozen-*")
    return found


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGHUP)], ids=["once", "twice"])
def test_once_and_twice_put_everything_back_and_report(
    attached: SimpleNamespace, numbers: tuple[signal.Signals, ...]
) -> None:
    run = start(attached)
    for number in numbers:
        run.send_signal(number)
    _, said = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 5, said
    assert state_of(attached.pids["back"]) not in ("T", None)
    journal = JournalView.read(run_dir(attached) / "undo.jsonl")
    assert journal.closed
    assert [record.by for record in journal.reverted] == ["conductor"]
    result = json.loads((run_dir(attached) / "result.json").read_text())
    assert (result["verdict"], result["exit_code"]) == ("ABORTED", 5)
    assert result["reasons"][0]["code"] == "abort-signal"
    assert {row["source"] for row in result["safety"]["audited"]} >= {"attached instances", "our own processes"}
    assert (run_dir(attached) / "report.html").stat().st_size > 0


def test_the_third_leaves_at_once_and_the_reaper_finishes(attached: SimpleNamespace) -> None:
    run = start(attached)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        run.send_signal(number)
    _, said = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 7, said
    path = run_dir(attached) / "undo.jsonl"
    assert wait_until(lambda: JournalView.read(path).closed, LIMIT_S) is not None
    assert state_of(attached.pids["back"]) not in ("T", None)
    view = JournalView.read(path)
    assert view.unresolved == ()
    assert [one.what for one in view.spawned if one.what != "reaper" and is_alive(one.pid, one.ticks)] == []


def test_the_next_run_finishes_first_what_a_dead_one_left(attached: SimpleNamespace) -> None:
    """A run that died with its reaper: the next one on its stack puts everything back before it begins, and says so."""
    dead = start(attached)
    path = run_dir(attached) / "undo.jsonl"
    (reaper,) = (one for one in JournalView.read(path).spawned if one.what == "reaper")
    os.kill(reaper.pid, signal.SIGKILL)
    dead.kill()
    dead.communicate()
    assert state_of(attached.pids["back"]) == "T"
    quick = ["--set", "timeline[0].for=1s", "--set", "settle=4s", "--set", "observe=1s", "--set", "final.within=1s"]
    done = subprocess.run(
        [BLACKSTART, "run", "frozen.yaml", *quick],
        cwd=attached.folder,
        env=attached.env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert "had died unfinished; put back first: back@back" in done.stderr, done.stderr
    assert JournalView.read(path).closed
    assert done.returncode in (0, 3), done.stderr
    newest = max((attached.folder / "reports").glob("2*Z-frozen-*"))
    assert '"code":"finished-earlier"' in (newest / "events.jsonl").read_text()
    assert state_of(attached.pids["back"]) not in ("T", None)


def test_a_reaper_that_is_stopped_is_noticed_and_the_run_puts_everything_back(attached: SimpleNamespace) -> None:
    run = start(attached)
    path = run_dir(attached) / "undo.jsonl"
    (reaper,) = (one for one in JournalView.read(path).spawned if one.what == "reaper")
    os.kill(reaper.pid, signal.SIGSTOP)
    assert wait_until(lambda: state_of(attached.pids["back"]) != "T", 8) is not None, "nothing stands unguarded"
    _, said = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 5, said
    view = JournalView.read(path)
    assert (view.closed, [record.by for record in view.reverted]) == (True, ["conductor"])
    assert not is_alive(reaper.pid, reaper.ticks)
    reason = json.loads((run_dir(attached) / "result.json").read_text())["reasons"][0]
    assert (reason["code"], reason["text"]) == ("abort-reaper", "the reaper is stopped: nothing may stand unguarded")
