"""The wheel, installed into an empty environment in another folder, is a whole Blackstart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=100)
    if "No module named" in done.stderr:
        pytest.skip("needs hatchling to build the wheel")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def blackstart(wheel, tmp_path_factory):
    """The command, installed from the wheel alone. Dependencies are lent by this environment, which it else knows nothing of."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home / "env", with_pip=False)
    python = home / "env" / "bin" / "python"
    if shutil.which("uv"):
        install = ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel)]
    elif subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    else:
        pytest.skip("needs uv or pip to install the wheel")
    done = subprocess.run(install, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    (packages,) = (home / "env" / "lib").glob("python*/site-packages")
    # A folder on the path, not a site folder: the editable install of this checkout stays unknown.
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (home / "work").mkdir()
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"BLACKSTART_STATE": str(home / "state"), "NO_COLOR": "1"}

    def run(*args, timeout=100):
        command = [str(home / "env" / "bin" / "blackstart"), *args]
        return subprocess.run(command, cwd=home / "work", env=env, capture_output=True, text=True, timeout=timeout)

    where = [str(python), "-c", "import harness; print(harness.__file__)"]
    found = subprocess.run(where, cwd=home / "work", env=env, capture_output=True, text=True, timeout=60).stdout
    assert found.startswith(str(home)), f"not the wheel's: {found}"
    return run


def test_it_carries_what_is_built_in(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [path for folder in ("experiments", "drills") for path in (ROOT / folder).rglob("*.yaml")]
    experiments = {f"harness/builtin/{path.relative_to(ROOT)}" for path in shipped}
    starter = {str(path.relative_to(ROOT)) for path in (ROOT / "harness/cli/starter").rglob("*.*") if path.is_file()}
    starter = {name for name in starter if "__pycache__" not in name} | {"harness/cli/starter/gitignore"}
    assert experiments and experiments <= names
    assert starter <= names
    assert {"harness/builtin/drills/README.md", "harness/builtin/drills/runbooks/region-loss.yaml"} <= names
    assert {"harness/report/templates/report.html.j2", "harness/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "experiments/"))]


def test_the_built_ins_are_found_by_name(blackstart):
    done = blackstart("validate", "region-kill")
    assert (done.returncode, done.stdout) == (0, "region-kill: ok\n"), done.stderr
    assert blackstart("plan", "region-kill").stdout.startswith("region-kill: The primary region dies")


def test_init_makes_a_project(blackstart):
    assert blackstart("init", "mine").returncode == 0
    assert blackstart("validate", "mine/experiments/store-down.yaml").returncode == 0


@pytest.mark.timeout(600)
def test_demo(blackstart):
    done = blackstart("demo", "--json", timeout=580)  # it repeats a run that says that this machine was too busy for it
    acts = json.loads(done.stdout)
    assert [act["expected"] for act in acts] == ["PASS", "FAIL:durable"], done.stderr
    for act in acts:
        page = Path(act["report"])
        assert page.stat().st_size > 10_000
        # The stack came up and took load, all from the wheel.
        assert '"phase":"steady"' in page.with_name("events.jsonl").read_text(), (act, done.stderr)
        assert act["as_expected"], (act, done.stderr)
    assert done.returncode == 0, done.stderr
