"""`init`, and what it makes: a project that runs at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pacing import paced

pytestmark = pytest.mark.live

COMMAND = [str(Path(sys.executable).with_name("blackstart"))]
FILES = {
    ".gitignore",
    "drills/README.md",
    "drills/answers.yaml",
    "drills/monthly.yaml",
    "drills/release.yaml",
    "drills/runbooks/store-down.yaml",
    "experiments/load/shop.py",
    "experiments/stacks/front.py",
    "experiments/stacks/shop.yaml",
    "experiments/stacks/store.py",
    "experiments/store-down.yaml",
    "reports/README.md",
}


def blackstart(folder, *args):
    env = os.environ | {"BLACKSTART_STATE": str(folder / "state"), "NO_COLOR": "1"}
    return subprocess.run([*COMMAND, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=170)


def made(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_it_makes_runs_as_it_is(tmp_path):
    done = blackstart(tmp_path, "init", "mine", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["files"]) == made(tmp_path / "mine") == FILES
    assert "blackstart run store-down" in done.stderr

    project = tmp_path / "mine"
    checked = blackstart(project, "validate")
    assert checked.stdout.count(": ok\n") == 4 and checked.returncode == 0
    assert "warning" not in checked.stderr and "answers.yaml: left out" in checked.stderr
    assert blackstart(project, "drill", "plan").stdout.startswith("monthly: ")
    held = blackstart(project, "gate")
    assert (held.returncode, "HELD  store-down" in held.stdout) == (1, True)
    result, run = paced(lambda: blackstart(project, "run", "--json"))
    assert (result["verdict"], run.returncode) == ("PASS", 0), (result["reasons"], run.stderr)
    assert result["measures"]["loss"]["lost"] == 0 and result["measures"]["loss"]["acknowledged"] > 400
    assert [fault["exposure"]["how"] for fault in result["faults"]] == ["served by store-west"]
    assert blackstart(project, "runs").stdout.count("store-down") >= 1
    assert blackstart(project, "gate").returncode == 0


def test_it_never_overwrites(tmp_path):
    (tmp_path / "reports").mkdir()
    mine = tmp_path / "reports" / "README.md"
    mine.write_text("mine")
    done = blackstart(tmp_path, "init")
    assert done.returncode == 2
    assert "nothing is written, these files are there already: reports/README.md\n" in done.stderr
    assert made(tmp_path) == {"reports/README.md"} and mine.read_text() == "mine"


def test_a_project_is_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for where in ("file", "file/below"):
        done = blackstart(tmp_path, "init", where)
        assert done.returncode == 2
        assert "file" in done.stderr and "Traceback" not in done.stderr
