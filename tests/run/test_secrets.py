"""A value from the environment reaches the stack, and no file or line of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.history.events import (
    FaultEvent,
    InstanceEvent,
    LoadEvent,
    NoteEvent,
    SignalEvent,
    StepEvent,
    mask,
)
from harness.run.journal import JournalView
from tests.run.ground import wait_until

COMMAND = [str(Path(sys.executable).with_name("blackstart"))]
SECRET = 'sup3r"s3cret-val'


def test_free_texts_of_events_are_masked_and_names_are_not() -> None:
    secrets = frozenset({"gateway"})
    fault = FaultEvent(at_ns=1, id="gateway", kind="kill", target="gateway", stage="failed", what="gateway said no")
    assert mask(fault, secrets) == FaultEvent(
        at_ns=1, id="gateway", kind="kill", target="gateway", stage="failed", what="*** said no"
    )
    step = mask(StepEvent(at_ns=1, id="gateway", stage="ended", output="gateway up"), secrets)
    assert (step.id, step.output) == ("gateway", "*** up")
    signal = mask(SignalEvent(at_ns=1, source="log:gateway", event="up", fields={"who": "gateway"}), secrets)
    assert (signal.source, signal.fields) == ("log:gateway", {"who": "***"})
    note = mask(NoteEvent(at_ns=1, code="unreverted", text="t", data={"commands": ["kill gateway"]}), secrets)
    assert note.data == {"commands": ["kill ***"]}
    instance = mask(InstanceEvent(at_ns=1, instance="gateway", what="exited", detail="gateway"), frozenset({"exited"}))
    assert instance.what == "exited"
    report = {"profile": "gateway", "workers": [{"worker": 0, "error": "no gateway"}]}
    load = mask(LoadEvent(at_ns=1, report=report), secrets)
    assert load.report == {"profile": "gateway", "workers": [{"worker": 0, "error": "no ***"}]}


def blackstart(folder, *args, secret=SECRET):
    env = os.environ | {"BLACKSTART_STATE": str(folder.parent / "state"), "NO_COLOR": "1", "SHOP_TOKEN": secret}
    return subprocess.run([*COMMAND, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=170)


def changed(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path):
    """The starter project, its token everywhere that a document can put one; its stores log what they were given."""
    folder = tmp_path / "project"
    assert subprocess.run([*COMMAND, "init", str(folder)], capture_output=True, timeout=100).returncode == 0
    stack, experiment = folder / "experiments/stacks/shop.yaml", folder / "experiments/store-down.yaml"
    changed(stack, "environment: local\n", 'environment: local\nparams: {auth: "Bearer ${env:SHOP_TOKEN}"}\n')
    changed(
        stack,
        "host: {process: [python, store.py, store-west,",
        'host: {env: {KEY: "${env:SHOP_TOKEN}", AUTH: "${param:auth}"}, process: [python, store.py, store-west,',
    )
    with stack.open("a") as file:
        file.write('probes:\n  leak: {exec: [sh, -c, "echo $$0 >&2; exit 3", "${env:SHOP_TOKEN}"], every: 1s}\n')
    changed(
        folder / "experiments/stacks/store.py",
        "if __name__",
        'import os\n\nprint("given", os.environ.get("KEY"), os.environ.get("AUTH"), flush=True)\nif __name__',
    )
    changed(experiment, "title: The primary region's store dies", 'title: "It dies with ${env:SHOP_TOKEN}"')
    changed(
        experiment,
        "timeline:\n",
        'timeline:\n  - {id: note, at: 1s, do: {exec: [sh, -c, "echo says $$0", "${env:SHOP_TOKEN}"]}}\n',
    )
    return folder


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_file_and_no_line_of_a_run_holds_it(project):
    plans = [blackstart(project, "plan", *more) for more in ((), ("--json",))]
    assert not any("s3cret" in done.stdout + done.stderr for done in plans)
    other = blackstart(project, "plan", "--json", secret="an0ther-value")
    assert json.loads(other.stdout)["hash"] == json.loads(plans[1].stdout)["hash"]

    done = blackstart(project, "run", "--json")
    result = json.loads(done.stdout)
    assert result["steps"][0]["output"] == "says ***\n"
    assert "s3cret" not in done.stdout + done.stderr
    (run,) = (project / "reports").glob("2*Z-*")
    assert (run / "logs" / "store-west.log").read_text().startswith("given *** Bearer ***\n"), "it reached the stack"
    holding = [path for path in project.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert holding == []
    assert "KEY: ${env:SHOP_TOKEN}" in (run / "inputs" / "stack.yaml").read_text()
    assert "auth: Bearer ${env:SHOP_TOKEN}" in (run / "inputs" / "stack.yaml").read_text()
    assert "title: It dies with ${env:SHOP_TOKEN}" in (run / "inputs" / "experiment.yaml").read_text()
    sealed = json.loads((run / "manifest.json").read_text())["files"]
    assert {"inputs/stack.yaml", "inputs/experiment.yaml", "judging.jsonl"} <= set(sealed)
    assert blackstart(project, "verify", "last").returncode == 0
    judging = [json.loads(line) for line in (run / "judging.jsonl").read_text().splitlines()]
    assert [one["phase"] for one in judging if one["t"] == "phase"] == ["measure", "check", "judge", "render"]


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("with_reaper", [False, True], ids=["conductor", "both"])
def test_no_log_of_a_killed_run_holds_it(project, with_reaper):
    """The reaper takes it out, and where that died too `recover` does: both from the environment they are started in."""
    env = os.environ | {"BLACKSTART_STATE": str(project.parent / "state"), "SHOP_TOKEN": SECRET}
    run = subprocess.Popen([*COMMAND, "run"], cwd=project, env=env, stderr=subprocess.DEVNULL)

    def log():
        return next(project.glob("reports/2*Z-*/logs/store-west.log"), None)

    assert wait_until(lambda: log() is not None and b"s3cret" in log().read_bytes(), 60) is not None
    path = log().parents[1] / "undo.jsonl"
    (reaper,) = (one for one in JournalView.read(path).spawned if one.what == "reaper")
    if with_reaper:
        os.kill(reaper.pid, signal.SIGKILL)
    run.kill()
    run.wait()
    if with_reaper:
        assert blackstart(project, "recover", "--all").returncode == 0
    assert (
        wait_until(
            lambda: not any(b"s3cret" in one.read_bytes() for one in path.parent.rglob("*") if one.is_file()), 30
        )
        is not None
    )
    assert log().read_text().startswith("given *** Bearer ***\n")
