"""The small commands as a user meets them: child processes, real signals, real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from harness.stacks.compose_project import compose_program

COMMAND = [str(Path(sys.executable).with_name("blackstart"))]
LIMIT_S = 90


@pytest.fixture
def env(tmp_path):
    return os.environ | {"BLACKSTART_STATE": str(tmp_path / "state")}


def blackstart(env, *args):
    return subprocess.run([*COMMAND, *args], env=env, capture_output=True, text=True, timeout=LIMIT_S)


def until(what, limit_s=LIMIT_S):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit_s} s: {what}")


@pytest.mark.live
def test_doctor_finds_what_every_run_needs(env):
    done = blackstart(env, "doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    states = {finding["name"]: finding["state"] for finding in json.loads(done.stdout)}
    assert {states[name] for name in ("system", "timer", "loopback", "state", "earlier runs")} == {"ok"}
    assert states["compose"] == ("absent" if compose_program() is None else "ok")
    assert states["kernel network"] in ("ok", "absent")


@pytest.mark.live
def test_doctor_says_when_its_state_cannot_be_kept(env, tmp_path):
    (tmp_path / "file").write_text("")
    done = blackstart(env | {"BLACKSTART_STATE": str(tmp_path / "file" / "state")}, "doctor")
    assert done.returncode == 4
    assert "BLACKSTART_STATE" in done.stdout


@pytest.mark.live
@pytest.mark.parametrize("listen", ["8474", "127.0.0.1:http", "127.0.0.1:99999"])
def test_proxy_refuses_what_is_no_address(env, listen):
    done = blackstart(env, "proxy", "--listen", listen)
    assert done.returncode == 2
    assert repr(listen) in done.stderr


@pytest.mark.live
def test_proxy_serves_until_interrupted(env):
    child = subprocess.Popen([*COMMAND, "proxy", "--listen", "127.0.0.1:0"], env=env, stdout=subprocess.PIPE, text=True)
    try:
        ready = json.loads(child.stdout.readline())
        with urllib.request.urlopen(f"http://127.0.0.1:{ready['port']}/proxies", timeout=5) as answer:
            assert json.load(answer) == {}
        child.send_signal(signal.SIGINT)
        child.wait(timeout=10)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.live
def test_halt_needs_a_live_run(env):
    done = blackstart(env, "halt")
    assert done.returncode == 4
    assert "no run is under way" in done.stderr
    assert "--within" in blackstart(env, "halt", "--within", "soon").stderr


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True], ids=["answering", "stopped"])
def test_halt_puts_a_frozen_region_back(env, tmp_path, stopped):
    run = subprocess.Popen(
        [*COMMAND, "run", "region-pause", "--reports", str(tmp_path / "reports")],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        journal = until(lambda: next((tmp_path / "reports").glob("*/undo.jsonl"), None))
        until(lambda: '"t":"intent"' in journal.read_text())
        if stopped:
            run.send_signal(signal.SIGSTOP)
        done = blackstart(env, "halt", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "put back"
        assert '"t":"closed"' in journal.read_text()
        if not stopped:
            assert run.wait(timeout=30) == 5
    finally:
        run.kill()
        run.wait()
