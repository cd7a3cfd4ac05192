"""Whole runs of a stack whose regions are network namespaces: a cut between them, and nothing left however the conductor ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.model.wiring import RegionNetworks
from harness.run.journal import JournalView
from harness.stacks.netns import NAMED
from tests.run.small import BLACKSTART, Small, processes_of

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(150),
]
STACK = """\
version: 1
kind: stack
name: regions
environment: test
regions:
  east: {serves: primary, isolation: netns, entry: "http://${addr:n-1.http}"}
  west: {serves: standby, isolation: netns}
instances:
  n-1:
    region: east
    host:
      python: "leader_pair:main"
      args: [n-1, "${addr:n-1}", "${port:http}", "${port:peer}", "${addr:n-2}", "9402", FOLDER/leader]
    ports: {http: 9401, peer: 9402}
  n-2:
    region: west
    host:
      python: "leader_pair:main"
      args: [n-2, "${addr:n-2}", "${port:http}", "${port:peer}", "${addr:n-1}", "9402", FOLDER/leader]
    ports: {http: 9401, peer: 9402}
drillable: ["region:*"]
entry: "http://${addr:n-1.http}"
"""
CUT = (
    "{id: cut, at: 0s, fault: partition, between: [{region: east}, {region: west}], via: namespace, for: FOR,"
    " expect: no-impact}"
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    (tmp_path / "leader").write_text("n-1")
    shutil.copy(Path(__file__).with_name("leader_pair.py"), tmp_path)
    made = Small(tmp_path, stack=STACK.replace("FOLDER", str(tmp_path)))
    made.profile = made.profile.replace(
        "reply.raise_for_status()\n\n",
        'op.served_by = reply.headers["x-instance"]\n                reply.raise_for_status()\n\n',
    )
    head, _, rest = made.experiment.partition("timeline:\n")
    made.experiment = f"{head}timeline:\n  - {CUT}\nobserve: {rest.partition('observe: ')[2]}"
    yield made
    subprocess.run([BLACKSTART, "recover", "--all"], env=made.environment, capture_output=True, check=False, timeout=60)
    assert [left for run in made.runs for left in standing(networks_of(run))] == []


def until(holds: Callable[[], bool], limit_s: float, what: str) -> float:
    """How long it took, in seconds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s, what
        time.sleep(0.02)
    return time.monotonic() - began


def networks_of(run: Path) -> RegionNetworks:
    opened = JournalView.read(run / "undo.jsonl").opened
    assert opened is not None
    assert opened.wiring.networks is not None
    return opened.wiring.networks


def standing(networks: RegionNetworks) -> list[str]:
    """What is there of a run's networks."""
    named = os.listdir(NAMED) if os.path.isdir(NAMED) else []
    devices = os.listdir("/sys/class/net")
    return [name for name in named if name.startswith(networks.mark)] + [
        one for one in devices if one == networks.interface
    ]


def test_two_regions_are_two_hosts_and_a_cut_between_them_goes_with_everything_else(small: Small) -> None:
    small.experiment = small.experiment.replace("FOR", "1500ms")
    _, _, talk = small.run()
    result = small.result()
    assert result["verdict"] == "PASS", (result["reasons"], talk)
    (run,) = small.runs
    (intent,) = JournalView.read(run / "undo.jsonl").intents
    first, second = intent.state["boxes"]["first"], intent.state["boxes"]["second"]
    assert [(box["instances"], len(box["addresses"])) for box in (*first, *second)] == [(["n-1"], 1), (["n-2"], 1)]
    assert first[0]["inode"] != second[0]["inode"] != os.stat("/proc/self/ns/net").st_ino
    assert (small.folder / "leader").read_text() == "n-2", "unheard, the other took over"
    assert standing(networks_of(run)) == []
    assert processes_of(small.folder) == []


def begun(small: Small) -> tuple[subprocess.Popen[str], Path]:
    """The run under way with its cut witnessed."""
    small.experiment = small.experiment.replace("FOR", "40s")
    process = small.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        logs = [run / "events.jsonl" for run in small.runs]
        if any(log.exists() and '"witnessed"' in log.read_text() for log in logs):
            (run,) = small.runs
            return process, run
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the cut was never witnessed: {process.communicate(timeout=10)}")


def test_namespaces_of_a_killed_run_go_with_its_stack(small: Small) -> None:
    process, run = begun(small)
    networks = networks_of(run)
    assert len(standing(networks)) == 4, "two regions, what lies between them, and our own end"
    process.kill()
    process.communicate()
    until(lambda: not standing(networks), 20, f"still there: {standing(networks)}")
    until(lambda: JournalView.read(run / "undo.jsonl").closed, 20, "the reaper never closed the journal")
    reverted = JournalView.read(run / "undo.jsonl").reverted
    assert [(record.verified, record.by) for record in reverted] == [(True, "reaper")]
    until(lambda: not processes_of(small.folder), 20, f"still there: {processes_of(small.folder)}")


def test_recover_alone_removes_them_when_the_reaper_died_too(small: Small) -> None:
    process, run = begun(small)
    (reaper,) = [one.pid for one in JournalView.read(run / "undo.jsonl").spawned if one.what == "reaper"]
    process.send_signal(signal.SIGSTOP)  # or it would see the reaper go, and put everything back itself
    os.kill(reaper, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert len(standing(networks_of(run))) == 4
    command = [BLACKSTART, "recover", "--all", "--json"]
    told = subprocess.run(command, env=small.environment, cwd=small.folder, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert standing(networks_of(run)) == []
    assert JournalView.read(run / "undo.jsonl").closed
    assert processes_of(small.folder) == []
    assert json.loads(told.stdout)


def test_a_hosted_stack_keeps_its_namespaces_until_it_is_taken_down(small: Small) -> None:
    small.experiment = small.experiment.replace("FOR", "1500ms")
    (small.folder / "stack.yaml").write_text(small.stack)

    def stack(*words: str) -> subprocess.CompletedProcess[str]:
        command = [BLACKSTART, "stack", *words]
        return subprocess.run(
            command, env=small.environment, cwd=small.folder, capture_output=True, text=True, timeout=60, check=False
        )

    up = stack("up", "stack.yaml")
    assert up.returncode == 0, up.stderr
    try:
        _, _, talk = small.run()
        assert small.result()["verdict"] == "PASS", talk
        networks = networks_of(small.runs[0])
        assert len(standing(networks)) == 4, "they are the stack's, not the run's"
    finally:
        down = stack("down", "regions")
    assert down.returncode == 0, down.stderr
    assert standing(networks) == []
