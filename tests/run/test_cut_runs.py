"""Whole runs with a cut in the kernel: a role's holder as a side, and what is left when the conductor dies."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.faults import nft
from harness.run.journal import JournalView
from tests.run.small import BLACKSTART, Small, processes_of

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="rules in the kernel need root"),
    pytest.mark.timeout(150),
]
STACK = """\
version: 1
kind: stack
name: pair
environment: test
regions:
  here: {serves: primary, entry: "http://${addr:n-1.http}"}
instances:
  n-1:
    region: here
    service: node
    address: 127.94.0.1
    host:
      python: "leader_pair:main"
      preload: [leader_pair]  # before the user changes: it may not be allowed to read our Python
      args: [n-1, "${addr:n-1}", "${port:http}", "${port:peer}", "${addr:n-2}", "9402", FOLDER/leader]
    ports: {http: 9401, peer: 9403}
  n-2:
    service: node
    address: 127.94.0.2
    user: "24002"
    host:
      python: "leader_pair:main"
      preload: [leader_pair]  # before the user changes: it may not be allowed to read our Python
      args: [n-2, "${addr:n-2}", "${port:http}", "${port:peer}", "${addr:n-1}", "9403", FOLDER/leader]
    ports: {http: 9404, peer: 9402}
roles:
  leader: {exec: [cat, FOLDER/leader]}
drillable: ["service:node"]
entry: "http://${addr:n-1.http}"
"""
CUT = "{id: cut, at: 0s, fault: partition, between: [{role: leader}, {service: node}], ports: [peer], for: FOR}"
PAUSE = "{id: silent, at: cut.end + 1500ms, fault: pause, on: {role: leader}, for: 500ms, expect: no-impact}"


@pytest.fixture
def small() -> Iterator[Small]:
    """The pair, in a folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="blackstart-pair-"))
    folder.chmod(0o777)
    try:
        (folder / "leader").write_text("n-1")
        (folder / "leader").chmod(0o666)
        shutil.copy(Path(__file__).with_name("leader_pair.py"), folder)
        made = Small(folder, stack=STACK.replace("FOLDER", str(folder)))
        made.profile = made.profile.replace(
            "reply.raise_for_status()\n\n",
            'op.served_by = reply.headers["x-instance"]\n                reply.raise_for_status()\n\n',
        )
        head, _, rest = made.experiment.partition("timeline:\n")
        made.experiment = f"{head}timeline:\n  - {CUT}\nobserve: {rest.partition('observe: ')[2]}"
        yield made
    finally:
        for name in standing(folder):
            asyncio.run(nft.drop_table(name))
        shutil.rmtree(folder, ignore_errors=True)


def standing(folder: Path) -> list[str]:
    """Tables of the runs of this folder."""
    runs = [run.name.lower().replace("-", "_") for run in (folder / "reports").glob("2*Z-*")]
    return [name for name in asyncio.run(nft.ours()) if any(run in name for run in runs)]


def test_faults_on_a_role_fall_on_who_holds_it_then_and_come_off_the_same_one(small: Small) -> None:
    cut = CUT.replace("FOR", "1500ms, expect: no-impact")
    small.experiment = small.experiment.replace(CUT, f"{cut}\n  - {PAUSE}")
    _, _, talk = small.run()
    result = small.result()
    assert result["verdict"] == "PASS", (result["reasons"], talk)
    (run,) = small.runs
    intents = {intent.fault: intent for intent in JournalView.read(run / "undo.jsonl").intents}
    first, second = intents["cut"].target.sides
    assert [end.instance for end in first] == ["n-1"], "it led when the cut came"
    assert [(end.instance, end.address, end.user) for end in second] == [("n-2", "127.94.0.2", "24002")]
    assert intents["silent"].target.name == "n-2", "unheard, the other took over"
    assert (small.folder / "leader").read_text() == "n-2"
    assert standing(small.folder) == []
    assert processes_of(small.folder) == []


def begun(small: Small) -> tuple[subprocess.Popen[str], str]:
    """The run under way with its cut witnessed, and the cut's table."""
    process = small.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        logs = [run / "events.jsonl" for run in small.runs]
        if any(log.exists() and '"witnessed"' in log.read_text() for log in logs):
            (table,) = standing(small.folder)
            return process, table
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the cut was never witnessed: {process.communicate(timeout=10)}")


def test_the_reaper_drops_the_table_of_a_killed_run_within_two_seconds(small: Small) -> None:
    small.experiment = small.experiment.replace("FOR", "40s")
    process, _ = begun(small)
    process.kill()
    killed = time.monotonic()
    while standing(small.folder):
        assert time.monotonic() - killed < 2, "the table still stands"
        time.sleep(0.02)
    process.communicate()
    (run,) = small.runs
    deadline = time.monotonic() + 20
    while not (view := JournalView.read(run / "undo.jsonl")).closed:
        assert time.monotonic() < deadline, "the reaper never closed the journal"
        time.sleep(0.05)
    assert [(record.verified, record.by) for record in view.reverted] == [(True, "reaper")]
    while processes_of(small.folder):
        assert time.monotonic() < deadline, processes_of(small.folder)
        time.sleep(0.05)


def test_recover_alone_drops_the_table_when_the_reaper_died_too(small: Small) -> None:
    small.experiment = small.experiment.replace("FOR", "40s")
    process, table = begun(small)
    (run,) = small.runs
    (reaper,) = [one.pid for one in JournalView.read(run / "undo.jsonl").spawned if one.what == "reaper"]
    process.send_signal(signal.SIGSTOP)  # or it would see the reaper go, and put everything back itself
    os.kill(reaper, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert standing(small.folder) == [table]
    command = [BLACKSTART, "recover", "--all", "--json"]
    told = subprocess.run(command, env=small.environment, cwd=small.folder, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert standing(small.folder) == []
    assert JournalView.read(run / "undo.jsonl").closed
    assert processes_of(small.folder) == []
    assert json.loads(told.stdout)
